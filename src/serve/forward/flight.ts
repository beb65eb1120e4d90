/**
 * One question on its way to its upstreams: who is asked, when the next one is, and which response is taken.
 *
 *      ask first ---- no response in time ----> ask next ---- ... ----> deadline: failure
 *        |   \                                     |
 *        |    `-- SERVFAIL, REFUSED, ... ----------+  (kept as the last resort)
 *        v                                         v
 *      response: taken                           response: taken, whichever comes first
 *
 * A try that is late stays open until the deadline: its response may still be the first, and tells the upstream's health.
 */

import { Rcode } from '../../dns/wire/header.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import { type Deadline, type DeadlineWheel, NOT_WAITING } from './deadline-wheel.ts'
import type { ExchangeResult } from './exchange.ts'
import type { ForwardResult } from './forwarder-contract.ts'
import type { InFlightEntry } from './in-flight.ts'
import type { Upstream } from './upstream.ts'
import type { TryListener, UpstreamExchange } from './upstream-exchange.ts'

/** Tries with one upstream for one question (RFC 9520 section 3.1). */
export const TRIES_PER_UPSTREAM_MAX = 3

/** Tries for one question with all upstreams together. */
export const TRIES_MAX = 8

/** The pause before an upstream that could not be reached is tried again, times the tries so far. */
const UNREACHABLE_PAUSE_MS = 50

/** The same for all flights of a group. */
export interface FlightParts {
  readonly wheel: DeadlineWheel
  nowMs(): number
  /** A question ended without a response in time. */
  timedOut(): void
}

/** What is remembered of one upstream during a flight. */
interface Candidate {
  readonly upstream: Upstream
  tries: number
  /** It gave a response, poor as it was, and is not asked again. */
  hasAnswered: boolean
}

export class Flight implements Deadline, TryListener {
  dueTick = NOT_WAITING
  before: Deadline | undefined
  after: Deadline | undefined
  readonly #question: UpstreamQuestion
  /** From the question to giving up, in milliseconds; below the 5 s after which stub resolvers ask again. */
  readonly #deadlineMs: number
  readonly #parts: FlightParts
  readonly #entry: InFlightEntry
  readonly #candidates: Candidate[]
  readonly #startedMs: number
  #tries = 0
  /** Those that have not ended. */
  readonly #open: UpstreamExchange[] = []
  #isSettled = false
  #hasTimedOut = false
  #lastResort: ForwardResult | undefined
  #lastFailure: string | undefined
  #isOverloaded = false
  /** Undefined between tries. */
  #current: UpstreamExchange | undefined

  /** `upstreams` in the order in which they are to be asked; at least one. */
  constructor(
    question: UpstreamQuestion,
    upstreams: readonly Upstream[],
    deadlineMs: number,
    parts: FlightParts,
    entry: InFlightEntry,
  ) {
    this.#question = question
    this.#deadlineMs = deadlineMs
    this.#parts = parts
    this.#entry = entry
    this.#candidates = []
    for (const upstream of upstreams) this.#candidates.push({ upstream, tries: 0, hasAnswered: false })
    this.#startedMs = parts.nowMs()
  }

  start(): void {
    this.#tryNext()
  }

