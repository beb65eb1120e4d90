/**
 * The upstreams of one route: which is asked, when the next one is, and who shares the answer.
 *
 * Identical questions in flight share one upstream query. The best upstream is asked first; when it stays silent for
 * its usual time the next is asked too, and the first good answer wins, late ones included. An upstream that fails is
 * asked last, and probed in the background until it answers again.
 */

import { Rcode, rcodeName } from '../../dns/wire/header.ts'
import { ROOT } from '../../dns/wire/name.ts'
import { RecordClass, RecordType } from '../../dns/wire/record-type.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../../dns/wire/upstream-response.ts'
import {
  type Cancel,
  type ExchangeCounts,
  type ExchangeResult,
  type Exchanger,
  type UpstreamAddress,
  type UpstreamObserver,
  type UpstreamTransport,
  upstreamName,
} from './exchange.ts'
import type { ForwardResult, UpstreamGroup } from './forwarder-contract.ts'
import { TcpExchanger } from './tcp-exchange.ts'
import { UdpExchanger } from './udp-exchange.ts'

/** A client's resolver gives up after five seconds; our answer has to be there before. */
export const DEADLINE_MS = 4_500
/** The first wait for an upstream whose round trip is not known yet; each further wait is twice as long. */
const FIRST_WAIT_MS = 400
const WAIT_MS_MIN = 200
const WAIT_MS_MAX = 2_000
/** The wait is this many times the upstream's usual round trip. */
const WAIT_ROUND_TRIPS = 4
/** Queries that one question may cause, over all upstreams. */
const ATTEMPTS_MAX = 6
/** Clients that may wait for one question in flight. */
const WAITERS_MAX = 10_000
/** Consecutive failures that make an upstream the last choice. */
const FAILURES_MAX = 2
const PROBE_INTERVAL_MS = 500
/** Weight of a new round trip in the mean. */
const ROUND_TRIP_WEIGHT = 0.2

export interface GroupSettings {
  readonly upstreams: readonly UpstreamAddress[]
  readonly transport: UpstreamTransport
  readonly maxInFlight: number
}

export interface GroupParts {
  readonly observer: UpstreamObserver
  /** 0 to 1, not to be guessed. */
  random(): number
  randomId(): number
  nowMs(): number
}

export interface UpstreamStatus {
  readonly to: string
  readonly isHealthy: boolean
  readonly roundTripMs: number | undefined
  readonly openConnections: number
}

export interface GroupStatus {
  readonly upstreams: readonly UpstreamStatus[]
  readonly inFlight: number
  /** Queries that shared another's upstream query. */
  readonly coalesced: number
  /** Queries turned away by a limit. */
  readonly rejected: number
  readonly mismatched: number
  readonly malformed: number
}

interface Upstream {
  readonly to: string
  readonly exchanger: Exchanger
  readonly tcp: TcpExchanger
  failures: number
  roundTripMs: number | undefined
  probe: NodeJS.Timeout | undefined
}

interface Flight {
  readonly waiters: ((result: ForwardResult) => void)[]
}

/** A group that also tells of itself and can be given other upstreams. */
export interface ForwardingGroup extends UpstreamGroup {
  status(): GroupStatus
  /** Other upstreams from now on; those that stay keep their connections and what is known of them. */
  use(upstreams: readonly UpstreamAddress[]): void
}

/** The upstreams of one route, ready to be asked. */
export function createUpstreamGroup(settings: GroupSettings, parts: GroupParts): ForwardingGroup {
  return new Forwarder(settings, parts)
}

class Forwarder implements ForwardingGroup {
  readonly #settings: GroupSettings
  readonly #parts: GroupParts
  readonly #counts: ExchangeCounts = { mismatched: 0, malformed: 0 }
  readonly #flights = new Map<string, Flight>()
  #upstreams: Upstream[] = []
  #coalesced = 0
  #rejected = 0
  #isStopped = false
  #whenIdle: (() => void) | undefined

  constructor(settings: GroupSettings, parts: GroupParts) {
    this.#settings = settings
    this.#parts = parts
    this.use(settings.upstreams)
  }

