/** The families that nobody else has: `nodelocal_mcs_*`. What each means to an operator is in `docs/operations.md`. */

import { PROGRAMMING_BOUNDS } from './coredns-families.ts'
import { byKey, counter, type Family, gauge, histogram, only, type Sample } from './family.ts'

export const OWN_FAMILIES: readonly Family[] = [
  gauge('nodelocal_mcs_zone_synced', '1 once the zone knows all objects.', [], ({ zone }) =>
    only(zone.isSynced ? 1 : 0),
  ),
  gauge(
    'nodelocal_mcs_zone_namespace_synced',
    '1 once the zone knows all objects of a namespace that the configuration names.',
    ['namespace'],
    ({ zone }) => byKey('namespace', zone.namespaces),
  ),
  gauge('nodelocal_mcs_zone_state', '1 for the state that the zone is in.', ['state'], ({ zone }) =>
    byKey('state', zone.states),
  ),
  counter(
    'nodelocal_mcs_search_suffix_short_cuts_total',
    'Names denied because they are a clusterset name with a search suffix.',
    [],
    ({ zone }) => only(zone.searchSuffixShortCuts),
  ),
  gauge('nodelocal_mcs_zone_names', 'Names with records.', [], ({ zone }) => only(zone.names)),
  gauge('nodelocal_mcs_zone_services', 'Services with records.', [], ({ zone }) => only(zone.services)),
  gauge('nodelocal_mcs_zone_objects', 'Objects that the zone is made of.', ['kind'], ({ zone }) =>
    byKey('kind', zone.objects),
  ),
  counter('nodelocal_mcs_zone_ignored_objects_total', 'Objects or parts left out.', ['reason'], ({ zone }) =>
    byKey('reason', zone.ignoredObjects),
  ),
  histogram(
    'nodelocal_mcs_zone_publication_seconds',
    'Seconds from the arrival of a change to its publication.',
    [],
    PROGRAMMING_BOUNDS,
    ({ publications }) => [{ labels: {}, histogram: publications }],
  ),
  gauge('nodelocal_mcs_zone_age_seconds', 'Seconds since the zone last changed.', [], ({ zone }) =>
    zone.ageSeconds === undefined ? [] : only(zone.ageSeconds),
  ),
  gauge('nodelocal_mcs_zone_last_event_age_seconds', 'Seconds since the source of objects spoke.', [], ({ zone }) =>
    zone.lastEventAgeSeconds === undefined ? [] : only(zone.lastEventAgeSeconds),
  ),
  gauge('nodelocal_mcs_watch_connected', '1 while the changes of a kind are seen.', ['kind'], ({ zone }) =>
    byKey('kind', zone.watchConnected),
  ),

  counter('nodelocal_mcs_coalesced_queries_total', 'Queries that shared an upstream query.', [], ({ forward }) =>
    only(forward.coalesced),
  ),
  counter('nodelocal_mcs_upstream_ignored_responses_total', 'Late, forged or broken ones.', ['reason'], ({ forward }) =>
    byKey('reason', forward.ignoredResponses),
  ),
  gauge('nodelocal_mcs_upstream_in_flight', 'Upstream queries under way.', ['to', 'transport'], ({ upstreams }) =>
    upstreams.map(({ to, transport, inFlight }) => ({ labels: { to, transport }, value: inFlight })),
  ),
  gauge('nodelocal_mcs_upstream_connections', 'Connections to an upstream.', ['to', 'transport'], ({ upstreams }) =>
    upstreams.map(({ to, transport, connections }) => ({ labels: { to, transport }, value: connections })),
  ),
  gauge('nodelocal_mcs_upstream_rtt_seconds', 'Smoothed round-trip time.', ['to', 'transport'], ({ upstreams }) =>
    upstreams.flatMap(({ to, transport, rttSeconds }): Sample[] =>
      rttSeconds === undefined ? [] : [{ labels: { to, transport }, value: rttSeconds }],
    ),
  ),
  gauge('nodelocal_mcs_upstream_healthy', '1 while an upstream answers.', ['to', 'transport'], ({ upstreams }) =>
    upstreams.map(({ to, transport, isHealthy }) => ({ labels: { to, transport }, value: isHealthy ? 1 : 0 })),
  ),
  counter(
    'nodelocal_mcs_upstream_failures_total',
    'Exchanges that ended without a usable response.',
    ['to', 'transport'],
    ({ exchanges }) =>
      exchanges.flatMap(({ to, failures }) =>
        failures.map(({ transport, count }) => ({ labels: { to, transport }, value: count })),
      ),
  ),

  gauge('nodelocal_mcs_tcp_connections', 'TCP connections of clients.', [], ({ listen }) =>
    only(listen.tcp.connectionsOpen),
  ),
  counter('nodelocal_mcs_tcp_connections_accepted_total', 'TCP connections taken.', [], ({ listen }) =>
    only(listen.tcp.connectionsAccepted),
  ),
  counter('nodelocal_mcs_tcp_connections_refused_total', 'TCP connections closed at once.', ['reason'], ({ listen }) =>
    byKey('reason', listen.tcp.refused),
  ),
  counter('nodelocal_mcs_tcp_connections_cut_total', 'TCP connections ended early.', ['reason'], ({ listen }) =>
    byKey('reason', listen.tcp.cut),
  ),
  counter('nodelocal_mcs_tcp_paused_total', 'Times that messages of a connection waited.', ['reason'], ({ listen }) =>
    byKey('reason', listen.tcp.paused),
  ),
  counter('nodelocal_mcs_tcp_late_responses_total', 'Responses to a connection that was gone.', [], ({ listen }) =>
    only(listen.tcp.responsesLate),
  ),
  counter('nodelocal_mcs_udp_errors_total', 'Datagrams not taken and responses not sent.', ['reason'], ({ listen }) =>
    byKey('reason', listen.udp),
  ),
  counter('nodelocal_mcs_http_connections_closed_total', 'HTTP connections ended early.', ['reason'], ({ http }) =>
    byKey('reason', http),
  ),

  counter('nodelocal_mcs_truncated_responses_total', 'Responses that said TC.', ['proto'], ({ traffic }) =>
    traffic.truncated.map(({ proto, count }) => ({ labels: { proto }, value: count })),
  ),
  counter('nodelocal_mcs_dropped_queries_total', 'Messages that got no response.', ['reason'], ({ traffic }) =>
    traffic.dropped.map(({ reason, count }) => ({ labels: { reason }, value: count })),
  ),
  counter('nodelocal_mcs_stale_answers_total', 'Questions answered with a stale entry.', [], ({ traffic }) =>
    only(traffic.cells.reduce((sum, { staleServed }) => sum + staleServed, 0)),
  ),
  gauge('nodelocal_mcs_cache_bytes', 'Octets of the record cache.', [], ({ cache }) => only(cache.bytes)),
  gauge('nodelocal_mcs_cache_max_bytes', 'Octets that the record cache may take.', [], ({ cache }) =>
    only(cache.bytesMax),
  ),

  counter('nodelocal_mcs_cache_refusals_total', 'Answers too large for the record cache.', [], ({ cache }) =>
    only(cache.refusals),
  ),

  gauge('nodelocal_mcs_packet_cache_entries', 'Responses that the workers can tell.', [], ({ fastPath }) =>
    only(fastPath.packetCache.entries),
  ),
  gauge('nodelocal_mcs_packet_cache_bytes', 'Octets of them, and of those before them.', [], ({ fastPath }) =>
    only(fastPath.packetCache.bytes),
  ),
  counter('nodelocal_mcs_packet_cache_evictions_total', 'Responses that had to go for others.', [], ({ fastPath }) =>
    only(fastPath.packetCache.evictions),
  ),
  counter('nodelocal_mcs_packet_cache_refusals_total', 'Responses too large for a packet.', [], ({ fastPath }) =>
    only(fastPath.packetCache.refusals),
  ),
  counter(
    'nodelocal_mcs_packet_cache_flushes_total',
    'Times that all responses of the packet cache were forgotten at once.',
    ['reason'],
    ({ fastPath }) => Array.from(fastPath.packetCacheFlushes, ([reason, value]) => ({ labels: { reason }, value })),
  ),
  gauge('nodelocal_mcs_udp_threads', 'Workers that serve UDP; 0: the event loop does.', [], ({ fastPath }) =>
    only(fastPath.threads),
  ),
  counter(
    'nodelocal_mcs_worker_responses_total',
    'Responses that a worker, or the event loop in its place, sent at once.',
    ['worker'],
    ({ fastPath }) =>
      fastPath.responses.map((value, i) => ({
        labels: { worker: i < fastPath.threads ? String(i) : 'event-loop' },
        value,
      })),
  ),
  gauge(
    'nodelocal_mcs_udp_direct',
    'Whether the event loop serves UDP itself, because queries are few, or the workers do.',
    [],
    ({ fastPath }) => only(fastPath.isDirect ? 1 : 0),
  ),
  counter(
    'nodelocal_mcs_udp_hand_overs_total',
    'Times that the workers took UDP over from the event loop: many queries came, or it was late.',
    [],
    ({ fastPath }) => only(fastPath.workers.handOvers),
  ),
  counter('nodelocal_mcs_worker_restarts_total', 'Workers that fell and were started again.', [], ({ fastPath }) =>
    only(fastPath.workers.restarts),
  ),

  gauge(
    'nodelocal_mcs_event_loop_delay_seconds',
    'Time that turns of the event loop took since the last scrape.',
    ['statistic'],
    ({ turns }) => Object.entries(turns).map(([statistic, value]) => ({ labels: { statistic }, value })),
  ),

  gauge('nodelocal_mcs_config_info', 'Hash of the configuration in force.', ['sha256'], ({ config }) => [
    { labels: { sha256: config.hash }, value: 1 },
  ]),
  gauge('nodelocal_mcs_config_applied_timestamp_seconds', 'When it came into force.', [], ({ config }) =>
    only(config.appliedAtSeconds),
  ),

  gauge('nodelocal_mcs_interface_present', '1 while the interface has its addresses.', [], ({ host }) =>
    host.isInterfacePresent === undefined ? [] : only(host.isInterfacePresent ? 1 : 0),
  ),
  gauge('nodelocal_mcs_rules_present', '1 while the rules are there.', ['backend'], ({ host }) =>
    host.areRulesPresent === undefined
      ? []
      : [{ labels: { backend: host.backend }, value: host.areRulesPresent ? 1 : 0 }],
  ),
  gauge('nodelocal_mcs_fallback_present', '1 while clients would be led to kube-dns without us.', [], ({ host }) =>
    host.isFallbackPresent === undefined ? [] : only(host.isFallbackPresent ? 1 : 0),
  ),
  counter('nodelocal_mcs_host_repairs_total', 'Times that something missing was put back.', ['what'], ({ host }) =>
    byKey('what', host.repairs),
  ),
]
