/**
 * The zone: names to rrsets, replaced one service at a time, shared by every configured apex.
 *
 * The control plane writes it, the data plane reads it, both on the event loop; nothing else connects the two.
 */

import { type RelativeName, relativeName } from '../wire/name.ts'
import { RecordType } from '../wire/record-type.ts'
import { PORT_OCTETS, type Rrset, type ServiceKey, type ServiceRecords } from './rrset.ts'

/**
 * What the zone may say about a name it does not know.
 * `unsynced`: nothing yet (SERVFAIL); `synced` and `absent` (no such kinds in the API): it does not exist (NXDOMAIN);
 * `partial`: it does not exist, unless it is of a namespace that is not known yet (SERVFAIL).
 */
export type ZoneState = 'unsynced' | 'partial' | 'synced' | 'absent'

const NO_RECORDS: ServiceRecords = new Map()

interface ServiceEntry {
  readonly records: ServiceRecords
  /** Names in `records` when they were told last: whoever made them may change them in place. */
  readonly nameCount: number
}

export class Zone {
  readonly #services = new Map<ServiceKey, ServiceEntry>()
  /** By `<service>.<namespace>.svc`: every name of a service is at or below it, so that one step replaces all of them. */
  readonly #records = new Map<RelativeName, ServiceRecords>()
  /** Services per `<namespace>.svc`: what makes that name exist. */
  readonly #namespaces = new Map<RelativeName, number>()
  #state: ZoneState = 'unsynced'
  /** `<namespace>.svc` of those that are not known, while the state is `partial`. */
  #missing: ReadonlySet<RelativeName> = new Set()
  #serial: number
  #nameCount = 0

  /** `serial` is the first SOA serial, by custom the seconds of the Unix epoch (RFC 1912 section 2.2 allows any). */
  constructor(serial: number) {
    this.#serial = serial >>> 0
  }

  get state(): ZoneState {
    return this.#state
  }

  set state(state: Exclude<ZoneState, 'partial'>) {
    this.#state = state
    this.#missing = new Set()
  }

  /** All is known but what is in these namespaces. */
  becomePartial(missing: readonly string[]): void {
    this.#state = 'partial'
    this.#missing = new Set(missing.map((namespace) => nameOfNamespace(namespace) ?? ''))
  }

  /** Whether it can be said of every name that it does not exist. */
  get isWhole(): boolean {
    return this.#state === 'synced' || this.#state === 'absent'
  }

  /** Whether a name that is not found does not exist; else that cannot be said yet. */
  isKnown(name: RelativeName): boolean {
    return this.isWhole || (this.#state === 'partial' && !this.#missing.has(lastLabels(name, NAMESPACE_LABELS) ?? ''))
  }

  /** The SOA serial: it grows with every change (RFC 1982 arithmetic). */
  get serial(): number {
    return this.#serial
  }

  /** Names of services. */
  get nameCount(): number {
    return this.#nameCount
  }

  /** Services, with names or without. */
  get serviceCount(): number {
    return this.#services.size
  }

  /** Services that the zone knows, with names or without. */
  services(): Iterable<ServiceKey> {
    return this.#services.keys()
  }

  /** The records of a service as they are told now; undefined when the zone does not know it. */
  recordsOf(service: ServiceKey): ServiceRecords | undefined {
    return this.#services.get(service)?.records
  }

  /** The rrsets at a name of a service: none where it exists without data, undefined where it does not exist. */
  find(name: RelativeName): readonly Rrset[] | undefined {
    const service = lastLabels(name, SERVICE_LABELS)
    return service === undefined ? undefined : this.#records.get(service)?.get(name)
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
    const changed = namesThatChanged(before?.records ?? NO_RECORDS, records ?? NO_RECORDS)
    // Equal records are not taken over: the former ones are there, and two copies of a zone are too many.
    if (changed.length === 0 && before !== undefined && records !== undefined) return changed
    this.#put(service, before, records, changed)
    return changed
  }

  /**
   * As `replace`, for records of which it is known what changed: perhaps the former ones, changed in place in this turn of
   * the event loop, for a service so large that comparing it would take too long. Returns `changed`, completed.
   */
  renew(service: ServiceKey, records: ServiceRecords, changed: RelativeName[]): RelativeName[] {
    this.#put(service, this.#services.get(service), records, changed)
    return changed
  }

  #put(
    service: ServiceKey,
    before: ServiceEntry | undefined,
    records: ServiceRecords | undefined,
    changed: RelativeName[],
  ): void {
    if (before === undefined && records !== undefined) this.#countNamespace(service, 1, changed)
    if (before !== undefined && records === undefined) this.#countNamespace(service, -1, changed)
    const name = nameOf(service)
    if (records === undefined) {
      this.#services.delete(service)
      this.#records.delete(name)
    } else {
      this.#services.set(service, { records, nameCount: records.size })
      this.#records.set(name, records)
    }
    this.#nameCount += (records?.size ?? 0) - (before?.nameCount ?? 0)
    if (changed.length > 0) this.#serial = (this.#serial + 1) >>> 0
  }

