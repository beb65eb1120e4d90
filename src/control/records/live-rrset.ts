/** An rrset that changes in place, one record at a time, whatever its size: of a service too large to be made anew. */

import { RecordType } from '../../dns/wire/record-type.ts'
import type { Rrset } from '../../dns/zone/rrset.ts'
import { priorityAndWeight } from './drafts.ts'

/** Records up to which looking through them costs no more than an index would. */
const INDEX_FROM = 16

export class LiveRrset implements Rrset {
  readonly type: number
  readonly rdata: string[]
  /** How often each record was added, in the order of `rdata`; undefined while that is once for all of them. */
  #counts: number[] | undefined
  /** Where in `rdata` each record is, from `INDEX_FROM` records on. */
  #index: Map<string, number> | undefined

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
      this.#counts?.push(1)
      if (this.#index === undefined && this.rdata.length > INDEX_FROM) {
        this.#index = new Map(this.rdata.map((known, i) => [known, i]))
      }
      return true
    }
    this.#counts ??= Array.from(this.rdata, () => 1)
    this.#counts[at]!++
    return false
  }

  /** Takes back one `add`. True when the record is gone with it; the last one then stands in its place. */
  remove(record: string): boolean {
    const at = this.#find(record)
    if (at === -1) return false
    if (this.#counts !== undefined && this.#counts[at]! > 1) {
      this.#counts[at]!--
      return false
    }
    const last = this.rdata.pop()!
    const lastCount = this.#counts?.pop()
    this.#index?.delete(record)
    if (at < this.rdata.length) {
      this.rdata[at] = last
      this.#index?.set(last, at)
      if (this.#counts !== undefined) this.#counts[at] = lastCount!
    }
    return true
  }

  #find(record: string): number {
    return this.#index === undefined ? this.rdata.indexOf(record) : (this.#index.get(record) ?? -1)
  }
}
