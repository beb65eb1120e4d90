/**
 * Questions that are being asked upstream right now: identical ones share one query, whatever transport they came by.
 *
 * One question in flight at a time also keeps forgers from having many tries at once (RFC 5452 section 5).
 */

import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { ForwardListener, ForwardResult } from './forwarder-contract.ts'

export interface InFlightLimits {
  /** Different questions asked at once. */
  readonly queriesMax: number
  /** Clients that wait for one question. */
  readonly waitersMax: number
}

/** Each waiter is a client's query kept in memory. */
export const WAITERS_MAX = 10_000

/** A question on its way and those who wait for it. */
export class InFlightEntry {
  readonly key: string
  waiters = 1
  readonly #first: ForwardListener
  #others: ForwardListener[] | undefined
  readonly #inFlight: InFlight

  constructor(inFlight: InFlight, key: string, first: ForwardListener) {
    this.#inFlight = inFlight
    this.key = key
    this.#first = first
  }

  add(listener: ForwardListener): void {
    this.waiters++
    if (this.#others === undefined) this.#others = [listener]
    else this.#others.push(listener)
  }

  /** Lets the question be asked anew, and gives all who wait the result. Once. */
  settle(result: ForwardResult): void {
    this.#inFlight.remove(this)
    this.#first(result)
    if (this.#others !== undefined) for (const listener of this.#others) listener(result)
  }
}

export const Join = { Joined: 0, Refused: 1 } as const

export class InFlight {
  /** Questions that joined another's query, all time. */
  coalesced = 0
  /** Questions refused because of a limit, all time. */
  rejected = 0
  readonly #limits: InFlightLimits
  readonly #entries = new Map<string, InFlightEntry>()
  readonly #idle: (() => void)[] = []

  constructor(limits: InFlightLimits) {
    this.#limits = limits
  }

  get queries(): number {
    return this.#entries.size
  }

  get waiters(): number {
    let waiters = 0
    for (const entry of this.#entries.values()) waiters += entry.waiters
    return waiters
  }

  /** Joins the query that asks the same, or begins one, which is returned; refuses where a limit is reached. */
  join(question: UpstreamQuestion, listener: ForwardListener): InFlightEntry | (typeof Join)[keyof typeof Join] {
    const key = keyOf(question)
    const entry = this.#entries.get(key)
    if (entry !== undefined) {
      if (entry.waiters >= this.#limits.waitersMax) return this.#refuse()
      entry.add(listener)
      this.coalesced++
      return Join.Joined
    }
    if (this.#entries.size >= this.#limits.queriesMax) return this.#refuse()
    const begun = new InFlightEntry(this, key, listener)
    this.#entries.set(key, begun)
    return begun
  }

  /** Those who wait for the answer to a question, and whether it would be refused. */
  lookAt(question: UpstreamQuestion): { readonly waiters: number; readonly isFull: boolean } {
    const waiters = this.#entries.get(keyOf(question))?.waiters ?? 0
    const { waitersMax, queriesMax } = this.#limits
    return { waiters, isFull: waiters === 0 ? this.#entries.size >= queriesMax : waiters >= waitersMax }
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    return this.#entries.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Gives everybody who waits the same result: nothing else will come any more. */
  settleAll(result: ForwardResult): void {
    for (const entry of this.#entries.values()) entry.settle(result)
  }

  /** For an entry that is settled. */
  remove(entry: InFlightEntry): void {
    this.#entries.delete(entry.key)
    if (this.#entries.size > 0 || this.#idle.length === 0) return
    for (const isIdle of this.#idle.splice(0)) isIdle()
  }

  #refuse(): typeof Join.Refused {
    this.rejected++
    return Join.Refused
  }
}

/** Questions with the same key have the same answer. */
function keyOf(question: UpstreamQuestion): string {
  const bits = (question.recursionDesired ? 1 : 0) | (question.checkingDisabled ? 2 : 0) | (question.dnssecOk ? 4 : 0)
  return String.fromCharCode(question.type, question.class, bits) + question.name
}