  #countNamespace(service: ServiceKey, step: 1 | -1, changed: RelativeName[]): void {
    const name = nameOfNamespace(service.slice(0, service.indexOf('/')))
    if (name === undefined) return
    const before = this.#namespaces.get(name) ?? 0
    if (before + step === 0) this.#namespaces.delete(name)
    else this.#namespaces.set(name, before + step)
    if (before === 0 || before + step === 0) changed.push(name)
  }
}

/** `<service>.<namespace>.svc` of a service. */
function nameOf(service: ServiceKey): RelativeName {
  const at = service.indexOf('/')
  return relativeName([service.slice(at + 1), service.slice(0, at), 'svc']) ?? ''
}

/** `<namespace>.svc` */
function nameOfNamespace(namespace: string): RelativeName | undefined {
  return relativeName([namespace, 'svc'])
}

/** Labels of a service's name, and of a namespace's. */
const SERVICE_LABELS = 3
const NAMESPACE_LABELS = 2

/** The last labels of a name: the service or namespace it would belong to; undefined when it has fewer. */
function lastLabels(name: RelativeName, count: number): RelativeName | undefined {
  let labels = 0
  for (let at = 0; at < name.length; at += name.charCodeAt(at) + 1) labels++
  if (labels < count) return undefined
  let at = 0
  for (let left = labels - count; left > 0; left--) at += name.charCodeAt(at) + 1
  return name.slice(at)
}

/** Names that came, went, or whose own records or glue differ. */
function namesThatChanged(before: ServiceRecords, after: ServiceRecords): RelativeName[] {
  // A service that comes or goes: most publications of a first sync.
  if (before.size === 0) return [...after.keys()]
  if (after.size === 0) return [...before.keys()]
  const changed: RelativeName[] = []
  for (const [name, rrsets] of after) if (!sameRrsets(before.get(name), rrsets)) changed.push(name)
  for (const name of before.keys()) if (!after.has(name)) changed.push(name)
  if (changed.length === 0) return changed
  const known = new Set(changed)
  for (const [name, rrsets] of after) {
    if (known.has(name)) continue
    const srv = rrsets.find((rrset) => rrset.type === RecordType.SRV)
    if (srv?.rdata.some((rdata) => known.has(rdata.slice(PORT_OCTETS))) === true) changed.push(name)
  }
  return changed
}

function sameRrsets(one: readonly Rrset[] | undefined, other: readonly Rrset[]): boolean {
  if (one === undefined || one.length !== other.length) return false
  return one.every((rrset, i) => {
    const against = other[i]!
    return (
      rrset.type === against.type &&
      rrset.rdata.length === against.rdata.length &&
      rrset.rdataStart === against.rdataStart &&
      rrset.rdata.every((rdata, j) => rdata === against.rdata[j])
    )
  })
}
