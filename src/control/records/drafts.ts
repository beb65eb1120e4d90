/**
 * Records in the making: names gather addresses and services in any order and with repetitions, `build` makes rrsets.
 *
 * Linear in what is added. Sets keep the order of the facts, so the same facts give the same rrsets.
 */

import { type Address, IPV4_OCTETS } from '../../dns/wire/address.ts'
import { rdataOfSrv } from '../../dns/wire/message.ts'
import { NAME_OCTETS_MAX, type RelativeName, textOfName } from '../../dns/wire/name.ts'
import { RecordType } from '../../dns/wire/record-type.ts'
import { NO_RRSETS, type Rrset, type ServiceRecords } from '../../dns/zone/rrset.ts'
import type { PortFacts } from './facts.ts'
import type { IgnoredList } from './ignored.ts'

interface Draft {
  /** Of one fact: its own list, which has no duplicates and is kept once. Of several: a set. */
  addresses: readonly Address[] | Set<Address> | undefined
  /** As `portAndTarget` has them. */
  services: Set<string> | undefined
}

export class Drafts {
  /** What is built takes the place of its draft: a second table of a service's names would be the larger part of the garbage. */
  readonly #drafts = new Map<RelativeName, Draft | readonly Rrset[]>()
  readonly #nameOctetsMax: number
  readonly #ignored: IgnoredList

  /** `apexOctetsMax`: octets of the longest apex that the names will stand under, its root label included. */
  constructor(apexOctetsMax: number, ignored: IgnoredList) {
    this.#nameOctetsMax = NAME_OCTETS_MAX - apexOctetsMax
    this.#ignored = ignored
  }

  /** Whether the name fits under every apex; what does not is told and left out. */
  admits(name: RelativeName): boolean {
    if (name.length <= this.#nameOctetsMax) return true
    this.#ignored.add('name-too-long', 'the name below the zone', textOfName(name))
    return false
  }

  /** Makes the name exist, with or without records. */
  add(name: RelativeName): Draft {
    const known = this.#drafts.get(name) as Draft | undefined
    if (known !== undefined) return known
    const draft = { addresses: undefined, services: undefined }
    this.#drafts.set(name, draft)
    return draft
  }

  /** Adds addresses, among them no duplicates; the list may be kept as it is. */
  addAddresses(name: RelativeName, addresses: readonly Address[]): void {
    if (addresses.length === 0) return
    const draft = this.add(name)
    if (draft.addresses === undefined) {
      draft.addresses = addresses
      return
    }
    if (!(draft.addresses instanceof Set)) draft.addresses = new Set(draft.addresses)
    for (const address of addresses) draft.addresses.add(address)
  }

  /** `service` is a port and a target, as `portAndTarget` has them. */
  addService(owner: RelativeName, service: string): void {
    const draft = this.add(owner)
    draft.services ??= new Set()
    draft.services.add(service)
  }

  /** The records, and the end of the drafts; every service of any name is also one of `serviceName`. */
  build(serviceName: RelativeName): ServiceRecords {
    const drafts = this.#drafts as Map<RelativeName, Draft>
    const records = this.#drafts as Map<RelativeName, readonly Rrset[]>
    const all = drafts.get(serviceName)?.services
    const allServices = all === undefined ? undefined : rrsetOfServices(all)
    drafts.forEach(({ addresses, services }, name) => {
      const rrsets: Rrset[] = addresses === undefined ? [] : rrsetsOfAddresses(addresses)
      if (services !== undefined) {
        // As many as all means the same ones: a service with one port, which is most of them, keeps them once.
        const isAll = services.size === all?.size
        rrsets.push(isAll && allServices !== undefined ? allServices : rrsetOfServices(services))
      }
      records.set(name, rrsets.length === 0 ? NO_RRSETS : rrsets)
    })
    return records
  }
}

function rrsetsOfAddresses(addresses: Iterable<Address>): Rrset[] {
  const all: readonly Address[] = Array.isArray(addresses) ? addresses : [...addresses]
  // Mostly there is one family, and the list can stay what it is.
  if (all.every(isIpv4)) return [{ type: RecordType.A, rdata: all, rdataStart: '' }]
  if (!all.some(isIpv4)) return [{ type: RecordType.AAAA, rdata: all, rdataStart: '' }]
  return [
    { type: RecordType.A, rdata: all.filter(isIpv4), rdataStart: '' },
    { type: RecordType.AAAA, rdata: all.filter((address) => !isIpv4(address)), rdataStart: '' },
  ]
}

export function isIpv4(address: Address): boolean {
  return address.length === IPV4_OCTETS
}

function rrsetOfServices(services: ReadonlySet<string>): Rrset {
  return { type: RecordType.SRV, rdata: [...services], rdataStart: priorityAndWeight(services.size) }
}

/** What the weights of one owner's records add up to, as near as they can. */
const WEIGHT_SUM = 100

const PRIORITY_AND_WEIGHT_OCTETS = 4

/** Of each of so many SRV records of one owner: priority 0 and a fair share of the weight. */
export function priorityAndWeight(records: number): string {
  const weight = Math.max(1, Math.floor(WEIGHT_SUM / records))
  return (STARTS[weight] ??= rdataOfSrv({ priority: 0, weight, port: 0, target: '.' }).slice(
    0,
    PRIORITY_AND_WEIGHT_OCTETS,
  ))
}

/** Made once for each weight there is. */
const STARTS: string[] = []

/** Rdata of a service without its start: port and target, which is what makes two services one. */
export function portAndTarget(port: PortFacts, target: RelativeName): string {
  return String.fromCharCode(port.port >>> 8, port.port & 0xff) + target
}
