/** Where each metric comes from: the agent's parts as the plain snapshots that `observe/metrics` reads at a scrape. */

import type { Config } from '../config/config.ts'
import type { ControlPlane } from '../control/control-plane.ts'
import type { Zone } from '../dns/zone/zone.ts'
import type { CounterLabels, TrafficCounters } from '../observe/counters.ts'
import type { MetricSources } from '../observe/metric-sources.ts'
import type { OwnQueryCounts } from '../observe/own-query-counters.ts'
import { responsesIn } from '../observe/traffic.ts'
import type { RecordCache } from '../serve/cache/record-cache.ts'
import type { ListenCounts } from '../serve/listen/listen-counts.ts'
import type { AgentFastPath } from './fast-path.ts'
import type { HostStatus } from './host-setup.ts'
import type { NamedHttpListener } from './http.ts'
import type { ServedZone } from './served-zones.ts'
import type { FollowedGroup } from './upstreams.ts'

/** What is read at a scrape; what a reload replaces, or the start makes, is asked for each time. */
export interface MetricParts {
  readonly version: string
  readonly labels: CounterLabels
  readonly traffic: TrafficCounters
  readonly fastPath: AgentFastPath
  readonly listenCounts: ListenCounts
  readonly recordCache: RecordCache
  readonly zone: Zone
  config(): Config
  /** `errors`: configurations and ConfigMaps that could not be used, in whole or in part. */
  inForce(): {
    readonly hash: string
    readonly appliedAtSeconds: number
    readonly reloadsFailed: number
    readonly errors: number
  }
  groups(): readonly FollowedGroup[]
  controlPlane(): ControlPlane | undefined
  servedZones(): readonly ServedZone[]
  searchSuffixShortCuts(): number
  host(): HostStatus
  ownQueries(): OwnQueryCounts
  httpListeners(): readonly NamedHttpListener[]
}

export function metricSources(parts: MetricParts): MetricSources {
  const { recordCache, zone } = parts
  const forwards = () => parts.groups().map(({ group, transport }) => ({ status: group.status(), transport }))
  return {
    build: { version: parts.version, revision: '' },
    labels: parts.labels,
    trafficBlocks: () => [parts.traffic, ...parts.fastPath.traffic],
    plugins: () => parts.servedZones(),
    cache: () => ({ ...recordCache.status(), bytesMax: parts.config().cache.maxBytes }),
    zone: () => {
      const status = parts.controlPlane()?.status()
      return {
        isSynced: zone.isWhole,
        namespaces: Object.fromEntries(
          (status?.namespaces ?? []).map(({ name, isListed }) => [name, isListed ? 1 : 0]),
        ),
        states: zoneStates(zone.state, status?.fromSnapshot === true),
        searchSuffixShortCuts: parts.fastPath.traffic.reduce(
          (sum, { shortCuts }) => sum + shortCuts,
          parts.searchSuffixShortCuts(),
        ),
        names: zone.nameCount,
        services: zone.serviceCount,
        objects: {
          serviceimports: status?.objects.serviceImport ?? 0,
          endpointslices: status?.objects.endpointSlice ?? 0,
        },
        ignoredObjects: Object.fromEntries(status?.ignored ?? []),
        watchConnected: Object.fromEntries(
          Array.from(status?.watched ?? [], ([kind, isWatched]) => [`${kind.toLowerCase()}s`, isWatched ? 1 : 0]),
        ),
        ageSeconds: ageOf(status?.changedAt),
        lastEventAgeSeconds: ageOf(status?.lastEventAt),
      }
    },
    upstreams: () =>
      forwards().flatMap(({ status, transport }) =>
        status.upstreams.map(({ to, isHealthy, roundTripMs, openConnections, inFlight }) => ({
          to,
          transport,
          inFlight,
          connections: openConnections,
          rttSeconds: roundTripMs === undefined ? undefined : roundTripMs / 1000,
          isHealthy,
        })),
      ),
    forward: () => {
      const statuses = forwards().map(({ status }) => status)
      return {
        ignoredResponses: {
          mismatched: statuses.reduce((sum, status) => sum + status.mismatched, 0),
          malformed: statuses.reduce((sum, status) => sum + status.malformed, 0),
        },
        coalesced: statuses.reduce((sum, status) => sum + status.coalesced, 0),
        maxConcurrentRejects: statuses.reduce((sum, status) => sum + status.rejected, 0),
        healthcheckBroken: statuses.reduce((sum, status) => sum + status.healthcheckBroken, 0),
      }
    },
    listen: () => {
      const { udp, tcp } = parts.listenCounts
      const { sendFailed, receiveFailed } = parts.fastPath.status().workers
      return {
        udp: { ...udp, sendFailed: udp.sendFailed + sendFailed, receiveFailed: udp.receiveFailed + receiveFailed },
        tcp,
      }
    },
    http: () => {
      const refused = parts.httpListeners().map(({ listener }) => listener.refused)
      return {
        connections: refused.reduce((sum, { connections }) => sum + connections, 0),
        pipelined: refused.reduce((sum, { pipelined }) => sum + pipelined, 0),
      }
    },
    config: () => parts.inForce(),
    setupErrors: () => ({ ...parts.host().errors, configmap: parts.inForce().errors }),
    ownQueries: () => parts.ownQueries(),
    fastPath: () => ({ ...parts.fastPath.status(), responses: parts.fastPath.traffic.map(responsesIn) }),
    host: () => {
      const { errors: _, ...host } = parts.host()
      return host
    },
  }
}

function ageOf(atSeconds: number | undefined): number | undefined {
  return atSeconds === undefined ? undefined : Math.max(0, Date.now() / 1000 - atSeconds)
}

/** 1 for the state that the zone is in. */
function zoneStates(state: Zone['state'], isFromSnapshot: boolean): Record<string, number> {
  const now = isFromSnapshot ? 'snapshot' : state
  return Object.fromEntries(
    ['unsynced', 'partial', 'synced', 'absent', 'snapshot'].map((one) => [one, one === now ? 1 : 0]),
  )
}
