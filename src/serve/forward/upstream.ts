/**
 * One upstream: its address, its health, its sockets, and what was learnt about its EDNS.
 *
 * `ask` is one try: a query, and where that is needed the same again over TCP (truncated, flooded) or without OPT
 * (FORMERR, NOTIMP or BADVERS from a server that does not know EDNS, RFC 6891 section 7).
 */

import type { OrderedUpstream } from '../../dns/policy/upstream-order.ts'
import { Rcode, rcodeName } from '../../dns/wire/header.ts'
import { ROOT } from '../../dns/wire/name.ts'
import { RecordClass, RecordType } from '../../dns/wire/record-type.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../../dns/wire/upstream-response.ts'
import {
  type CertificateAuthorities,
  type ExchangeCounts,
  type ExchangeListener,
  type ExchangeResult,
  type Exchanger,
  type ForwardLog,
  type OpenExchange,
  type UpstreamAddress,
  type UpstreamObserver,
  type UpstreamTransport,
  upstreamName,
} from './exchange.ts'
import { type ConnectionLimits, TcpExchanger } from './tcp-exchange.ts'
import { UdpExchanger } from './udp-exchange.ts'
import type { OpenUdpSocket } from './udp-socket.ts'
import { type AskedUpstream, isFormatRefusal, type TryListener, UpstreamExchange } from './upstream-exchange.ts'
import { UpstreamHealth } from './upstream-health.ts'
import type { UpstreamStatus } from './upstream-status.ts'

/** How often a dead upstream is probed; half of the second within which it should be back. */
export const PROBE_EVERY_MS = 400

/** How long an upstream is asked without OPT once it showed that it does not know EDNS. */
export const WITHOUT_EDNS_MS = 900_000

/** How long an upstream that leads back to us is left alone before it gets another chance. */
export const LOOP_REST_MS = 30_000

/** Asked of a dead upstream that never answered anything: every server has something to say about the root. */
const ROOT_SERVERS: UpstreamQuestion = {
  name: ROOT,
  type: RecordType.NS,
  class: RecordClass.IN,
  recursionDesired: false,
  checkingDisabled: false,
  dnssecOk: false,
}

export interface UpstreamSettings {
  readonly upstream: UpstreamAddress
  readonly transport: UpstreamTransport
  readonly randomCase: boolean
  readonly certificateAuthorities: CertificateAuthorities | undefined
  readonly connectionLimits: ConnectionLimits
}

export interface UpstreamParts {
  readonly log: ForwardLog
  readonly observer: UpstreamObserver
  /** A question that nobody else asks, so that we know it when it comes back to us; undefined: loops are not looked for. */
  loopQuestion(upstream: Upstream): UpstreamQuestion | undefined
  nowMs(): number
  /** From 0 to below 1: for spreading. */
  random(): number
  /** From 0 to 65,535; must not be guessable. */
  randomId(): number
  readonly openUdpSocket?: OpenUdpSocket | undefined
}

const NOBODY: TryListener = { tryEnded() {} }

export class Upstream implements OrderedUpstream, AskedUpstream {
  readonly to: string
  readonly health = new UpstreamHealth()
  readonly settings: UpstreamSettings
  readonly parts: UpstreamParts
  readonly #counts: ExchangeCounts = { mismatched: 0, malformed: 0, late: 0 }
  readonly #stream: Exchanger
  readonly #datagrams: Exchanger | undefined
  readonly #responses = new Map<number, number>()
  #requests = 0
  #inFlight = 0
  #timeouts = 0
  #unreachable = 0
  #overloaded = 0
  #healthcheckFailures = 0
  #withoutEdnsUntilMs = Number.NEGATIVE_INFINITY
  #answeredQuestion: UpstreamQuestion | undefined
  #prober: NodeJS.Timeout | undefined
  #probes = 0
  isLooping = false
  #isClosed = false

