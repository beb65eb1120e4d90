/**
 * ipaddr.js's door: IP addresses as text and as octets.
 *
 * Strict, as Go's `netip` is, because Kubernetes is: no leading zeros in a dotted quad (some read them as octal), no
 * scope ids, no short forms such as `10.1`, no octal, no hexadecimal.
 */

import ipaddr from 'ipaddr.js'
import type { Rdata } from './message.ts'

/** An address as its octets, one character an octet: 4 of IPv4 or 16 of IPv6. It is the rdata of its A or AAAA record. */
export type Address = Rdata

export const IPV4_OCTETS = 4
export const IPV6_OCTETS = 16

/** The longest text of an address; what is longer is none. */
const TEXT_MAX = 45

/** What `netip` takes and ipaddr.js does not insist on: one to four digits a group, at most a dotted quad behind them. */
const IPV6_SHAPE = /^(?<groups>[0-9a-f]{0,4}(:[0-9a-f]{0,4})*:)(?<last>[0-9a-f]{0,4}|[0-9]+\.[0-9.]+)$/i

/**
 * The address in `text`, undefined when it is none. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4
 * address that it maps, as Go and so every Kubernetes component treats it; as AAAA it would be of use to nobody.
 */
export function addressFromText(text: string): Address | undefined {
  if (text.length > TEXT_MAX) return undefined
  if (!text.includes(':')) {
    return ipaddr.IPv4.isValidFourPartDecimal(text) ? octetsOf(ipaddr.IPv4.parse(text).toByteArray()) : undefined
  }
  const groups = withoutQuad(text)
  if (groups === undefined || !ipaddr.IPv6.isValid(groups)) return undefined
  const address = ipaddr.IPv6.parse(groups)
  return octetsOf((address.isIPv4MappedAddress() ? address.toIPv4Address() : address).toByteArray())
}

/** An IPv6 address with a dotted quad at its end as two groups: ipaddr.js would read `::192.0.2.1` as a mapped one. */
function withoutQuad(text: string): string | undefined {
  const { groups, last } = IPV6_SHAPE.exec(text)?.groups ?? {}
  if (groups === undefined || last === undefined || !last.includes('.')) return groups && text
  if (!ipaddr.IPv4.isValidFourPartDecimal(last)) return undefined
  const [a, b, c, d] = ipaddr.IPv4.parse(last).toByteArray() as [number, number, number, number]
  return `${groups}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
}

function octetsOf(octets: number[]): Address {
  return String.fromCharCode(...octets)
}
