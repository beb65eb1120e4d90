/**
 * The zone: names to rrsets, replaced one service at a time, shared by every configured apex.
 *
 * The control plane writes it, the data plane reads it, both on the event loop; nothing else connects the two.
 */

import { type RelativeName, relativeName } from '../wire/name.ts'
import { RecordType } from '../wire/record-type.ts'
import { type Rrset, type ServiceKey, type ServiceRecords, SRV_FIXED_OCTETS } from './rrset.ts'

/**
 * What the zone may say about a name it does not know.
 * `unsynced`: nothing yet (SERVFAIL); `synced` and `absent` (no such kinds in the API): it does not exist (NXDOMAIN).
 */
export type ZoneState = 'unsynced' | 'synced' | 'absent'

const NO_RECORDS: ServiceRecords = new Map()

export class Zone {
  readonly #services = new Map<ServiceKey, ServiceRecords>()
  readonly #names = new Map<RelativeName, readonly Rrset[]>()
  /** Services per `<namespace>.svc`: what makes that name exist. */
  readonly #namespaces = new Map<RelativeName, number>()
  #state: ZoneState = 'unsynced'
  #serial: number

  /** `serial` is the first SOA serial, by custom the seconds of the Unix epoch (RFC 1912 section 2.2 allows any). */
  constructor(serial: number) {
    this.#serial = serial >>> 0
  }

  get state(): ZoneState {
    return this.#state
  }

  set state(state: ZoneState) {
    this.#state = state
  }

  /** The SOA serial: it grows with every change (RFC 1982 arithmetic). */
  get serial(): number {
    return this.#serial
  }

  /** Names of services. */
  get nameCount(): number {
    return this.#names.size
  }

  /** Services, with names or without. */
  get serviceCount(): number {
    return this.#services.size
  }

  /** Services that the zone knows, with names or without. */
  services(): Iterable<ServiceKey> {
    return this.#services.keys()
  }

  /** The rrsets at a name of a service: none where it exists without data, undefined where it does not exist. */
  find(name: RelativeName): readonly Rrset[] | undefined {
    return this.#names.get(name)
  }

  /** Whether `<namespace>.svc` holds any service. */
  hasNamespace(name: RelativeName): boolean {
    return this.#namespaces.has(name)
  }

  /**
   * Puts a service's records in the place of its former ones; undefined takes the service away.
   * Returns the names whose answers changed.
   */
  replace(service: ServiceKey, records: ServiceRecords | undefined): RelativeName[] {
    const before = this.#services.get(service)
    const changed = namesThatChanged(before ?? NO_RECORDS, records ?? NO_RECORDS)
    if (before === undefined && records !== undefined) this.#countNamespace(service, 1, changed)
    if (before !== undefined && records === undefined) this.#countNamespace(service, -1, changed)
    // Equal records are not taken over: the names hold the former ones, and two copies of a zone are too many.
    if (changed.length === 0 && before !== undefined && records !== undefined) return changed

    if (records === undefined) this.#services.delete(service)
    else this.#services.set(service, records)
    if (before !== undefined) {
      for (const name of before.keys()) if (records?.has(name) !== true) this.#names.delete(name)
    }
    if (records !== undefined) for (const [name, rrsets] of records) this.#names.set(name, rrsets)
    if (changed.length > 0) this.#serial = (this.#serial + 1) >>> 0
    return changed
  }

  #countNamespace(service: ServiceKey, step: 1 | -1, changed: RelativeName[]): void {
    const name = relativeName([service.slice(0, service.indexOf('/')), 'svc'])
    if (name === undefined) return
    const before = this.#namespaces.get(name) ?? 0
    if (before + step === 0) this.#namespaces.delete(name)
    else this.#namespaces.set(name, before + step)
    if (before === 0 || before + step === 0) changed.push(name)
  }
}

/** Names that came, went, or whose own records or glue differ. */
function namesThatChanged(before: ServiceRecords, after: ServiceRecords): RelativeName[] {
  const changed = new Set<RelativeName>()
  for (const [name, rrsets] of after) if (!sameRrsets(before.get(name), rrsets)) changed.add(name)
  for (const name of before.keys()) if (!after.has(name)) changed.add(name)
  if (changed.size === 0) return []
  for (const [name, rrsets] of after) {
    const srv = rrsets.find((rrset) => rrset.type === RecordType.SRV)
    if (srv?.rdata.some((rdata) => changed.has(rdata.slice(SRV_FIXED_OCTETS))) === true) changed.add(name)
  }
  return [...changed]
}

function sameRrsets(one: readonly Rrset[] | undefined, other: readonly Rrset[]): boolean {
  if (one === undefined || one.length !== other.length) return false
  return one.every((rrset, i) => {
    const against = other[i]!
    return (
      rrset.type === against.type &&
      rrset.rdata.length === against.rdata.length &&
      rrset.rdata.every((rdata, j) => rdata === against.rdata[j])
    )
  })
}
