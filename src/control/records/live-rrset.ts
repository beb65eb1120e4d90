/** An rrset that changes in place, one record at a time, whatever its size: of a service too large to be made anew. */

import { RecordType } from '../../dns/wire/record-type.ts'
import type { Rrset } from '../../dns/zone/rrset.ts'
import { priorityAndWeight } from './drafts.ts'
import { GradualMap } from './gradual-map.ts'

/** Records up to which looking through them costs no more than an index would. */
const INDEX_FROM = 16

export class LiveRrset implements Rrset {
  readonly type: number
  readonly rdata: string[]
  /** How often each record was added after the first time, in the order of `rdata`; undefined while that is never for any. */
  #repeats: Uint32Array<ArrayBuffer> | undefined
  /** Where in `rdata` each record is, from `INDEX_FROM` records on. */
  #index: GradualMap<number> | undefined

  constructor(type: number, first: string) {
    this.type = type
    this.rdata = [first]
  }

  get rdataStart(): string {
    return this.type === RecordType.SRV ? priorityAndWeight(this.rdata.length) : ''
  }

  /** True when the record is new. */
  add(record: string): boolean {
    const at = this.#find(record)
    if (at === -1) {
      this.#index?.set(record, this.rdata.length)
      this.rdata.push(record)
      if (this.#index === undefined && this.rdata.length > INDEX_FROM) {
        this.#index = new GradualMap()
        for (const [i, known] of this.rdata.entries()) this.#index.set(known, i)
      }
      return true
    }
    this.#repeatsOf(at)[at]!++
    return false
  }

  /** Takes back one `add`. True when the record is gone with it; the last one then stands in its place. */
  remove(record: string): boolean {
    const at = this.#find(record)
    if (at === -1) return false
    const repeats = this.#repeats
    if (repeats !== undefined && at < repeats.length && repeats[at]! > 0) {
      repeats[at]!--
      return false
    }
    const last = this.rdata.pop()!
    const lastAt = this.rdata.length
    this.#index?.delete(record)
    if (at < lastAt) {
      this.rdata[at] = last
      this.#index?.set(last, at)
    }
    if (repeats !== undefined && lastAt < repeats.length) {
      repeats[at] = repeats[lastAt]!
      repeats[lastAt] = 0
    }
    return true
  }

  /** Long enough for the record at `at`; it grows by copying, which takes next to no time. */
  #repeatsOf(at: number): Uint32Array<ArrayBuffer> {
    if (this.#repeats === undefined || at >= this.#repeats.length) {
      const repeats = new Uint32Array(2 * this.rdata.length)
      if (this.#repeats !== undefined) repeats.set(this.#repeats)
      this.#repeats = repeats
    }
    return this.#repeats
  }

  #find(record: string): number {
    return this.#index === undefined ? this.rdata.indexOf(record) : (this.#index.get(record) ?? -1)
  }
}