  /** The wheel says: the current try is late, the pause is over, or the deadline is reached. */
  deadlineReached(): void {
    const current = this.#current
    this.#current = undefined
    if (current !== undefined) {
      this.#hasTimedOut = true
      this.#lastFailure = `${current.upstream.to} timed out`
      current.isLate()
    }
    if (this.#leftMs() <= 0) this.#giveUp()
    // Late tries may still speak; nobody is asked any more.
    else if (this.#isSettled) this.#parts.wheel.set(this, this.#leftMs())
    else this.#tryNext()
  }

  tryEnded(ended: UpstreamExchange, result: ExchangeResult): void {
    this.#open.splice(this.#open.indexOf(ended), 1)
    if (this.#isSettled) {
      if (this.#open.length === 0) this.#parts.wheel.cancel(this)
      return
    }
    const candidate = this.#candidates.find(({ upstream }) => upstream === ended.upstream)!
    const isCurrent = this.#current === ended
    switch (result.kind) {
      case 'response': {
        const { response } = result
        const found: ForwardResult = { kind: 'response', response, upstream: candidate.upstream.to }
        if (!isPoor(response.rcode)) {
          this.#settle(found)
          return
        }
        candidate.hasAnswered = true
        this.#lastResort = found
        break
      }
      case 'unreachable':
        this.#lastFailure = `${candidate.upstream.to} ${result.code}`
        // A connection that went away after it had served says nothing about the next one.
        if (isCurrent && !result.wasProven && !this.#hasUntried()) {
          this.#current = undefined
          if (this.#next() !== undefined) this.#parts.wheel.set(this, UNREACHABLE_PAUSE_MS * candidate.tries)
          else this.#tryNext()
          return
        }
        break
      case 'overloaded':
        this.#isOverloaded = true
        this.#lastFailure = `${candidate.upstream.to} limit of ${result.limit}`
        candidate.hasAnswered = true
    }
    // A late try that ends badly leaves the current one to its own fate.
    if (isCurrent || this.#open.length === 0) this.#tryNext()
  }

  #tryNext(): void {
    this.#current = undefined
    const candidate = this.#next()
    if (candidate === undefined) {
      if (this.#lastResort !== undefined) this.#settle(this.#lastResort)
      else if (this.#open.length === 0) this.#settle(this.#failure())
      else this.#parts.wheel.set(this, this.#leftMs())
      return
    }
    const timeoutMs = candidate.upstream.health.timeoutMs(candidate.tries)
    candidate.tries++
    this.#tries++
    this.#parts.wheel.set(this, Math.min(timeoutMs, this.#leftMs()))
    const exchange = candidate.upstream.ask(this.#question, this)
    this.#open.push(exchange)
    this.#current = exchange
  }

  /** Those not asked yet in their order, then those with the fewest tries. */
  #next(): Candidate | undefined {
    if (this.#tries >= TRIES_MAX) return undefined
    let next: Candidate | undefined
    for (const candidate of this.#candidates) {
      if (candidate.hasAnswered || candidate.tries >= TRIES_PER_UPSTREAM_MAX) continue
      // Once there is a response at all, only those are asked that were not.
      if (this.#lastResort !== undefined && candidate.tries > 0) continue
      if (next === undefined || candidate.tries < next.tries) next = candidate
    }
    return next
  }

  #hasUntried(): boolean {
    return this.#candidates.some(({ tries }) => tries === 0)
  }

  #leftMs(): number {
    return this.#startedMs + this.#deadlineMs - this.#parts.nowMs()
  }

  #settle(result: ForwardResult): void {
    this.#isSettled = true
    this.#current = undefined
    if (this.#open.length === 0) this.#parts.wheel.cancel(this)
    else this.#parts.wheel.set(this, Math.max(0, this.#leftMs()))
    if (result.kind === 'failure' && result.reason === 'timeout') this.#parts.timedOut()
    this.#entry.settle(result)
  }

  #giveUp(): void {
    for (const exchange of this.#open) exchange.abandon()
    this.#open.length = 0
    this.#hasTimedOut = true
    if (!this.#isSettled) this.#settle(this.#lastResort ?? this.#failure())
  }

  #failure(): ForwardResult {
    const reason = this.#hasTimedOut ? 'timeout' : this.#isOverloaded ? 'overloaded' : 'unreachable'
    return { kind: 'failure', reason, detail: this.#lastFailure ?? `no response in ${this.#deadlineMs} ms` }
  }
}

/** Another upstream may know better; told to the client only when none does. */
function isPoor(rcode: number): boolean {
  return rcode !== Rcode.NoError && rcode !== Rcode.NxDomain
}
