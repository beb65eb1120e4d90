/** What dashboards and alerts for CoreDNS 1.14 and NodeLocal DNSCache 1.26 read: name, type, labels, buckets. One row a family. */

export interface ContractRow {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  /** Upper bounds as they stand in `le`. */
  readonly buckets?: string
}

const TIME_BUCKETS =
  '0.00025 0.0005 0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 +Inf'
const SIZE_BUCKETS = '0 100 200 300 400 511 1023 2047 4095 8291 16000 32000 48000 64000 +Inf'
const PROGRAMMING_BUCKETS =
  '0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384 32.768 65.536 131.072 262.144 524.288 +Inf'
const HEALTH_BUCKETS = '0.00025 0.0025 0.025 0.25 2.5 +Inf'
/** `prometheus.DefBuckets`. */
const DEFAULT_BUCKETS = '0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf'

const SERVER = 'server zone view'
const CACHE = 'server zones view'

export const CONTRACT: readonly ContractRow[] = [
  row('coredns_build_info', 'gauge', 'version revision goversion'),
  row('coredns_panics_total', 'counter', ''),
  row('coredns_dns_requests_total', 'counter', `${SERVER} proto family type`),
  row('coredns_dns_request_duration_seconds', 'histogram', SERVER, TIME_BUCKETS),
  row('coredns_dns_request_size_bytes', 'histogram', `${SERVER} proto`, SIZE_BUCKETS),
  row('coredns_dns_response_size_bytes', 'histogram', `${SERVER} proto`, SIZE_BUCKETS),
  row('coredns_dns_do_requests_total', 'counter', SERVER),
  row('coredns_dns_responses_total', 'counter', `${SERVER} rcode plugin`),
  row('coredns_plugin_enabled', 'gauge', `${SERVER} name`),
  row('coredns_cache_entries', 'gauge', `${CACHE} type`),
  row('coredns_cache_requests_total', 'counter', CACHE),
  row('coredns_cache_hits_total', 'counter', `${CACHE} type`),
  row('coredns_cache_misses_total', 'counter', CACHE),
  row('coredns_cache_prefetch_total', 'counter', CACHE),
  row('coredns_cache_drops_total', 'counter', CACHE),
  row('coredns_cache_served_stale_total', 'counter', CACHE),
  row('coredns_cache_evictions_total', 'counter', `${CACHE} type`),
  row('coredns_proxy_request_duration_seconds', 'histogram', 'proxy_name to rcode', TIME_BUCKETS),
  row('coredns_proxy_healthcheck_failures_total', 'counter', 'proxy_name to'),
  row('coredns_proxy_conn_cache_hits_total', 'counter', 'proxy_name to proto'),
  row('coredns_proxy_conn_cache_misses_total', 'counter', 'proxy_name to proto'),
  // The four that CoreDNS 1.11 dropped, and dashboards still read.
  row('coredns_forward_requests_total', 'counter', 'to'),
  row('coredns_forward_responses_total', 'counter', 'to rcode'),
  row('coredns_forward_request_duration_seconds', 'histogram', 'to rcode', TIME_BUCKETS),
  row('coredns_forward_healthcheck_failures_total', 'counter', 'to'),
  row('coredns_forward_healthcheck_broken_total', 'counter', ''),
  row('coredns_forward_max_concurrent_rejects_total', 'counter', ''),
  row('coredns_health_request_duration_seconds', 'histogram', '', HEALTH_BUCKETS),
  row('coredns_health_request_failures_total', 'counter', ''),
  row('coredns_reload_failed_total', 'counter', ''),
  row('coredns_reload_version_info', 'gauge', 'hash value'),
  row('coredns_kubernetes_dns_programming_duration_seconds', 'histogram', 'service_kind', PROGRAMMING_BUCKETS),
  row('coredns_kubernetes_rest_client_requests_total', 'counter', 'code method host'),
  row('coredns_kubernetes_rest_client_request_duration_seconds', 'histogram', 'verb host', DEFAULT_BUCKETS),
  row('coredns_nodecache_setup_errors_total', 'counter', 'errortype'),
]

/** Families of plugins and of a runtime that we do not have; a series of zeros would claim them. */
export const ABSENT: Readonly<Record<string, string>> = {
  coredns_hosts_entries: 'no hosts plugin',
  coredns_hosts_reload_timestamp_seconds: 'no hosts plugin',
  coredns_dns64_requests_translated_total: 'no DNS64',
  coredns_autopath_success_total: 'no autopath',
  coredns_local_localhost_requests_total: 'local names are counted under plugin="local"',
  coredns_acl_blocked_requests_total: 'no access lists',
  coredns_acl_filtered_requests_total: 'no access lists',
  coredns_acl_dropped_requests_total: 'no access lists',
  coredns_acl_allowed_requests_total: 'no access lists',
  coredns_shed_dropped_total: 'overload is nodelocal_mcs_dropped_queries_total',
  coredns_dns_https_responses_total: 'no DNS over HTTPS for clients',
  coredns_dns_https3_responses_total: 'no DNS over HTTPS for clients',
  coredns_dns_quic_responses_total: 'no DNS over QUIC',
  coredns_kubernetes_rest_client_rate_limiter_duration_seconds: 'no limiter of our own stands before the API server',
  go_goroutines: 'the runtime has none',
}

/** Label values that alerts count on from the first scrape, as zeros. */
export const ZEROS: readonly (readonly [name: string, labels: Readonly<Record<string, string>>])[] = [
  ...['iptables', 'iptables_lock', 'interface_add', 'interface_check', 'configmap'].map(
    (errortype) => ['coredns_nodecache_setup_errors_total', { errortype }] as const,
  ),
  ...['cluster_ip', 'headless_with_selector', 'headless_without_selector'].map(
    (kind) => ['coredns_kubernetes_dns_programming_duration_seconds_count', { service_kind: kind }] as const,
  ),
  ...['success', 'denial'].flatMap((type) => [
    ['coredns_cache_hits_total', { type }] as const,
    ['coredns_cache_evictions_total', { type }] as const,
  ]),
  ...['NOERROR', 'NXDOMAIN', 'SERVFAIL'].flatMap((rcode) => [
    ['coredns_dns_responses_total', { rcode }] as const,
    ['coredns_forward_responses_total', { rcode }] as const,
  ]),
]

function row(name: string, type: ContractRow['type'], labels: string, buckets?: string): ContractRow {
  const names = labels === '' ? [] : labels.split(' ')
  return { name, type, labels: names, ...(buckets !== undefined && { buckets }) }
}
