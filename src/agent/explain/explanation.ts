/**
 * What `GET /explain` and `nodelocal-mcs explain --json` say: how this agent would answer one question now, and why.
 *
 * Public: fields are added, never renamed or given another meaning without another `version`. A part that the question does
 * not come to is null; what is not known is null too. Times are in the unit that ends the name.
 */

import { ABSENCES } from '../../control/records/absence.ts'
import type { ListeningOn } from '../listeners.ts'

export interface Explanation {
  readonly version: 1
  readonly question: ExplainedQuestion
  readonly verdict: Verdict
  /** Hints for a person: what is unusual here, beside the verdict. */
  readonly notes: readonly string[]
  readonly agent: ExplainedAgent
  readonly packetCache: ExplainedPacketCache
  readonly accept: { readonly verdict: 'take' | 'refuse'; readonly rcode: string | null }
  readonly route: ExplainedRoute | null
  /** The name can only be a search suffix behind a clusterset name: denied on behalf of this zone. */
  readonly searchSuffix: { readonly zone: string } | null
  readonly clusterset: ExplainedClusterset | null
  readonly recordCache: ExplainedRecordCache | null
  readonly upstreams: ExplainedUpstreams | null
  /** What a client would be sent, where that is known without asking an upstream. */
  readonly response: ExplainedResponse | null
}

export interface ExplainedQuestion {
  /** With its last dot. */
  readonly name: string
  readonly type: string
  readonly class: 'IN'
  readonly recursionDesired: boolean
  readonly dnssecOk: boolean
  readonly checkingDisabled: boolean
}

/** Every reason of a verdict; explained in `docs/operations.md`. */
export const REASONS = [
  // Who answers without looking any further.
  'refused-type',
  'no-route',
  'special-name',
  'search-suffix',
  'own-name',
  // The clusterset zone.
  'records',
  'no-such-type',
  'empty-non-terminal',
  'not-synced',
  'no-service-import-kind',
  'no-such-namespace',
  'outside-schema',
  ...ABSENCES,
  // The record cache.
  'cached',
  'cached-denial',
  'cached-failure',
  'stale',
  // The upstreams.
  'ask-upstream',
  'refresh-stale',
  'in-flight',
  'no-upstreams',
  'upstreams-loop',
  'overloaded',
  'upstreams-changed',
] as const

export type Reason = (typeof REASONS)[number]

export interface Verdict {
  /** `NOERROR`, `NXDOMAIN`, …; null: an upstream decides. */
  readonly rcode: string | null
  readonly by: 'accept' | 'zone' | 'agent' | 'record-cache' | 'upstream'
  readonly reason: Reason
  readonly text: string
}

export interface ExplainedAgent {
  readonly version: string
  readonly instance: string
  readonly listening: readonly ListeningOn[]
  /** Conditions of /readyz that do not hold. */
  readonly notReady: readonly { readonly name: string; readonly detail: string | null }[]
}

export interface ExplainedPacketCache {
  /** Only `mmsg` has a packet cache; it answers UDP alone. */
  readonly implementation: 'mmsg' | 'dgram'
  /** The fast path's copy of the response; null: it has none, or it is no longer fresh. */
  readonly hit: {
    readonly rcode: string
    readonly ageSeconds: number
    readonly leftSeconds: number
    readonly hits: number
    readonly octets: number
  } | null
}

export interface ExplainedRoute {
  /** The zone that decides; null: no route holds the name. */
  readonly zone: string | null
  readonly kind: RouteKind
  /** Every zone that holds the name, the longest first. */
  readonly matches: readonly {
    readonly zone: string
    readonly kind: RouteKind
    readonly upstreams: readonly string[]
  }[]
}

export type RouteKind = 'clusterset' | 'own' | 'special' | 'forward' | 'none'

export interface ExplainedClusterset {
  readonly zone: string
  readonly state: 'unsynced' | 'partial' | 'synced' | 'absent'
  readonly source: 'kubernetes' | 'manifests' | 'none'
  readonly isFromSnapshot: boolean
  readonly isConnected: boolean
  readonly syncedSecondsAgo: number | null
  readonly lastEventSecondsAgo: number | null
  /** Of ServiceImport, in use at the API server. */
  readonly apiVersion: string | null
  /** Failed requests and broken watches since the start, by HTTP status or error code. */
  readonly watchErrors: Readonly<Record<string, number>>
  readonly serial: number
  readonly services: number
  readonly ttlSeconds: number
  readonly name: {
    readonly owner: 'zone' | 'service' | 'namespace' | 'nobody'
    readonly rrsets: readonly ExplainedRrset[]
  }
  /** The service that the name belongs to, whether it is imported or not; null: names like this belong to none. */
  readonly service: ExplainedServicePart | null
  /** Services that may have been meant, as `namespace/name`, where the asked one is not imported. */
  readonly suggestions: readonly string[]
}

