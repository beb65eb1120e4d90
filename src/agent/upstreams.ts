/** The upstreams of the configuration's routes: addresses as written, resolv.conf files followed, loops left out. */

import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import type { Config } from '../config/config.ts'
import { canonicalAddress, defaultPort, parseUpstream } from '../config/syntax.ts'
import { parseResolvConf } from '../dns/policy/resolv-conf.ts'
import type { Log } from '../observe/log.ts'
import { type UpstreamAddress, type UpstreamTransport, upstreamName } from '../serve/forward/exchange.ts'
import { createUpstreamGroup, type ForwardingGroup, type GroupParts } from '../serve/forward/forwarder.ts'

/** How often a resolv.conf is looked at, in milliseconds: DHCP and cloud agents rewrite it at any time. */
const RESOLV_CONF_POLL_MS = 2_000

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
  const list = () => withoutOwn(upstreamsOf(route, log), own, log)
  const group = createUpstreamGroup(
    {
      upstreams: list(),
      transport: route.transport,
      maxInFlight: route.maxInFlight,
      randomCase: route.randomizeCase,
    },
    { ...parts, log },
  )
  const follow = (): void => {
    const upstreams = list()
    group.use(upstreams)
    log.info('upstreams-changed', { zones: route.zones, upstreams: upstreams.map(upstreamName) })
  }
  for (const file of files) watchFile(file, { interval: RESOLV_CONF_POLL_MS, persistent: false }, follow)
  return {
    group,
    transport: route.transport,
    route,
    stop: (drainMs) => {
      for (const file of files) unwatchFile(file, follow)
      return group.stop(drainMs)
    },
  }
}

function upstreamsOf(route: RouteConfig, log: Log): UpstreamAddress[] {
  const port = defaultPort(route.transport)
  return route.upstreams.map(parseUpstream).flatMap((upstream): UpstreamAddress[] => {
    switch (upstream.kind) {
      case 'address':
        return [{ address: upstream.address, port: upstream.port ?? port, serverName: upstream.serverName }]
      case 'resolv-conf':
        return nameserversIn(upstream.path, log).map((address) => ({ address, port }))
      case 'problem':
        // The configuration was validated; this is our mistake, not the operator's.
        throw new Error(`an upstream of the configuration ${upstream.text}`)
    }
  })
}

function nameserversIn(path: string, log: Log): string[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    log.error('resolv-conf-unreadable', { path, error: error instanceof Error ? error.message : String(error) })
    return []
  }
  const { nameservers, problems } = parseResolvConf(text, (word) => canonicalAddress(word) !== undefined)
  for (const problem of problems) log.warn('resolv-conf-problem', { path, problem })
  if (nameservers.length === 0) log.error('resolv-conf-empty', { path })
  return nameservers.map((nameserver) => canonicalAddress(nameserver)!)
}

function withoutOwn(upstreams: readonly UpstreamAddress[], own: readonly OwnAddress[], log: Log): UpstreamAddress[] {
  return upstreams.filter((upstream) => {
    const isOwn = own.some(({ address, port }) => address === upstream.address && port === upstream.port)
    if (isOwn) log.error('upstream-is-ourselves', { upstream: upstreamName(upstream) })
    return !isOwn
  })
}
