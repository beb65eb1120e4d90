/**
 * The families that dashboards and alerts for CoreDNS and NodeLocal DNSCache read, with their names, labels and buckets;
 * those that CoreDNS has dropped since 1.11 but dashboards still read (`coredns_forward_*` by upstream) included.
 */

import { DURATION_BOUNDS, PROTO_LABELS, SIZE_BOUNDS } from './counters.ts'
import {
  counter,
  type Family,
  gauge,
  type HistogramSample,
  histogram,
  only,
  type Sample,
  type Scrape,
} from './family.ts'
import type { HistogramCounts } from './histogram.ts'
import { OWN_QUERY_BOUNDS } from './own-query-counters.ts'
import { REST_CLIENT_BOUNDS } from './rest-client-counters.ts'
import type { CellTraffic } from './traffic.ts'

/** Upper bounds in seconds: 0.001 times 2^0 to 2^19. */
export const PROGRAMMING_BOUNDS: readonly number[] = Array.from({ length: 20 }, (_, i) => 2 ** i / 1000)

/** CoreDNS has views; we have one, and it has no name. */
const VIEW = ''

/** The record cache is one for all servers and zones. */
const CACHE_LABELS = { server: '', zones: '.', view: VIEW }

/** What can go wrong in setting up the node, as NodeLocal DNSCache counts it; alerts expect zeros. */
const SETUP_ERROR_TYPES = [
  'iptables',
  'iptables_lock',
  'interface_add',
  'interface_check',
  'configmap',
  'nftables',
  'state_directory',
]

const PROXY = 'forward'

const SERVER_LABELS = ['server', 'zone', 'view']
const CACHE_LABEL_NAMES = ['server', 'zones', 'view']

