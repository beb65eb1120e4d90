/**
 * Questions that are being asked upstream right now: identical ones share one query, whatever transport they came by.
 *
 * One question in flight at a time also keeps forgers from having many tries at once (RFC 5452 section 5).
 */

import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { ForwardResult } from './forwarder-contract.ts'

export interface InFlightLimits {
  /** Different questions asked at once. */
  readonly queriesMax: number
  /** Clients that wait for one question. */
  readonly waitersMax: number
}

/** Each waiter is a client's query kept in memory. */
export const WAITERS_MAX = 10_000

export type Join =
  | { readonly kind: 'joined'; readonly result: Promise<ForwardResult> }
  | { readonly kind: 'new'; readonly entry: InFlightEntry }
  | { readonly kind: 'refused'; readonly limit: string }

export interface InFlightEntry {
  readonly result: Promise<ForwardResult>
  /** Gives all who wait the result, and lets the question be asked anew. Once. */
  settle(result: ForwardResult): void
}

interface Entry extends InFlightEntry {
  waiters: number
}

export class InFlight {
  /** Questions that joined another's query, all time. */
  coalesced = 0
  /** Questions refused because of a limit, all time. */
  rejected = 0
  readonly #limits: InFlightLimits
  readonly #entries = new Map<string, Entry>()
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

  /** Joins the query that asks the same, or begins one, if the limits allow. */
  join(question: UpstreamQuestion): Join {
    const key = keyOf(question)
    const entry = this.#entries.get(key)
    if (entry !== undefined) {
      if (entry.waiters >= this.#limits.waitersMax) return this.#refuse('waiters')
      entry.waiters++
      this.coalesced++
      return { kind: 'joined', result: entry.result }
    }
    if (this.#entries.size >= this.#limits.queriesMax) return this.#refuse('queries in flight')
    return { kind: 'new', entry: this.#begin(key) }
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    return this.#entries.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }

  /** Gives everybody who waits the same result: nothing else will come any more. */
  settleAll(result: ForwardResult): void {
    for (const entry of this.#entries.values()) entry.settle(result)
  }

  #begin(key: string): Entry {
    const { promise, resolve } = Promise.withResolvers<ForwardResult>()
    const entry: Entry = {
      waiters: 1,
      result: promise,
      settle: (result) => {
        this.#entries.delete(key)
        resolve(result)
        if (this.#entries.size > 0 || this.#idle.length === 0) return
        for (const isIdle of this.#idle.splice(0)) isIdle()
      },
    }
    this.#entries.set(key, entry)
    return entry
  }

  #refuse(limit: string): Join {
    this.rejected++
    return { kind: 'refused', limit }
  }
}

/** Questions with the same key have the same answer. */
function keyOf(question: UpstreamQuestion): string {
  const bits = (question.recursionDesired ? 1 : 0) | (question.checkingDisabled ? 2 : 0) | (question.dnssecOk ? 4 : 0)
  return String.fromCharCode(question.type, question.class, bits) + question.name
}
