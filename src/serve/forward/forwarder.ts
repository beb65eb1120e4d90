/** The upstreams of one route: a question in, the best that any of them says out. */

import { equallyFast, orderUpstreams } from '../../dns/policy/upstream-order.ts'
import { NAME_OCTETS_MAX, type Name } from '../../dns/wire/name.ts'
import { RecordClass, RecordType } from '../../dns/wire/record-type.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import { DeadlineWheel } from './deadline-wheel.ts'
import {
  type CertificateAuthorities,
  type ForwardLog,
  SILENT_LOG,
  type UpstreamAddress,
  type UpstreamObserver,
  type UpstreamTransport,
  upstreamKey,
} from './exchange.ts'
import { Flight, type FlightParts } from './flight.ts'
import type { ForwardListener, ForwardResult, UpstreamGroup } from './forwarder-contract.ts'
import { InFlight, type InFlightEntry, Join, WAITERS_MAX } from './in-flight.ts'
import { CONNECTION_LIMITS, type ConnectionLimits } from './tcp-exchange.ts'
import type { OpenUdpSocket } from './udp-socket.ts'
import { Upstream } from './upstream.ts'
import type { UpstreamStatus } from './upstream-status.ts'

/** A stub resolver gives up after five seconds; our answer has to be there before. */
export const DEADLINE_MS = 4_500

/** Questions that are remembered as ours, should they come back. */
const LOOP_QUESTIONS_MAX = 64
/** The label's length octet and what stands before sixteen digits of chance. */
const LOOP_LABEL = '\x29nodelocal-mcs-loop-check-'

export interface GroupSettings {
  readonly upstreams: readonly UpstreamAddress[]
  readonly transport: UpstreamTransport
  /** Different questions asked at once. */
  readonly maxInFlight: number
  /** Clients that wait for one question. */
  readonly maxWaiters?: number
  /** From a question to giving up, in milliseconds. */
  readonly deadlineMs?: number
  readonly connections?: Partial<ConnectionLimits>
  /** Letters of UDP questions in random case (0x20), compared exactly in the response. */
  readonly randomCase?: boolean
  /** A zone of this route, below which a question can be told apart that comes back to us; undefined: not looked for. */
  readonly loopZone?: Name
  readonly certificateAuthorities?: CertificateAuthorities | undefined
}

export interface GroupParts {
  readonly observer: UpstreamObserver
  readonly log?: ForwardLog
  /** From 0 to below 1: for spreading load. */
  random(): number
  /** From 0 to 65,535; must not be guessable. */
  randomId(): number
  /** Monotonic. */
  nowMs(): number
  /** Undefined: whatever this machine can do best. */
  readonly openUdpSocket?: OpenUdpSocket
}

/** For metrics; counts are of all time unless said otherwise. */
export interface GroupStatus {
  readonly upstreams: readonly UpstreamStatus[]
  /** Different questions in flight now. */
  readonly inFlight: number
  /** Clients that wait for them now. */
  readonly waiters: number
  /** Questions that joined another's query. */
  readonly coalesced: number
  /** Questions, or tries with one upstream, refused because of a limit. */
  readonly rejected: number
  /** Messages ignored because they answered nothing that was asked. */
  readonly mismatched: number
  readonly malformed: number
  /** Responses that came after their question was settled. */
  readonly late: number
  /** Questions that no upstream answered before the deadline. */
  readonly timeouts: number
  /** Questions asked although no upstream was alive. */
  readonly healthcheckBroken: number
}

/** See `ForwardingGroup.lookAt`. */
export interface ForwardingLook {
  /** Those that would be asked, in order; chance decides which of those `isAmongFirst` is the first. */
  readonly order: readonly { readonly status: UpstreamStatus; readonly isAmongFirst: boolean }[]
  /** Those that would not, because they lead back to us. */
  readonly passedOver: readonly UpstreamStatus[]
  /** Clients that wait for the answer to exactly this question; the next one would wait with them. */
  readonly waiters: number
  /** Neither a new question nor one more to wait is taken. */
  readonly isFull: boolean
}