export const COREDNS_FAMILIES: readonly Family[] = [
  gauge('coredns_build_info', 'Version of this agent.', ['version', 'revision', 'goversion'], ({ build }) => [
    { labels: { version: build.version, revision: build.revision, goversion: `node-${process.version}` }, value: 1 },
  ]),
  counter('coredns_panics_total', 'Exceptions on the way of a query.', [], ({ traffic }) => only(traffic.panics)),
  gauge('coredns_plugin_enabled', 'What answers on a server for a zone.', [...SERVER_LABELS, 'name'], ({ plugins }) =>
    plugins.map(({ server, zone, name }) => ({ labels: { server, zone, view: VIEW, name }, value: 1 })),
  ),

  counter(
    'coredns_dns_requests_total',
    'Queries by protocol, address family and type.',
    [...SERVER_LABELS, 'proto', 'family', 'type'],
    (scrape) =>
      ofCells(scrape, ({ requests }, labels) =>
        requests.map(({ proto, family, type, count }) => ({
          labels: { ...labels, proto, family, type },
          value: count,
        })),
      ),
  ),
  counter('coredns_dns_do_requests_total', 'Queries with the DNSSEC OK bit.', SERVER_LABELS, (scrape) =>
    ofCells(scrape, ({ dnssecOk }, labels) => [{ labels, value: dnssecOk }]),
  ),
  histogram(
    'coredns_dns_request_duration_seconds',
    'Seconds from a query to its response.',
    SERVER_LABELS,
    DURATION_BOUNDS,
    (scrape) => ofCells(scrape, ({ durations }, labels) => [{ labels, histogram: durations }]),
  ),
  histogram(
    'coredns_dns_request_size_bytes',
    'Octets of queries.',
    [...SERVER_LABELS, 'proto'],
    SIZE_BOUNDS,
    (scrape) => ofCells(scrape, ({ requestSizes }, labels) => byProto(labels, requestSizes)),
  ),
  histogram(
    'coredns_dns_response_size_bytes',
    'Octets of responses.',
    [...SERVER_LABELS, 'proto'],
    SIZE_BOUNDS,
    (scrape) => ofCells(scrape, ({ responseSizes }, labels) => byProto(labels, responseSizes)),
  ),
  counter(
    'coredns_dns_responses_total',
    'Responses by rcode and by who wrote them.',
    [...SERVER_LABELS, 'rcode', 'plugin'],
    (scrape) =>
      ofCells(scrape, ({ responses }, labels) =>
        responses.map(({ plugin, rcode, count }) => ({ labels: { ...labels, rcode, plugin }, value: count })),
      ),
  ),

  gauge('coredns_cache_entries', 'Entries of the record cache.', ['server', 'type', 'zones', 'view'], ({ cache }) => [
    { labels: { ...CACHE_LABELS, type: 'success' }, value: cache.positiveEntries },
    { labels: { ...CACHE_LABELS, type: 'denial' }, value: cache.negativeEntries },
  ]),
  counter('coredns_cache_requests_total', 'Questions asked of the caches.', CACHE_LABEL_NAMES, (scrape) =>
    ofCaches(scrape, ({ hitsSuccess, hitsDenial, misses }) => hitsSuccess + hitsDenial + misses),
  ),
  counter(
    'coredns_cache_hits_total',
    'Questions that a cache answered.',
    ['server', 'type', 'zones', 'view'],
    (scrape) =>
      scrape.traffic.cells.flatMap((cell) => [
        { labels: { ...cacheLabels(cell), type: 'success' }, value: cell.hitsSuccess },
        { labels: { ...cacheLabels(cell), type: 'denial' }, value: cell.hitsDenial },
      ]),
  ),
  counter('coredns_cache_misses_total', 'Questions that no cache answered.', CACHE_LABEL_NAMES, (scrape) =>
    ofCaches(scrape, ({ misses }) => misses),
  ),
  counter('coredns_cache_prefetch_total', 'Entries refreshed before their end.', CACHE_LABEL_NAMES, (scrape) =>
    ofCaches(scrape, ({ prefetched }) => prefetched),
  ),
  counter('coredns_cache_served_stale_total', 'Questions answered with a stale entry.', CACHE_LABEL_NAMES, (scrape) =>
    ofCaches(scrape, ({ staleServed }) => staleServed),
  ),
  counter(
    'coredns_cache_evictions_total',
    'Entries that had to make room.',
    ['server', 'type', 'zones', 'view'],
    ({ cache: { evictions, negativeEvictions } }) => [
      { labels: { ...CACHE_LABELS, type: 'success' }, value: evictions - negativeEvictions },
      { labels: { ...CACHE_LABELS, type: 'denial' }, value: negativeEvictions },
    ],
  ),
  counter(
    'coredns_cache_drops_total',
    'Responses not taken because they answer another question.',
    CACHE_LABEL_NAMES,
    ({ forward }) => [{ labels: CACHE_LABELS, value: forward.ignoredResponses['mismatched'] ?? 0 }],
  ),

  histogram(
    'coredns_proxy_request_duration_seconds',
    'Seconds of exchanges with upstreams that ended in a response.',
    ['proxy_name', 'to', 'rcode'],
    DURATION_BOUNDS,
    (scrape) => exchangeDurations(scrape, { proxy_name: PROXY }),
  ),
  counter(
    'coredns_proxy_healthcheck_failures_total',
    'Failed health checks of an upstream.',
    ['proxy_name', 'to'],
    ({ exchanges }) =>
      exchanges.map(({ to, healthcheckFailures }) => ({
        labels: { proxy_name: PROXY, to },
        value: healthcheckFailures,
      })),
  ),
  counter(
    'coredns_proxy_conn_cache_hits_total',
    'Exchanges over a connection that was there.',
    ['proxy_name', 'to', 'proto'],
    (scrape) => ofConnections(scrape, 'reused'),
  ),
  counter(
    'coredns_proxy_conn_cache_misses_total',
    'Exchanges that needed a new connection.',
    ['proxy_name', 'to', 'proto'],
    (scrape) => ofConnections(scrape, 'opened'),
  ),
  counter('coredns_forward_requests_total', 'Exchanges with an upstream.', ['to'], ({ exchanges }) =>
    exchanges.map(({ to, requests }) => ({ labels: { to }, value: requests })),
  ),
  counter('coredns_forward_responses_total', 'Responses of an upstream.', ['to', 'rcode'], ({ exchanges }) =>
    exchanges.flatMap(({ to, responses }) =>
      responses.map(({ rcode, count }) => ({ labels: { to, rcode }, value: count })),
    ),
  ),
  histogram(
    'coredns_forward_request_duration_seconds',
    'Seconds of exchanges with upstreams that ended in a response.',
    ['to', 'rcode'],
    DURATION_BOUNDS,
    (scrape) => exchangeDurations(scrape, {}),
  ),
  counter('coredns_forward_healthcheck_failures_total', 'Failed health checks.', ['to'], ({ exchanges }) =>
    exchanges.map(({ to, healthcheckFailures }) => ({ labels: { to }, value: healthcheckFailures })),
  ),
  counter('coredns_forward_healthcheck_broken_total', 'Queries for which no upstream was healthy.', [], ({ forward }) =>
    only(forward.healthcheckBroken),
  ),
  counter(
    'coredns_forward_max_concurrent_rejects_total',
    'Queries refused because too many were under way.',
    [],
    ({ forward }) => only(forward.maxConcurrentRejects),
  ),

  histogram(
    'coredns_health_request_duration_seconds',
    "Seconds of the watchdog's queries to ourselves.",
    [],
    OWN_QUERY_BOUNDS,
    ({ ownQueries }) => [{ labels: {}, histogram: ownQueries.durations }],
  ),
  counter(
    'coredns_health_request_failures_total',
    'Queries of the watchdog that had no answer.',
    [],
    ({ ownQueries }) => only(ownQueries.failures),
  ),
  counter('coredns_reload_failed_total', 'Configurations that could not be applied.', [], ({ config }) =>
    only(config.reloadsFailed),
  ),
  gauge('coredns_reload_version_info', 'Hash of the configuration in force.', ['hash', 'value'], ({ config }) => [
    { labels: { hash: 'sha256', value: config.hash }, value: 1 },
  ]),
  counter(
    'coredns_nodecache_setup_errors_total',
    'Failures to set up interface, rules and configuration.',
    ['errortype'],
    ({ setupErrors }) => {
      const counts = { ...Object.fromEntries(SETUP_ERROR_TYPES.map((type) => [type, 0])), ...setupErrors }
      return Object.entries(counts).map(([errortype, value]) => ({ labels: { errortype }, value }))
    },
  ),
  histogram(
    'coredns_kubernetes_dns_programming_duration_seconds',
    'Seconds from a change of an object to the answer.',
    ['service_kind'],
    PROGRAMMING_BOUNDS,
    ({ programming }) =>
      programming.map(({ serviceKind, durations }) => ({
        labels: { service_kind: serviceKind },
        histogram: durations,
      })),
  ),
  counter(
    'coredns_kubernetes_rest_client_requests_total',
    'Requests to the API server by status.',
    ['code', 'method', 'host'],
    ({ restClient }) =>
      restClient.flatMap(({ host, codes }) =>
        codes.map(({ code, count }) => ({ labels: { code, method: 'GET', host }, value: count })),
      ),
  ),
  histogram(
    'coredns_kubernetes_rest_client_request_duration_seconds',
    'Seconds from a request to the API server to the head of its response.',
    ['verb', 'host'],
    REST_CLIENT_BOUNDS,
    ({ restClient }) =>
      restClient.map(({ host, durations }) => ({ labels: { verb: 'GET', host }, histogram: durations })),
  ),
]

