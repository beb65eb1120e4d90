/** What a zone holds at a name, all types of it: for whoever wants to know more than one answer tells. */

import type { Rdata } from '../wire/message.ts'
import { type Name, type RelativeName, relativeTo } from '../wire/name.ts'
import { RecordType } from '../wire/record-type.ts'
import { rrsetsOfServices, type ZoneAnswerSettings } from './answer.ts'
import { apexRrsetsAt, soaRdata } from './apex.ts'
import type { Rrset } from './rrset.ts'
import type { Zone } from './zone.ts'

export interface ZoneLook {
  readonly name: RelativeName
  /** Who makes the name exist; `nobody`: it does not exist, or, in a zone that is not synced, is not known yet. */
  readonly owner: 'zone' | 'service' | 'namespace' | 'nobody'
  /** None: the name exists without data. */
  readonly rrsets: readonly LookedRrset[]
}

export interface LookedRrset {
  readonly type: number
  readonly ttlSeconds: number
  readonly count: number
  /** The first of them: as the zone has them, and complete, names in them included. */
  readonly records: readonly { readonly rdata: Rdata; readonly complete: Rdata }[]
}

/** Looks at a name at or below `settings.apex`; tells so many records of an rrset. */
export function lookInZone(zone: Zone, settings: ZoneAnswerSettings, qname: Name, recordsMax: number): ZoneLook {
  const { apex, ttlSeconds, serverAddresses } = settings
  const name = relativeTo(qname, apex)
  if (name === undefined) throw new Error('the name is not of this zone')
  const looked = (type: number, ttl: number, rdata: readonly Rdata[], start: Rdata, end: Name): LookedRrset => ({
    type,
    ttlSeconds: ttl,
    count: rdata.length,
    records: rdata.slice(0, recordsMax).map((one) => ({ rdata: one, complete: start + one + end })),
  })
  const ofZone = apexRrsetsAt(name, apex, ttlSeconds, serverAddresses)
  if (ofZone !== undefined) {
    const rrsets = ofZone.map((rrset) => looked(rrset.type, rrset.ttlSeconds, rrset.rdata, '', ''))
    if (name === '')
      rrsets.unshift(looked(RecordType.SOA, ttlSeconds, [soaRdata(apex, zone.serial, ttlSeconds)], '', ''))
    return { name, owner: 'zone', rrsets }
  }
  const ofServices = rrsetsOfServices(zone, name)
  if (ofServices === undefined) return { name, owner: 'nobody', rrsets: [] }
  const end = (rrset: Rrset): Name => (rrset.type === RecordType.SRV ? apex : '')
  return {
    name,
    owner: zone.find(name) === undefined ? 'namespace' : 'service',
    rrsets: ofServices.map((rrset) => looked(rrset.type, ttlSeconds, rrset.rdata, rrset.rdataStart, end(rrset))),
  }
}