/** A group that also tells of itself and can be given other upstreams. */
export interface ForwardingGroup extends UpstreamGroup {
  status(): GroupStatus
  /** What would become of a question that is asked now. Asks nothing: for operators who look. */
  lookAt(question: UpstreamQuestion): ForwardingLook
  /** Other upstreams from now on; those that stay keep their connections and what is known of them. */
  use(upstreams: readonly UpstreamAddress[]): void
}

/** The upstreams of one route, ready to be asked. */
export function createUpstreamGroup(settings: GroupSettings, parts: GroupParts): ForwardingGroup {
  return new Forwarder(settings, parts)
}

const LOOP_QUESTION = {
  type: RecordType.A,
  class: RecordClass.IN,
  recursionDesired: true,
  checkingDisabled: false,
  dnssecOk: false,
}

const OVERLOADED: ForwardResult = { kind: 'failure', reason: 'overloaded', detail: 'limit of queries or waiters' }

class Forwarder implements ForwardingGroup {
  readonly #settings: GroupSettings
  readonly #parts: GroupParts
  readonly #wheel: DeadlineWheel
  readonly #inFlight: InFlight
  readonly #flightParts: FlightParts
  #upstreams: readonly Upstream[] = []
  readonly #leaving = new Set<Upstream>()
  readonly #counts = { mismatched: 0, malformed: 0, late: 0, overloaded: 0, timeouts: 0, healthcheckBroken: 0 }
  /** By name; the oldest goes first. */
  readonly #loopQuestions = new Map<Name, Upstream>()
  #isStopping = false

