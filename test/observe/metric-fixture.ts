/** Sources that say something about everything. */

import { CounterLabels, TrafficCounters } from '../../src/observe/counters.ts'
import type { MetricSources } from '../../src/observe/metric-sources.ts'
import { OwnQueryCounters } from '../../src/observe/own-query-counters.ts'
import { newListenCounts } from '../../src/serve/listen/listen-counts.ts'
import type { TrafficObserver } from '../../src/serve/slow-path.ts'

export const SERVER = 'dns://169.254.20.10:53'

export interface MetricFixture {
  readonly sources: MetricSources
  readonly labels: CounterLabels
  /** Both what it is and what the slow path counts with. */
  readonly traffic: TrafficCounters & TrafficObserver
}

export function metricFixture(over: Partial<MetricSources> = {}): MetricFixture {
  const labels = new CounterLabels()
  const traffic = new TrafficCounters(labels)
  const sources: MetricSources = {
    build: { version: '0.1.0', revision: 'abcdef' },
    labels,
    trafficBlocks: () => [traffic],
    plugins: () => [{ server: SERVER, zone: '.', name: 'cache' }],
    cache: () => ({
      positiveEntries: 7,
      negativeEntries: 2,
      bytes: 4096,
      bytesMax: 65_536,
      evictions: 3,
      negativeEvictions: 1,
      refusals: 4,
    }),
    zone: () => ({
      isSynced: true,
      namespaces: { shop: 1, bank: 0 },
      states: { unsynced: 0, partial: 0, synced: 1, absent: 0, snapshot: 0 },
      searchSuffixShortCuts: 2,
      names: 12,
      services: 4,
      objects: { serviceimports: 4, endpointslices: 9 },
      ignoredObjects: { 'bad-address': 1 },
      watchConnected: { serviceimports: 1, endpointslices: 0 },
      ageSeconds: 30,
      lastEventAgeSeconds: 1.5,
    }),
    upstreams: () => [
      { to: '10.96.0.11:53', transport: 'tcp', inFlight: 2, connections: 1, rttSeconds: 0.002, isHealthy: true },
      { to: '192.0.2.1:53', transport: 'udp', inFlight: 0, connections: 0, rttSeconds: undefined, isHealthy: false },
    ],
    forward: () => ({
      coalesced: 5,
      maxConcurrentRejects: 1,
      healthcheckBroken: 0,
      ignoredResponses: { mismatched: 2, malformed: 0 },
    }),
    listen: newListenCounts,
    http: () => ({ connections: 4, pipelined: 0 }),
    config: () => ({ hash: 'c0ffee', appliedAtSeconds: 1_700_000_000, reloadsFailed: 0 }),
    setupErrors: () => ({}),
    ownQueries: () => new OwnQueryCounters().snapshot(),
    fastPath: () => ({
      threads: 1,
      responses: [6],
      isDirect: true,
      workers: { handOvers: 5, restarts: 0 },
      packetCache: { entries: 5, bytes: 2048, evictions: 1, refusals: 0 },
      packetCacheFlushes: new Map([['changed-names', 1]]),
    }),
    host: () => ({
      isInterfacePresent: true,
      areRulesPresent: true,
      isFallbackPresent: true,
      backend: 'nftables',
      repairs: { interface: 0, rules: 1 },
    }),
    ...over,
  }
  return { sources, labels, traffic }
}
