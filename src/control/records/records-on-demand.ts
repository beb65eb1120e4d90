/**
 * A service's records, made again whenever somebody asks for the first time: the pods of a node ask for few of a clusterset's
 * services, and the records of the others would be two thirds of the zone's memory.
 *
 * They are pure (`records-of.ts`), and the facts they are made of are kept anyway.
 */

import type { RelativeName } from '../../dns/wire/name.ts'
import type { Rrset, ServiceRecords } from '../../dns/zone/rrset.ts'
import { type RecordSettings, recordsOf, type ServiceFacts } from './records-of.ts'

/** Names of a service whose records are made again in a small part of a turn; those of larger ones are kept. */
export const ON_DEMAND_NAMES_MAX = 200

const NO_RECORDS: ServiceRecords = new Map()

export class RecordsOnDemand implements ServiceRecords {
  readonly #facts: ServiceFacts
  readonly #settings: RecordSettings
  readonly size: number
  #made: ServiceRecords | undefined

  /** `made`: the records of these facts; they are there until `release`. */
  constructor(facts: ServiceFacts, settings: RecordSettings, made: ServiceRecords) {
    this.#facts = facts
    this.#settings = settings
    this.size = made.size
    this.#made = made
  }

  /** Whether the records are there: they are from the first question on. */
  get isMade(): boolean {
    return this.#made !== undefined
  }

  /** Nobody needs them now. */
  release(): void {
    this.#made = undefined
  }

  get(name: RelativeName): readonly Rrset[] | undefined {
    return this.#records.get(name)
  }

  has(name: RelativeName): boolean {
    return this.#records.has(name)
  }

  keys(): Iterable<RelativeName> {
    return this.#records.keys()
  }

  [Symbol.iterator](): Iterator<readonly [RelativeName, readonly Rrset[]]> {
    return this.#records[Symbol.iterator]()
  }

  get #records(): ServiceRecords {
    return (this.#made ??= recordsOf(this.#facts, this.#settings).records ?? NO_RECORDS)
  }
}
