/** The upstreams of the configuration's routes: addresses as written, resolv.conf files followed, loops left out. */

import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import type { Config } from '../config/config.ts'
import { canonicalAddress, defaultPort, parseUpstream } from '../config/syntax.ts'
import { parseResolvConf } from '../dns/policy/resolv-conf.ts'
import { type Name, nameFromText } from '../dns/wire/name.ts'
import type { Log } from '../observe/log.ts'
import { type UpstreamAddress, type UpstreamTransport, upstreamName } from '../serve/forward/exchange.ts'
import { createUpstreamGroup, type ForwardingGroup, type GroupParts } from '../serve/forward/forwarder.ts'
import { FollowedAuthorities } from './authorities.ts'
import { upstreamLog } from './upstream-log.ts'

/** How often files are looked at, in milliseconds: DHCP and cloud agents rewrite a resolv.conf at any time. */
const FILES_POLL_MS = 2_000

type RouteConfig = Config['forward'][number]

export interface OwnAddress {
  readonly address: string
  readonly port: number
}

/** A group whose list of upstreams follows the files it came from. */
export interface FollowedGroup {
  readonly group: ForwardingGroup
  readonly transport: UpstreamTransport
  /** What it was made from. */
  readonly route: RouteConfig
  stop(drainMs: number): Promise<void>
}

/** The upstream group of one route; `ownAddresses` are never asked, for that is how loops begin. */
export function openGroup(route: RouteConfig, own: readonly OwnAddress[], parts: GroupParts, log: Log): FollowedGroup {
  const files = route.upstreams.map(parseUpstream).flatMap((one) => (one.kind === 'resolv-conf' ? [one.path] : []))
  const lastGood = new Map<string, readonly string[]>()
  const lastSeen = files.map(textOf)
  const authorities = route.caFile === null ? undefined : new FollowedAuthorities(route.caFile, log)
  const list = () => withoutOwn(upstreamsOf(route, lastGood, log), own, log)
  const group = createUpstreamGroup(
    {
      upstreams: list(),
      transport: route.transport,
      maxInFlight: route.maxInFlight,
      randomCase: route.randomizeCase,
      loopZone: zoneOf(route),
      certificateAuthorities: authorities && (() => authorities.certificates),
    },
    { ...parts, log: upstreamLog(log, () => parts.nowMs() / 1000) },
  )
  const follow = (): void => {
    authorities?.follow()
    const seen = files.map(textOf)
    if (seen.every((text, i) => text === lastSeen[i])) return
    lastSeen.splice(0, seen.length, ...seen)
    const upstreams = list()
    group.use(upstreams)
    log.info('upstreams-changed', { zones: route.zones, upstreams: upstreams.map(upstreamName) })
  }
  // Reading again and again survives renames, bind mounts and symbolic links, and misses nothing between two looks.
  const poll = files.length === 0 && authorities === undefined ? undefined : setInterval(follow, FILES_POLL_MS).unref()
  return {
    group,
    transport: route.transport,
    route,
    stop: (drainMs) => {
      clearInterval(poll)
      return group.stop(drainMs)
    },
  }
}

/** The file's text; undefined while there is none. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Said by `nameserversIn`, which is asked whenever this changes.
    return undefined
  }
}

/** A zone below which a query that is sent out would come back to this route, if it comes back at all. */
function zoneOf(route: RouteConfig): Name {
  const name = nameFromText(route.zones[0] ?? '.')
  if (name === undefined) throw new Error(`the configuration let the name ${route.zones[0]} through`)
  return name
}

function upstreamsOf(route: RouteConfig, lastGood: Map<string, readonly string[]>, log: Log): UpstreamAddress[] {
  const port = defaultPort(route.transport)
  return route.upstreams.map(parseUpstream).flatMap((upstream): UpstreamAddress[] => {
    switch (upstream.kind) {
      case 'address':
        return [{ address: upstream.address, port: upstream.port ?? port, serverName: upstream.serverName }]
      case 'resolv-conf':
        return nameserversIn(upstream.path, lastGood, log).map((address) => ({ address, port }))
      case 'problem':
        // The configuration was validated; this is our mistake, not the operator's.
        throw new Error(`an upstream of the configuration ${upstream.text}`)
    }
  })
}

/** The name servers of a file; what it last had, while it is missing, unreadable or half written. */
function nameserversIn(path: string, lastGood: Map<string, readonly string[]>, log: Log): readonly string[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    log.error('resolv-conf-unreadable', { path, error: error instanceof Error ? error.message : String(error) })
    return lastGood.get(path) ?? []
  }
  const { nameservers, problems } = parseResolvConf(text, (word) => canonicalAddress(word) !== undefined)
  for (const problem of problems) log.warn('resolv-conf-problem', { path, problem })
  if (nameservers.length === 0) {
    log.error('resolv-conf-empty', { path })
    return lastGood.get(path) ?? []
  }
  const addresses = nameservers.map((nameserver) => canonicalAddress(nameserver)!)
  lastGood.set(path, addresses)
  return addresses
}

function withoutOwn(upstreams: readonly UpstreamAddress[], own: readonly OwnAddress[], log: Log): UpstreamAddress[] {
  return upstreams.filter((upstream) => {
    const isOwn = own.some(({ address, port }) => port === upstream.port && addressesOf(address).has(upstream.address))
    if (isOwn) log.error('upstream-is-ourselves', { upstream: upstreamName(upstream) })
    return !isOwn
  })
}

/** The addresses that a listener on `address` has: all of this machine's where it is the wildcard. */
function addressesOf(address: string): ReadonlySet<string> {
  if (address !== '0.0.0.0' && address !== '::') return new Set([address])
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return new Set([address, '0.0.0.0', '::', ...all.map((each) => canonicalAddress(each.address) ?? each.address)])
}
