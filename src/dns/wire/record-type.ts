/** Record types and classes by the names that zone files, metrics and logs use (IANA DNS parameters). */

export const RecordType = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  SVCB: 64,
  HTTPS: 65,
  NXNAME: 128,
  TKEY: 249,
  TSIG: 250,
  IXFR: 251,
  AXFR: 252,
  MAILB: 253,
  MAILA: 254,
  ANY: 255,
} as const

export const RecordClass = { IN: 1, CH: 3, ANY: 255 } as const

/** Types that nothing here acts on, and that people ask for by name. */
const FURTHER_TYPES = { NAPTR: 35, SSHFP: 44, TLSA: 52, CAA: 257 }

const TYPES = new Map<string, number>(Object.entries({ ...RecordType, ...FURTHER_TYPES }))
const TYPE_NAMES = new Map<number, string>(Array.from(TYPES, ([name, type]) => [type, name]))

/** The name of a type; `TYPE<n>` where this file has none (RFC 3597 section 5). */
export function typeName(type: number): string {
  return TYPE_NAMES.get(type) ?? `TYPE${type}`
}

/** The type of a name, or of `TYPE<n>`, in any case; undefined where there is no such type. */
export function typeFromText(text: string): number | undefined {
  const upper = text.toUpperCase()
  const known = TYPES.get(upper)
  if (known !== undefined) return known
  const number = /^TYPE(\d{1,5})$/.exec(upper)?.[1]
  return number === undefined || Number(number) > 0xffff ? undefined : Number(number)
}