export interface ExplainedRrset {
  readonly type: string
  readonly ttlSeconds: number
  readonly count: number
  /** The first of them; `from`: the objects that say so. */
  readonly records: readonly { readonly data: string; readonly from: readonly string[] }[]
}

export interface ExplainedServicePart {
  readonly namespace: string
  readonly name: string
  readonly isChangeWaiting: boolean
  readonly serviceImport: {
    readonly object: string
    readonly type: 'ClusterSetIP' | 'Headless'
    readonly addresses: number
    readonly ports: readonly string[]
  } | null
  readonly endpointSlices: number
  readonly readyEndpoints: number
  readonly slices: readonly {
    readonly object: string
    readonly cluster: string | null
    readonly ready: number
    readonly notReady: number | null
    readonly ports: readonly string[]
    readonly isServiceAddress: boolean
  }[]
  readonly ignored: readonly {
    readonly object: string
    readonly reason: string
    readonly detail: string
    readonly count: number
  }[]
}

export interface ExplainedRecordCache {
  readonly entry: ExplainedEntry | null
  /** An upstream is asked before the client is answered. */
  readonly isUpstreamAsked: boolean
  /** A stale answer is sent when no upstream has answered within this; null: there is none, or it is sent at once. */
  readonly staleAfterMs: number | null
  readonly isPrefetchDue: boolean
  readonly isRefreshing: boolean
  readonly failedRefreshSecondsAgo: number | null
  /** Kept for the same name and type with other bits: as `+dnssec` or `+cdflag` ask. */
  readonly others: readonly ExplainedEntry[]
}

export interface ExplainedEntry {
  readonly recursionDesired: boolean
  readonly dnssecOk: boolean
  readonly checkingDisabled: boolean
  readonly kind: 'positive' | 'negative' | 'failure'
  readonly rcode: string
  readonly freshness: 'fresh' | 'stale' | 'gone'
  readonly ageSeconds: number
  readonly ttlLeftSeconds: number
  /** Seconds that it may still be served stale, once it is. */
  readonly staleLeftSeconds: number
  readonly hits: number
  readonly upstream: string
  readonly octets: number
}

export interface ExplainedUpstreams {
  /** As the configuration has them: addresses, paths of a resolv.conf. */
  readonly configured: readonly string[]
  readonly transport: 'udp' | 'tcp' | 'tls'
  /** Clients that wait for the same answer now. */
  readonly waiters: number
  /** Limits are reached: SERVFAIL. */
  readonly isFull: boolean
  /** In the order that they would be asked in. */
  readonly order: readonly ExplainedUpstream[]
  /** Not asked: what we ask of them comes back to us. */
  readonly passedOver: readonly ExplainedUpstream[]
}

export interface ExplainedUpstream {
  readonly to: string
  readonly isHealthy: boolean
  /** Chance decides among these which is the first. */
  readonly isAmongFirst: boolean
  readonly roundTripMs: number | null
  readonly answeredSecondsAgo: number | null
  readonly inFlight: number
  readonly openConnections: number
  readonly isWithoutEdns: boolean
  readonly requests: number
  readonly timeouts: number
  readonly unreachable: number
}

export interface ExplainedResponse {
  readonly rcode: string
  /** `qr`, `aa`, `tc`, `rd`, `ra`, `ad`, `cd`, as dig has them. */
  readonly flags: readonly string[]
  /** Octets over TCP, without OPT. */
  readonly octets: number
  /** Over UDP the client would be told to come by TCP: with 512 octets, with EDNS and 1232. */
  readonly isTruncated: { readonly plain: boolean; readonly edns: boolean }
  readonly extendedErrors: readonly { readonly code: number; readonly text: string }[]
  readonly answer: ExplainedSection
  readonly authority: ExplainedSection
  readonly additional: ExplainedSection
}

export interface ExplainedSection {
  readonly count: number
  readonly records: readonly {
    readonly name: string
    readonly ttlSeconds: number
    readonly type: string
    readonly data: string
  }[]
}
