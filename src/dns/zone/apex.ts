/**
 * What a zone holds of itself, whatever the cluster imports: SOA and NS at its apex, the name server's addresses, the
 * version of the MCS DNS specification, and the names that stand only for what is below them.
 */

import { type Rdata, rdataOfSoa, rdataOfTxt } from '../wire/message.ts'
import { type Name, type RelativeName, relativeName } from '../wire/name.ts'
import { RecordType } from '../wire/record-type.ts'

/** Addresses that clients reach this agent by, as rdata. */
export interface ServerAddresses {
  readonly ipv4: readonly Rdata[]
  readonly ipv6: readonly Rdata[]
}

/** Records of one type at one name of the zone itself; rdata is complete, names in it included. */
export interface ApexRrset {
  readonly type: number
  readonly ttlSeconds: number
  readonly rdata: readonly Rdata[]
}

/** SOA times in seconds, as other servers of this zone tell them. No secondary ever uses them. */
const REFRESH_SECONDS = 7_200
const RETRY_SECONDS = 1_800
const EXPIRE_SECONDS = 86_400

/** MCS DNS specification 2.1: the version of the specification, and its TTL. */
const SPECIFICATION_VERSION = '1.0.0'
const VERSION_TTL_SECONDS = 28_800

export const NAME_SERVER: RelativeName = relativeName(['ns', 'dns'])!
const HOSTMASTER: RelativeName = relativeName(['hostmaster'])!
const DNS_VERSION: RelativeName = relativeName(['dns-version'])!

/** Names without data: `svc` and `dns` have names below them; `pod` is one that resolvers ask for and nobody fills. */
const EMPTY_NAMES: ReadonlySet<RelativeName> = new Set(['svc', 'pod', 'dns'].map((label) => relativeName([label])!))

const NO_DATA: readonly ApexRrset[] = []

/** The rrsets at a name of the zone itself, SOA excepted; none where it has no data, undefined where it is no such name. */
export function apexRrsetsAt(
  name: RelativeName,
  apex: Name,
  ttlSeconds: number,
  addresses: ServerAddresses,
): readonly ApexRrset[] | undefined {
  if (name === '') return [{ type: RecordType.NS, ttlSeconds, rdata: [NAME_SERVER + apex] }]
  if (name === NAME_SERVER) {
    const rrsets: ApexRrset[] = []
    if (addresses.ipv4.length > 0) rrsets.push({ type: RecordType.A, ttlSeconds, rdata: addresses.ipv4 })
    if (addresses.ipv6.length > 0) rrsets.push({ type: RecordType.AAAA, ttlSeconds, rdata: addresses.ipv6 })
    return rrsets
  }
  if (name === DNS_VERSION) {
    return [{ type: RecordType.TXT, ttlSeconds: VERSION_TTL_SECONDS, rdata: [rdataOfTxt(SPECIFICATION_VERSION)] }]
  }
  return EMPTY_NAMES.has(name) ? NO_DATA : undefined
}

/** Octets of two root names, in whose place the real ones go: they are in wire form already, and a label may hold a dot. */
const ROOT_NAMES_OCTETS = 2

/** Rdata of the zone's SOA; its minimum, the lifetime of negative answers, is the zone's TTL. */
export function soaRdata(apex: Name, serial: number, ttlSeconds: number): Rdata {
  const numbers = rdataOfSoa({
    mname: '.',
    rname: '.',
    serial,
    refresh: REFRESH_SECONDS,
    retry: RETRY_SECONDS,
    expire: EXPIRE_SECONDS,
    minimum: ttlSeconds,
  }).slice(ROOT_NAMES_OCTETS)
  return NAME_SERVER + apex + HOSTMASTER + apex + numbers
}