  constructor(settings: GroupSettings, parts: GroupParts) {
    this.#settings = settings
    this.#parts = parts
    this.#wheel = new DeadlineWheel(parts.nowMs)
    this.#flightParts = { wheel: this.#wheel, nowMs: parts.nowMs, timedOut: () => this.#counts.timeouts++ }
    this.#inFlight = new InFlight({
      queriesMax: settings.maxInFlight,
      waitersMax: settings.maxWaiters ?? WAITERS_MAX,
    })
    this.use(settings.upstreams)
  }

  forward(question: UpstreamQuestion, listener: ForwardListener): void {
    if (this.#upstreams.length === 0 || this.#isStopping) {
      const detail = this.#isStopping ? 'stopping' : 'the list of upstreams is empty'
      listener({ kind: 'failure', reason: 'no-upstreams', detail })
      return
    }
    if (this.#loopQuestions.size > 0 && this.#isOurs(question)) {
      listener({ kind: 'failure', reason: 'no-upstreams', detail: 'the upstream asks us' })
      return
    }
    const joined = this.#inFlight.join(question, listener)
    if (joined === Join.Refused) listener(OVERLOADED)
    else if (joined !== Join.Joined) this.#fly(question, joined)
  }

  use(addresses: readonly UpstreamAddress[]): void {
    const former = new Map(this.#upstreams.map((upstream) => [upstreamKey(upstream.settings.upstream), upstream]))
    this.#upstreams = addresses.map((address) => {
      const key = upstreamKey(address)
      const kept = former.get(key)
      former.delete(key)
      return kept ?? this.#upstreamAt(address)
    })
    for (const gone of former.values()) {
      const { mismatched, malformed, late, overloaded } = gone.status()
      this.#counts.mismatched += mismatched
      this.#counts.malformed += malformed
      this.#counts.late += late
      this.#counts.overloaded += overloaded
      gone.close(false)
      this.#leaving.add(gone)
    }
    for (const gone of this.#leaving) if (gone.status().inFlight === 0) this.#leaving.delete(gone)
  }

  status(): GroupStatus {
    const upstreams = this.#upstreams.map((upstream) => upstream.status())
    const sum = (count: 'mismatched' | 'malformed' | 'late' | 'overloaded'): number =>
      upstreams.reduce((total, upstream) => total + upstream[count], this.#counts[count])
    return {
      ...this.#counts,
      upstreams,
      inFlight: this.#inFlight.queries,
      waiters: this.#inFlight.waiters,
      coalesced: this.#inFlight.coalesced,
      rejected: this.#inFlight.rejected + sum('overloaded'),
      mismatched: sum('mismatched'),
      malformed: sum('malformed'),
      late: sum('late'),
    }
  }

  lookAt(question: UpstreamQuestion): ForwardingLook {
    // Chance that never moves anything.
    const order = orderUpstreams(
      this.#upstreams.filter(({ isLooping }) => !isLooping),
      () => 1 - Number.EPSILON,
    )
    const first = equallyFast(order)
    return {
      order: order.map((upstream) => ({ status: upstream.status(), isAmongFirst: first.has(upstream) })),
      passedOver: this.#upstreams.filter(({ isLooping }) => isLooping).map((upstream) => upstream.status()),
      ...this.#inFlight.lookAt(question),
    }
  }

  async stop(drainMs: number): Promise<void> {
    this.#isStopping = true
    const drained = Promise.withResolvers<void>()
    const timer = setTimeout(drained.resolve, drainMs)
    await Promise.race([this.#inFlight.idle(), drained.promise])
    clearTimeout(timer)
    // Their tries end with the upstreams and the wheel; without this the clients would wait for ever.
    this.#inFlight.settleAll({ kind: 'failure', reason: 'unreachable', detail: 'stopping' })
    for (const upstream of [...this.#upstreams, ...this.#leaving]) upstream.close(true)
    this.#wheel.stop()
  }

  #fly(question: UpstreamQuestion, entry: InFlightEntry): void {
    const candidates = this.#candidates()
    if (candidates.length === 0) {
      entry.settle({ kind: 'failure', reason: 'no-upstreams', detail: 'all upstreams lead back to us' })
      return
    }
    if (candidates[0]!.isDead) this.#counts.healthcheckBroken++
    new Flight(question, candidates, this.#settings.deadlineMs ?? DEADLINE_MS, this.#flightParts, entry).start()
  }

  /** Those that may be asked, the first to be asked first. */
  #candidates(): readonly Upstream[] {
    const upstreams = this.#upstreams
    if (upstreams.length === 1) return upstreams[0]!.isLooping ? [] : upstreams
    return orderUpstreams(
      upstreams.filter(({ isLooping }) => !isLooping),
      this.#parts.random,
    )
  }

  #isOurs({ name }: UpstreamQuestion): boolean {
    const upstream = this.#loopQuestions.get(name)
    upstream?.looped()
    return upstream !== undefined
  }

  #loopQuestion(upstream: Upstream): UpstreamQuestion | undefined {
    const zone = this.#settings.loopZone
    if (zone === undefined) return undefined
    let chance = ''
    for (let i = 0; i < 4; i++) chance += this.#parts.randomId().toString(16).padStart(4, '0')
    const name = LOOP_LABEL + chance + zone
    if (name.length > NAME_OCTETS_MAX) return undefined
    this.#loopQuestions.set(name, upstream)
    if (this.#loopQuestions.size > LOOP_QUESTIONS_MAX) {
      const [oldest] = this.#loopQuestions.keys()
      this.#loopQuestions.delete(oldest!)
    }
    return { ...LOOP_QUESTION, name }
  }

  #upstreamAt(upstream: UpstreamAddress): Upstream {
    const { transport, randomCase, certificateAuthorities, connections } = this.#settings
    const { observer, log, random, randomId, nowMs, openUdpSocket } = this.#parts
    return new Upstream(
      {
        upstream,
        transport,
        randomCase: randomCase ?? false,
        certificateAuthorities,
        connectionLimits: { ...CONNECTION_LIMITS, ...connections },
      },
      {
        log: log ?? SILENT_LOG,
        observer,
        loopQuestion: (asked) => this.#loopQuestion(asked),
        random,
        randomId,
        nowMs,
        openUdpSocket,
      },
    )
  }
}