  use(addresses: readonly UpstreamAddress[]): void {
    const before = new Map(this.#upstreams.map((upstream) => [upstream.to, upstream]))
    this.#upstreams = addresses.map((address) => {
      const known = before.get(upstreamName(address))
      before.delete(upstreamName(address))
      return known ?? this.#connect(address)
    })
    for (const gone of before.values()) this.#disconnect(gone)
  }

  forward(question: UpstreamQuestion): Promise<ForwardResult> {
    if (this.#upstreams.length === 0 || this.#isStopped) {
      return Promise.resolve({ kind: 'failure', reason: 'no-upstreams', detail: '' })
    }
    const key = flightKey(question)
    const flight = this.#flights.get(key)
    if (
      flight === undefined ? this.#flights.size >= this.#settings.maxInFlight : flight.waiters.length >= WAITERS_MAX
    ) {
      this.#rejected++
      return Promise.resolve({ kind: 'failure', reason: 'overloaded', detail: '' })
    }
    return new Promise((settle) => {
      if (flight !== undefined) {
        this.#coalesced++
        flight.waiters.push(settle)
        return
      }
      const started: Flight = { waiters: [settle] }
      this.#flights.set(key, started)
      this.#fly(question, (result) => {
        this.#flights.delete(key)
        for (const waiter of started.waiters) waiter(result)
        if (this.#flights.size === 0) this.#whenIdle?.()
      })
    })
  }

  status(): GroupStatus {
    return {
      upstreams: this.#upstreams.map(({ to, failures, roundTripMs, tcp }) => ({
        to,
        isHealthy: failures < FAILURES_MAX,
        roundTripMs,
        openConnections: tcp.connectionCount,
      })),
      inFlight: this.#flights.size,
      coalesced: this.#coalesced,
      rejected: this.#rejected,
      ...this.#counts,
    }
  }

  async stop(drainMs: number): Promise<void> {
    this.#isStopped = true
    if (this.#flights.size > 0 && drainMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, drainMs)
        this.#whenIdle = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    for (const upstream of this.#upstreams) this.#disconnect(upstream)
  }

  /** One question over as many attempts as it takes. */
  #fly(question: UpstreamQuestion, settle: (result: ForwardResult) => void): void {
    const order = inOrder(this.#upstreams)
    const cancels: Cancel[] = []
    const deadline = setTimeout(
      () => end({ kind: 'failure', reason: 'timeout', detail: `${DEADLINE_MS} ms` }),
      DEADLINE_MS,
    )
    let waiting: NodeJS.Timeout | undefined
    let attempts = 0
    let underWay = 0
    let isOver = false
    /** Kept in case nobody says anything better. */
    let refusal: { response: UpstreamResponse; upstream: string } | undefined
    let lastCode = ''

    const end = (result: ForwardResult): void => {
      if (isOver) return
      isOver = true
      clearTimeout(deadline)
      clearTimeout(waiting)
      for (const cancel of cancels) cancel()
      settle(result)
    }
    const attempt = (): void => {
      clearTimeout(waiting)
      const upstream = order[attempts % order.length]!
      const round = Math.floor(attempts / order.length)
      const startedAt = this.#parts.nowMs()
      attempts++
      underWay++
      let isSilent = true
      cancels.push(
        upstream.exchanger.ask(question, (result) => {
          isSilent = false
          underWay--
          this.#learn(upstream, result, this.#parts.nowMs() - startedAt)
          if (result.kind === 'response' && isUsable(result.response)) {
            end({ kind: 'response', response: result.response, upstream: upstream.to })
            return
          }
          if (result.kind === 'response') refusal = { response: result.response, upstream: upstream.to }
          else lastCode = result.code
          // Each upstream refuses at most once; after that there is nobody left to ask.
          if (attempts < order.length) attempt()
          else if (underWay === 0) {
            end(
              refusal === undefined
                ? { kind: 'failure', reason: 'unreachable', detail: lastCode }
                : { kind: 'response', ...refusal },
            )
          }
        }),
      )
      if (isOver) return
      waiting = setTimeout(
        () => {
          if (isSilent) this.#learn(upstream, { kind: 'unreachable', code: 'SILENT' }, 0)
          if (attempts < ATTEMPTS_MAX) attempt()
        },
        waitMs(upstream) * 2 ** round,
      )
    }
    attempt()
  }

  #learn(upstream: Upstream, result: ExchangeResult, tookMs: number): void {
    const { observer } = this.#parts
    const rcode = result.kind === 'response' ? rcodeName(result.response.rcode) : undefined
    observer.exchangeEnded(upstream.to, this.#settings.transport, rcode, tookMs / 1000)
    if (result.kind === 'response') {
      upstream.failures = 0
      upstream.roundTripMs =
        upstream.roundTripMs === undefined
          ? tookMs
          : upstream.roundTripMs * (1 - ROUND_TRIP_WEIGHT) + tookMs * ROUND_TRIP_WEIGHT
      return
    }
    if (result.code === 'STOPPED') return
    upstream.failures++
    if (upstream.failures >= FAILURES_MAX) this.#probe(upstream)
  }

  /** Asks a dead upstream for the root's name servers until it says anything at all. */
  #probe(upstream: Upstream): void {
    if (upstream.probe !== undefined || this.#isStopped) return
    upstream.probe = setInterval(() => {
      if (upstream.failures < FAILURES_MAX) {
        clearInterval(upstream.probe)
        upstream.probe = undefined
        return
      }
      let isAnswered = false
      const cancel = upstream.exchanger.ask(PROBE_QUESTION, (result) => {
        isAnswered = true
        if (result.kind === 'response') upstream.failures = 0
        else this.#parts.observer.healthcheckFailed(upstream.to)
      })
      setTimeout(() => {
        if (isAnswered) return
        cancel()
        this.#parts.observer.healthcheckFailed(upstream.to)
      }, PROBE_INTERVAL_MS).unref()
    }, PROBE_INTERVAL_MS)
    upstream.probe.unref()
  }

  #connect(address: UpstreamAddress): Upstream {
    const { transport } = this.#settings
    const { observer, random, randomId, nowMs } = this.#parts
    const counts = this.#counts
    const tcp = new TcpExchanger(address, {
      transport: transport === 'tls' ? 'tls' : 'tcp',
      counts,
      observer,
      random,
      randomId,
      nowMs,
    })
    const exchanger = transport === 'udp' ? new UdpExchanger(address, tcp, counts, randomId) : tcp
    return { to: upstreamName(address), exchanger, tcp, failures: 0, roundTripMs: undefined, probe: undefined }
  }

  #disconnect(upstream: Upstream): void {
    clearInterval(upstream.probe)
    upstream.exchanger.stop()
  }
}

