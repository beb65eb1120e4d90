/**
 * What the metrics read at a scrape: plain snapshots from callbacks that `agent.ts` wires, so that nothing here knows whose
 * numbers they are. Every callback is called once a scrape, must be cheap and must not throw.
 *
 * Record keys become label values: they come from the code or the configuration, never from a query or an object.
 */

import type { CounterLabels, TrafficCounters } from './counters.ts'
import type { OwnQueryCounts } from './own-query-counters.ts'

type Counts = Readonly<Record<string, number>>

export interface MetricSources {
  readonly build: { readonly version: string; readonly revision: string }
  readonly labels: CounterLabels
  /** The event loop's block and one of each worker thread. */
  trafficBlocks(): readonly TrafficCounters[]
  plugins(): readonly PluginEnabled[]
  cache(): CacheSnapshot
  zone(): ZoneSnapshot
  upstreams(): readonly UpstreamSnapshot[]
  forward(): ForwardSnapshot
  listen(): ListenSnapshot
  /** HTTP connections that were closed on purpose, by reason. */
  http(): Counts
  config(): ConfigSnapshot
  /** Failures to set up interface and rules, by errortype; those of NodeLocal DNSCache are told even when absent. */
  setupErrors(): Counts
  /** The watchdog's queries to ourselves. */
  ownQueries(): OwnQueryCounts
  fastPath(): FastPathSnapshot
  host(): HostSnapshot
}

/** Zeros where UDP is served by the event loop. */
export interface FastPathSnapshot {
  readonly threads: number
  /** Responses that each worker sent itself. */
  readonly responses: readonly number[]
  readonly isDirect: boolean
  readonly workers: { readonly restarts: number; readonly handOvers: number }
  readonly packetCache: {
    readonly entries: number
    readonly bytes: number
    readonly evictions: number
    readonly refusals: number
  }
  /** Times that the whole packet cache was forgotten, by reason. */
  readonly packetCacheFlushes: ReadonlyMap<string, number>
}

export interface HostSnapshot {
  /** undefined: not ours to set up. */
  readonly isInterfacePresent: boolean | undefined
  readonly areRulesPresent: boolean | undefined
  /** undefined: there is none to be. */
  readonly isFallbackPresent: boolean | undefined
  /** `nftables`, `iptables-nft`, `iptables-legacy`, `nftables+iptables-nft` and so on, `none`. */
  readonly backend: string
  /** Times that something missing was put back: `interface`, `rules`, `fallback`. */
  readonly repairs: Counts
}

/** What answers for a zone on a server; `name` as in CoreDNS: `cache`, `forward`, `clusterset`, `local`. */
export interface PluginEnabled {
  readonly server: string
  readonly zone: string
  readonly name: string
}

/** The record cache. */
export interface CacheSnapshot {
  readonly positiveEntries: number
  readonly negativeEntries: number
  readonly bytes: number
  readonly bytesMax: number
  /** All, and of these the denials and failures. */
  readonly evictions: number
  readonly negativeEvictions: number
  /** Answers too large to be kept. */
  readonly refusals: number
}

export interface ZoneSnapshot {
  readonly isSynced: boolean
  /** By namespace that the configuration names: 1 once all of it is listed. */
  readonly namespaces: Counts
  /** 1 for the state that the zone is in, 0 for the others: `unsynced`, `partial`, `synced`, `absent`, `snapshot`. */
  readonly states: Counts
  /** Names answered by the search-suffix short cut. */
  readonly searchSuffixShortCuts: number
  readonly names: number
  readonly services: number
  /** `serviceimports`, `endpointslices`. */
  readonly objects: Counts
  /** Objects or parts of them that were left out, by reason. */
  readonly ignoredObjects: Counts
  /** By kind: 1 while its changes are seen. A kind that nobody has to watch is left out. */
  readonly watchConnected: Counts
  /** Seconds since the zone last changed; undefined before it was whole. */
  readonly ageSeconds: number | undefined
  /** Seconds since the source last said anything; undefined before it did. */
  readonly lastEventAgeSeconds: number | undefined
}

export interface UpstreamSnapshot {
  /** Address and port. */
  readonly to: string
  readonly transport: string
  readonly inFlight: number
  /** Connections open; for UDP sockets open. */
  readonly connections: number
  /** Smoothed; undefined before the first response. */
  readonly rttSeconds: number | undefined
  readonly isHealthy: boolean
}

export interface ForwardSnapshot {
  /** Queries that shared the upstream query of another. */
  readonly coalesced: number
  readonly maxConcurrentRejects: number
  /** Messages of upstreams that were no response to us, by reason: `mismatched`, `malformed`. */
  readonly ignoredResponses: Counts
  /** Queries for which no upstream was healthy. */
  readonly healthcheckBroken: number
}

/** Shaped as the listeners count (`serve/listen/listen-counts`). */
export interface ListenSnapshot {
  readonly udp: Counts
  readonly tcp: {
    readonly connectionsOpen: number
    readonly connectionsAccepted: number
    readonly refused: Counts
    readonly cut: Counts
    readonly paused: Counts
    readonly responsesLate: number
  }
}

export interface ConfigSnapshot {
  /** SHA-256 of the configuration in force, in hexadecimal. */
  readonly hash: string
  /** Seconds of the Unix epoch at which it came into force. */
  readonly appliedAtSeconds: number
  readonly reloadsFailed: number
}
