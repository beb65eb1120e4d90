/**
 * A touched service's objects to its records: at once by a pure function, or, for a headless service of thousands of
 * endpoints, by what changed since the last time, in as many turns of the event loop as it takes.
 */

import type { RelativeName } from '../dns/wire/name.ts'
import type { ServiceKey, ServiceRecords } from '../dns/zone/rrset.ts'
import type { SliceFacts } from './records/facts.ts'
import type { Ignored } from './records/ignored.ts'
import { LargeHeadless } from './records/large-headless.ts'
import { nameOfService } from './records/names.ts'
import { type RecordSettings, recordsOf, type ServiceFacts } from './records/records-of.ts'
import { ON_DEMAND_NAMES_MAX, RecordsOnDemand } from './records/records-on-demand.ts'

/** Addresses of endpoints, and ports of each, from which on a headless service is large: calculating fewer takes a part of a turn. */
export const LARGE_FROM_RECORDS = 2_000

/** It stays large until it has half of them, so that one on the border does not change its kind all the time. */
const LARGE_UNTIL_PART = 2

export interface Calculation {
  /** Whether all objects are in it; else it goes on when it is asked for again. */
  readonly isWhole: boolean
  /** Undefined while there is nothing to publish. */
  readonly publication:
    | {
        readonly records: ServiceRecords | undefined
        /** Names whose answers changed, where that is known; undefined: compare. */
        readonly changed: RelativeName[] | undefined
        /** When the zone has taken them: what can be made again need not be kept. */
        release?(): void
      }
    | undefined
}

export interface CalculatorParts {
  of(service: ServiceKey): ServiceFacts
  /** What the zone has of a service. */
  published(service: ServiceKey): ServiceRecords | undefined
  onIgnored(service: ServiceKey, findings: readonly Ignored[]): void
  /** Whether this turn of the event loop has no more time for us. */
  isSpent(): boolean
}

export class Calculator {
  readonly #settings: RecordSettings
  readonly #parts: CalculatorParts
  readonly #largeFromRecords: number
  readonly #recordsOf = new WeakMap<SliceFacts, number>()
  readonly #large = new Map<ServiceKey, LargeHeadless>()

  constructor(settings: RecordSettings, parts: CalculatorParts, largeFromRecords = LARGE_FROM_RECORDS) {
    this.#settings = settings
    this.#parts = parts
    this.#largeFromRecords = largeFromRecords
  }

  /** Services whose records change in place. */
  get largeCount(): number {
    return this.#large.size
  }

  calculate(service: ServiceKey): Calculation {
    const facts = this.#parts.of(service)
    if (this.#isLarge(service, facts)) return this.#followLarge(service, facts)
    this.#large.delete(service)
    const { records, ignored } = recordsOf(facts, this.#settings)
    this.#parts.onIgnored(service, ignored)
    if (records === undefined || records.size > ON_DEMAND_NAMES_MAX) {
      return { isWhole: true, publication: { records, changed: undefined } }
    }
    const onDemand = new RecordsOnDemand(facts, this.#settings, records)
    const before = this.#parts.published(service)
    // Who asked for the former ones will ask for these.
    if (before instanceof RecordsOnDemand && before.isMade) {
      return { isWhole: true, publication: { records: onDemand, changed: undefined } }
    }
    const release = (): void => {
      onDemand.release()
      // The comparison made them, and where nothing changed they are still those of the zone.
      if (before instanceof RecordsOnDemand) before.release()
    }
    return { isWhole: true, publication: { records: onDemand, changed: undefined, release } }
  }

  #isLarge(service: ServiceKey, { import: serviceImport, slices }: ServiceFacts): boolean {
    if (serviceImport?.type !== 'Headless') return false
    const records = slices.reduce((sum, slice) => sum + this.#recordsIn(slice), 0)
    const from = this.#largeFromRecords
    return records >= (this.#large.has(service) ? from / LARGE_UNTIL_PART : from)
  }

  /** Counted once for each slice as it is: a service may have hundreds, of which one changes. */
  #recordsIn(slice: SliceFacts): number {
    let records = this.#recordsOf.get(slice)
    if (records === undefined) {
      records = slice.endpoints.reduce((sum, { addresses }) => sum + addresses.length + slice.ports.length, 0)
      this.#recordsOf.set(slice, records)
    }
    return records
  }

  #followLarge(service: ServiceKey, { import: serviceImport, slices }: ServiceFacts): Calculation {
    let large = this.#large.get(service)
    if (large === undefined) {
      const { namespace, name } = serviceImport!
      large = new LargeHeadless(nameOfService(namespace, name), this.#settings.apexOctetsMax)
      this.#large.set(service, large)
    }
    let isWhole: boolean
    try {
      isWhole = large.follow(slices, () => this.#parts.isSpent())
    } catch (failure) {
      // Whatever it holds now, the next one is made from the objects.
      this.#large.delete(service)
      throw failure
    }
    this.#parts.onIgnored(service, large.ignored)
    const { records } = large
    const before = this.#parts.published(service)
    if (before === records) return { isWhole, publication: { records, changed: large.takeChanged() } }
    // Half a service is never published: the former records stay until the new ones are whole.
    if (!isWhole) return { isWhole, publication: undefined }
    const changed = large.takeChanged()
    if (before !== undefined) for (const name of before.keys()) if (!records.has(name)) changed.push(name)
    return { isWhole, publication: { records, changed } }
  }
}