  constructor(settings: UpstreamSettings, parts: UpstreamParts) {
    this.settings = settings
    this.parts = parts
    this.to = upstreamName(settings.upstream)
    const counts = this.#counts
    const streamTransport: UpstreamTransport = settings.transport === 'tls' ? 'tls' : 'tcp'
    this.#stream = new TcpExchanger(
      {
        upstream: settings.upstream,
        isTls: settings.transport === 'tls',
        certificateAuthorities: settings.certificateAuthorities,
        limits: settings.connectionLimits,
      },
      {
        counts,
        nowMs: parts.nowMs,
        random: parts.random,
        randomId: parts.randomId,
        connectionOpened: () => parts.observer.connectionOpened(this.to, streamTransport),
        connectionReused: () => parts.observer.connectionReused(this.to, streamTransport),
      },
    )
    this.#datagrams =
      settings.transport === 'udp'
        ? new UdpExchanger(
            { upstream: settings.upstream, randomCase: settings.randomCase },
            { counts, nowMs: parts.nowMs, randomId: parts.randomId, openSocket: parts.openUdpSocket },
          )
        : undefined
  }

  /** A question of ours came back: whatever this upstream is asked, it asks us. */
  looped(): void {
    if (this.isLooping || this.#isClosed) return
    this.isLooping = true
    this.parts.log.error('upstream-loops', { upstream: this.to })
    clearTimeout(this.#prober)
    this.#prober = setTimeout(() => {
      this.#prober = undefined
      this.isLooping = false
      if (this.health.isDead) this.#probe()
    }, LOOP_REST_MS).unref()
  }

  nowMs(): number {
    return this.parts.nowMs()
  }

  get isDead(): boolean {
    return this.health.isDead
  }

  get rttMs(): number | undefined {
    return this.health.rttMs
  }

  get answeredAtMs(): number {
    return this.health.answeredAtMs
  }

  /** One try. The listener is called once unless the exchange is abandoned. */
  ask(question: UpstreamQuestion, listener: TryListener): UpstreamExchange {
    return new UpstreamExchange(this, question, listener)
  }

  status(): UpstreamStatus {
    const responses: Record<string, number> = {}
    for (const [rcode, count] of this.#responses) responses[rcodeName(rcode)] = count
    return {
      to: this.to,
      transport: this.settings.transport,
      isHealthy: !this.health.isDead && !this.isLooping,
      isLooping: this.isLooping,
      roundTripMs: this.health.rttMs,
      answeredMsAgo: this.health.answeredAtMs === 0 ? undefined : this.parts.nowMs() - this.health.answeredAtMs,
      isWithoutEdns: !this.asksWithEdns,
      inFlight: this.#inFlight,
      openConnections: this.#stream.openConnections,
      requests: this.#requests,
      responses,
      timeouts: this.#timeouts,
      unreachable: this.#unreachable,
      overloaded: this.#overloaded,
      healthcheckFailures: this.#healthcheckFailures,
      mismatched: this.#counts.mismatched,
      malformed: this.#counts.malformed,
      late: this.#counts.late,
    }
  }

  /** Closes what is idle and the rest as it ends; `isForced`: now. */
  close(isForced: boolean): void {
    this.#isClosed = true
    clearTimeout(this.#prober)
    this.#prober = undefined
    this.#stream.close(isForced)
    this.#datagrams?.close(isForced)
  }

  get asksWithEdns(): boolean {
    return this.parts.nowMs() >= this.#withoutEdnsUntilMs
  }

  /** For the exchanges of this upstream: opens one over its transport, or over TCP. */
  open(question: UpstreamQuestion, isOverStream: boolean, withEdns: boolean, listener: ExchangeListener): OpenExchange {
    const exchanger = isOverStream ? this.#stream : (this.#datagrams ?? this.#stream)
    return exchanger.open(question, withEdns, listener)
  }

  exchangeBegan(): void {
    this.#requests++
    this.#inFlight++
  }

  /** Nobody waits for the exchange any more. */
  exchangeGivenUp(transport: UpstreamTransport, waitedMs: number): void {
    this.#inFlight--
    this.parts.observer.exchangeEnded(this.to, transport, undefined, waitedMs / 1000)
  }

  exchangeResponded(
    question: UpstreamQuestion,
    transport: UpstreamTransport,
    response: UpstreamResponse,
    waitedMs: number,
    withEdns: boolean,
    isRetryWithoutEdns: boolean,
  ): void {
    this.#inFlight--
    this.#responses.set(response.rcode, (this.#responses.get(response.rcode) ?? 0) + 1)
    this.parts.observer.exchangeEnded(this.to, transport, rcodeName(response.rcode), waitedMs / 1000)
    if (!withEdns && isRetryWithoutEdns && !isFormatRefusal(response.rcode)) {
      this.#withoutEdnsUntilMs = this.parts.nowMs() + WITHOUT_EDNS_MS
      this.parts.log.info('upstream-without-edns', { upstream: this.to })
    }
    if (response.rcode === Rcode.NoError || response.rcode === Rcode.NxDomain) this.#answeredQuestion = question
    this.#heard(waitedMs)
  }

  exchangeUnreachable(
    transport: UpstreamTransport,
    result: ExchangeResult & { kind: 'unreachable' },
    waitedMs: number,
  ): void {
    this.#inFlight--
    this.#unreachable++
    this.parts.observer.exchangeEnded(this.to, transport, undefined, waitedMs / 1000)
    if (!result.wasProven && !this.#isClosed) this.#failed(0, result.code)
  }

  exchangeOverloaded(): void {
    this.#inFlight--
    this.#overloaded++
  }

  /** A response takes longer than expected. */
  timedOut(waitedMs: number): void {
    this.#timeouts++
    this.#failed(waitedMs, 'timeout')
  }

  #heard(rttMs: number): void {
    // Our own SERVFAIL on its way round is no sign of life.
    if (this.isLooping || !this.health.responded(rttMs, this.parts.nowMs())) return
    clearTimeout(this.#prober)
    this.#prober = undefined
    this.parts.log.info('upstream-alive', { upstream: this.to, rttMs: Math.round(rttMs) })
  }

  #failed(waitedMs: number, why: string): void {
    if (!this.health.failed(waitedMs)) return
    this.parts.log.warn('upstream-dead', { upstream: this.to, why })
    this.#probeSoon()
  }

  #probeSoon(): void {
    if (!this.#isClosed && !this.isLooping) this.#prober ??= setTimeout(() => this.#probe(), PROBE_EVERY_MS).unref()
  }

  /**
   * The last question it answered is one that it can answer; in turns with one that shows whether it asks us.
   * The probe's own time-out is the next probe.
   */
  #probe(): void {
    const loopQuestion = this.#probes++ % 2 === 0 ? this.parts.loopQuestion(this) : undefined
    const exchange = this.ask(loopQuestion ?? this.#answeredQuestion ?? ROOT_SERVERS, NOBODY)
    this.#prober = setTimeout(() => {
      this.#prober = undefined
      exchange.abandon()
      this.#healthcheckFailures++
      this.parts.observer.healthcheckFailed(this.to)
      this.#probe()
    }, PROBE_EVERY_MS).unref()
  }
}