type CellLabels = Readonly<Record<'server' | 'zone' | 'view', string>>

function ofCells<S>(scrape: Scrape, samples: (cell: CellTraffic, labels: CellLabels) => readonly S[]): S[] {
  return scrape.traffic.cells.flatMap((cell) => samples(cell, { server: cell.server, zone: cell.zone, view: VIEW }))
}

function byProto(labels: CellLabels, histograms: readonly HistogramCounts[]): HistogramSample[] {
  return histograms.map((counts, i) => ({ labels: { ...labels, proto: PROTO_LABELS[i]! }, histogram: counts }))
}

function cacheLabels(cell: CellTraffic): Readonly<Record<'server' | 'zones' | 'view', string>> {
  return { server: cell.server, zones: cell.zone, view: VIEW }
}

function ofCaches(scrape: Scrape, value: (cell: CellTraffic) => number): Sample[] {
  return scrape.traffic.cells.map((cell) => ({ labels: cacheLabels(cell), value: value(cell) }))
}

function exchangeDurations(scrape: Scrape, labels: Readonly<Record<string, string>>): HistogramSample[] {
  return scrape.exchanges.flatMap(({ to, responses }) =>
    responses.map(({ rcode, durations }) => ({ labels: { ...labels, to, rcode }, histogram: durations })),
  )
}

function ofConnections(scrape: Scrape, what: 'reused' | 'opened'): Sample[] {
  return scrape.exchanges.flatMap(({ to, connections }) =>
    connections.map((connection) => ({
      labels: { proxy_name: PROXY, to, proto: connection.proto },
      value: connection[what],
    })),
  )
}
