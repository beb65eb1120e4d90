/** How addresses, names and upstreams are written in the configuration. Pure. */

import { isIP, isIPv4, isIPv6, SocketAddress } from 'node:net'

const DEFAULT_DNS_PORT = 53
const DEFAULT_TLS_PORT = 853
const PORT_MAX = 65_535
const NAME_OCTETS_MAX = 255

/** A label as Kubernetes names namespaces (RFC 1123). */
export function isLabel(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text)
}

/** Whether the text is a domain name of printable ASCII labels, `.` included. */
export function isDnsName(text: string): boolean {
  if (text === '.') return true
  const name = text.replace(/\.$/, '')
  return (
    name.length + 2 <= NAME_OCTETS_MAX &&
    name.split('.').every((label) => /^[!-~]{1,63}$/.test(label) && !label.includes('\\'))
  )
}

/** The address in its one spelling (RFC 5952), undefined when it is none; a scope is kept. */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text
  if (!isIPv6(text)) return undefined
  const [bare, scope] = text.split('%')
  const canonical = new SocketAddress({ address: bare!, family: 'ipv6' }).address
  return scope === undefined ? canonical : `${canonical}%${scope}`
}

/** Why nobody can listen on an address or be asked there; undefined where it is one of a machine, or of all of a machine's. */
export function problemOfAddress(canonical: string): string | undefined {
  const ipv4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(canonical)?.[1]
  if (ipv4 !== undefined) return `is an IPv4 address in IPv6 spelling: write ${ipv4}`
  const isMany = isIPv4(canonical) ? Number(canonical.split('.')[0]) >= 224 : /^ff[0-9a-f]{2}:/.test(canonical)
  return isMany ? 'is no address of one machine (multicast, broadcast or reserved)' : undefined
}

/** An address with its port; undefined when the text is neither ADDRESS:PORT nor [V6]:PORT. */
export function splitHostPort(text: string): { address: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const address = canonicalAddress(match[1] ?? match[2]!)
  const port = Number(match[3])
  const isBracketed = match[1] !== undefined
  if (address === undefined || port > PORT_MAX || isBracketed !== (isIP(address) === 6)) return undefined
  return { address, port }
}

export type UpstreamText =
  | {
      readonly kind: 'address'
      readonly address: string
      readonly port: number | undefined
      readonly serverName: string | undefined
    }
  | { readonly kind: 'resolv-conf'; readonly path: string }
  | { readonly kind: 'problem'; readonly text: string }

/** An upstream as written; the port is undefined where it was left out. */
export function parseUpstream(text: string): UpstreamText {
  if (text.startsWith('/')) return { kind: 'resolv-conf', path: text }
  const hash = text.indexOf('#')
  const host = hash === -1 ? text : text.slice(0, hash)
  const serverName = hash === -1 ? undefined : text.slice(hash + 1)
  if (serverName !== undefined && (serverName === '' || !isDnsName(serverName)))
    return { kind: 'problem', text: 'has no domain name behind its #' }
  const bare = canonicalAddress(host) ?? canonicalAddress(/^\[(.*)\]$/.exec(host)?.[1] ?? '')
  const pair = bare === undefined ? splitHostPort(host) : { address: bare, port: undefined }
  if (pair !== undefined && pair.port !== 0) {
    const isAny = pair.address === '0.0.0.0' || pair.address === '::'
    const problem = isAny ? 'is no address of a server' : problemOfAddress(pair.address)
    return problem === undefined ? { kind: 'address', ...pair, serverName } : { kind: 'problem', text: problem }
  }
  if (/^[a-z0-9.-]*[a-z][a-z0-9.-]*(:\d+)?$/i.test(host)) {
    return {
      kind: 'problem',
      text: 'is a host name: upstreams are addresses, because nobody could resolve the name before DNS works',
    }
  }
  return { kind: 'problem', text: 'is no ADDRESS, ADDRESS:PORT, [V6]:PORT or absolute path of a resolv.conf' }
}

/** The port that stands for itself when none is written. */
export function defaultPort(transport: 'udp' | 'tcp' | 'tls'): number {
  return transport === 'tls' ? DEFAULT_TLS_PORT : DEFAULT_DNS_PORT
}
