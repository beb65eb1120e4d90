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
    const quad = quadFromText(text)
    return quad === undefined
      ? undefined
      : String.fromCharCode(quad >>> 24, (quad >>> 16) & 0xff, (quad >>> 8) & 0xff, quad & 0xff)
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
  const quad = quadFromText(last)
  return quad === undefined ? undefined : `${groups}${(quad >>> 16).toString(16)}:${(quad & 0xffff).toString(16)}`
}

const DOT = 0x2e
const DIGIT_0 = 0x30
const DOTS = 3

/**
 * A dotted quad as a number of 32 bits. By hand: the list of a clusterset holds a hundred thousand of them, and ipaddr.js
 * leaves more than a KiB of garbage for each.
 */
function quadFromText(text: string): number | undefined {
  let quad = 0
  let octet = 0
  let digits = 0
  let dots = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === DOT) {
      if (digits === 0 || dots === DOTS) return undefined
      quad = (quad << 8) | octet
      octet = 0
      digits = 0
      dots++
      continue
    }
    const digit = code - DIGIT_0
    const isLeadingZero = digits > 0 && octet === 0
    if (digit < 0 || digit > 9 || isLeadingZero) return undefined
    octet = octet * 10 + digit
    if (octet > 0xff) return undefined
    digits++
  }
  return dots === DOTS && digits > 0 ? (quad << 8) | octet : undefined
}

function octetsOf(octets: number[]): Address {
  return String.fromCharCode(...octets)
}