const PROBE_QUESTION: UpstreamQuestion = {
  name: ROOT,
  type: RecordType.NS,
  class: RecordClass.IN,
  recursionDesired: true,
  checkingDisabled: false,
  dnssecOk: false,
}

/** Questions with the same key may share an upstream query. */
function flightKey(question: UpstreamQuestion): string {
  const bits = (question.recursionDesired ? 1 : 0) | (question.checkingDisabled ? 2 : 0) | (question.dnssecOk ? 4 : 0)
  return String.fromCharCode(bits, question.type, question.class) + question.name
}

/** The living first, the quicker of them before the slower; those never asked count as quick. */
function inOrder(upstreams: readonly Upstream[]): Upstream[] {
  return upstreams.toSorted((one, other) => {
    const dead = Number(one.failures >= FAILURES_MAX) - Number(other.failures >= FAILURES_MAX)
    return dead === 0 ? (one.roundTripMs ?? 0) - (other.roundTripMs ?? 0) : dead
  })
}

function waitMs(upstream: Upstream): number {
  if (upstream.roundTripMs === undefined) return FIRST_WAIT_MS
  return Math.min(Math.max(upstream.roundTripMs * WAIT_ROUND_TRIPS, WAIT_MS_MIN), WAIT_MS_MAX)
}

/** Whether an answer ends the search; refusals and failures may be one upstream's own trouble. */
function isUsable(response: UpstreamResponse): boolean {
  return response.rcode === Rcode.NoError || response.rcode === Rcode.NxDomain
}
