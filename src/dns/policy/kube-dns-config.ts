/**
 * Routes out of the kube-dns ConfigMap, as kube-dns and NodeLocal DNSCache read it:
 *
 *    stubDomains          {"acme.local": ["1.2.3.4", "1.2.3.5:10053"]}
 *    upstreamNameservers  ["8.8.8.8", "tls://1.1.1.1"]
 *
 * A bad entry is reported with its path and left out; the rest works.
 */

import { type Name, nameFromText, ROOT, textOfName } from '../wire/name.ts'

/** Stub domains of one ConfigMap; those beyond are left out and reported. */
export const STUB_DOMAINS_MAX = 256

/** Upstreams of one route; those beyond are left out and reported. */
export const UPSTREAMS_PER_ROUTE_MAX = 16

/** Octets of one key that are read; a ConfigMap has a mebibyte for all. */
export const VALUE_OCTETS_MAX = 1_048_576

/** The texts of the ConfigMap's keys; undefined: there is no such key. */
export interface KubeDnsConfig {
  readonly stubDomains: string | undefined
  readonly upstreamNameservers: string | undefined
}

export interface KubeDnsRoute {
  /** The root for `upstreamNameservers`. */
  readonly zone: Name
  /** Written as our own configuration writes upstreams: `ADDRESS[:PORT][#servername]`. At least one. */
  readonly upstreams: readonly string[]
  readonly transport: 'udp' | 'tls'
}

export interface KubeDnsProblem {
  /** `stubDomains["acme.local"][1]` */
  readonly path: string
  readonly problem: string
}

export interface KubeDnsRoutes {
  readonly routes: readonly KubeDnsRoute[]
  readonly problems: readonly KubeDnsProblem[]
}

/** Says what is wrong with an upstream as our own configuration writes it; undefined: nothing. */
export type UpstreamCheck = (upstream: string) => string | undefined

/** The routes of a ConfigMap; `check` knows what an address is. */
export function readKubeDnsConfig(config: KubeDnsConfig, check: UpstreamCheck): KubeDnsRoutes {
  const problems: KubeDnsProblem[] = []
  const routes = new Map<Name, KubeDnsRoute>()
  const report = (path: string, problem: string): void => void problems.push({ path, problem })

  const stubDomains = jsonOf(config.stubDomains, 'stubDomains', report)
  if (stubDomains !== undefined) {
    if (!isObject(stubDomains)) report('stubDomains', 'is not an object of domains')
    else readStubDomains(stubDomains, routes, check, report)
  }
  const nameservers = jsonOf(config.upstreamNameservers, 'upstreamNameservers', report)
  if (nameservers !== undefined) {
    const route = readUpstreams(ROOT, nameservers, 'upstreamNameservers', check, report)
    if (route !== undefined) routes.set(ROOT, route)
  }
  return { routes: [...routes.values()], problems }
}

type Report = (path: string, problem: string) => void

function readStubDomains(
  stubDomains: Readonly<Record<string, unknown>>,
  routes: Map<Name, KubeDnsRoute>,
  check: UpstreamCheck,
  report: Report,
): void {
  for (const [domain, upstreams] of Object.entries(stubDomains)) {
    const path = `stubDomains[${JSON.stringify(domain)}]`
    const zone = nameFromText(domain)
    if (zone === undefined || zone === ROOT) {
      report(path, zone === ROOT ? 'the root belongs in upstreamNameservers' : 'is not a domain name')
    } else if (routes.has(zone)) {
      report(path, `says ${textOfName(zone)} a second time`)
    } else if (routes.size >= STUB_DOMAINS_MAX) {
      report(path, `is one of more than ${STUB_DOMAINS_MAX} stub domains`)
      return
    } else {
      const route = readUpstreams(zone, upstreams, path, check, report)
      if (route !== undefined) routes.set(zone, route)
    }
  }
}

function readUpstreams(
  zone: Name,
  list: unknown,
  path: string,
  check: UpstreamCheck,
  report: Report,
): KubeDnsRoute | undefined {
  if (!Array.isArray(list)) {
    report(path, 'is not a list of upstreams')
    return undefined
  }
  const upstreams: string[] = []
  let transport: KubeDnsRoute['transport'] | undefined
  for (const [index, entry] of list.entries()) {
    const entryPath = `${path}[${index}]`
    if (upstreams.length >= UPSTREAMS_PER_ROUTE_MAX) {
      report(entryPath, `is one of more than ${UPSTREAMS_PER_ROUTE_MAX} upstreams`)
      break
    }
    if (typeof entry !== 'string') {
      report(entryPath, 'is not a text')
      continue
    }
    const isTls = entry.startsWith('tls://')
    // A path would be read as a file; no ConfigMap may make us do that.
    const upstream = isTls ? entry.slice('tls://'.length).replace('%', '#') : entry.trim()
    const problem = upstream.includes('/') ? `"${upstream}" is not an IP address` : check(upstream)
    if (problem !== undefined) {
      report(entryPath, problem)
      continue
    }
    transport ??= isTls ? 'tls' : 'udp'
    if (isTls !== (transport === 'tls')) report(entryPath, 'TLS and plain upstreams cannot share a route')
    else if (!upstreams.includes(upstream)) upstreams.push(upstream)
  }
  if (transport !== undefined) return { zone, upstreams, transport }
  report(path, 'has no usable upstream')
  return undefined
}

/** An empty key is as good as none. */
function jsonOf(text: string | undefined, path: string, report: Report): unknown {
  if (text === undefined || text.trim() === '') return undefined
  if (text.length > VALUE_OCTETS_MAX) {
    report(path, `is longer than ${VALUE_OCTETS_MAX} octets`)
    return undefined
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    report(path, `is not JSON: ${error instanceof Error ? error.message : String(error)}`)
    return undefined
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
