/**
 * Alerts as data: what is measured, from when on it is too much, for how long, and what it means.
 *
 * `manifests/overlays/monitoring/prometheus-rule.yaml` is made of it; each alert has a section of its name in
 * `docs/operations.md`, and a test that sees it fire and not fire.
 */

export interface Alert {
  readonly name: string
  /** The number; has data as long as an agent runs. `JOBS` stands for the selector of our scrape jobs. */
  readonly value: string
  /** When it is too much, behind `value`. */
  readonly comparison: string
  readonly for: string
  readonly severity: 'critical' | 'warning'
  readonly summary: string
}

/** Scrape jobs of ours, however they are set up; `node-local-dns` is what NodeLocal DNSCache's own is called. */
const JOBS = 'job=~".*(nodelocal-mcs|node-local-dns)"'

export const ALERTS: readonly Alert[] = [
  {
    name: 'NodelocalMcsDown',
    value: 'up{JOBS}',
    comparison: '== 0',
    for: '5m',
    severity: 'critical',
    summary: 'Prometheus does not reach the agent on {{ $labels.instance }}; Pods of that node may have no DNS.',
  },
  {
    name: 'NodelocalMcsAbsent',
    value: 'count(up{JOBS}) or vector(0)',
    comparison: '== 0',
    for: '15m',
    severity: 'critical',
    summary: 'Prometheus knows no agent at all.',
  },
  {
    name: 'NodelocalMcsRestarting',
    value: 'changes(process_start_time_seconds{JOBS}[30m])',
    comparison: '> 2',
    for: '0m',
    severity: 'warning',
    summary: 'The agent on {{ $labels.instance }} started {{ $value }} times in 30 minutes.',
  },
  {
    name: 'NodelocalMcsErrorsHigh',
    value:
      'sum by (instance) (rate(coredns_dns_responses_total{rcode="SERVFAIL", JOBS}[5m])) / sum by (instance) (rate(coredns_dns_responses_total{JOBS}[5m]))',
    comparison: '> 0.03',
    for: '10m',
    severity: 'warning',
    summary: '{{ $value | humanizePercentage }} of the responses of {{ $labels.instance }} are SERVFAIL.',
  },
  {
    name: 'NodelocalMcsLatencyHigh',
    value:
      'histogram_quantile(0.99, sum by (instance, le) (rate(coredns_dns_request_duration_seconds_bucket{JOBS}[5m])))',
    comparison: '> 1',
    for: '10m',
    severity: 'warning',
    summary: 'One in a hundred queries to {{ $labels.instance }} takes {{ $value | humanizeDuration }} or more.',
  },
  {
    name: 'NodelocalMcsUpstreamDown',
    value: 'nodelocal_mcs_upstream_healthy{JOBS}',
    comparison: '== 0',
    for: '5m',
    severity: 'warning',
    summary: 'Upstream {{ $labels.to }} does not answer {{ $labels.instance }}.',
  },
  {
    name: 'NodelocalMcsNoUpstream',
    value: 'sum by (instance) (increase(coredns_forward_healthcheck_broken_total{JOBS}[5m]))',
    comparison: '> 0',
    for: '5m',
    severity: 'critical',
    summary: 'No upstream of a route answers {{ $labels.instance }}; stale answers and SERVFAIL are all there is.',
  },
  {
    name: 'NodelocalMcsForwardOverload',
    value: 'sum by (instance) (rate(coredns_forward_max_concurrent_rejects_total{JOBS}[5m]))',
    comparison: '> 0',
    for: '10m',
    severity: 'warning',
    summary: '{{ $labels.instance }} refuses queries because too many are under way at its upstreams.',
  },
  {
    name: 'NodelocalMcsStaleAnswers',
    value: 'sum by (instance) (rate(nodelocal_mcs_stale_answers_total{JOBS}[5m]))',
    comparison: '> 0',
    for: '15m',
    severity: 'warning',
    summary: '{{ $labels.instance }} has answered with stale data for a quarter of an hour.',
  },
  {
    name: 'NodelocalMcsZoneUnsynced',
    value: 'nodelocal_mcs_zone_synced{JOBS}',
    comparison: '== 0',
    for: '10m',
    severity: 'warning',
    summary: 'The zone of {{ $labels.instance }} is not complete; clusterset names it does not know get SERVFAIL.',
  },
  {
    name: 'NodelocalMcsZoneFromSnapshot',
    value: 'nodelocal_mcs_zone_state{state="snapshot", JOBS}',
    comparison: '== 1',
    for: '15m',
    severity: 'warning',
    summary:
      '{{ $labels.instance }} answers clusterset names from its snapshot file; it has not reached the API server.',
  },
  {
    name: 'NodelocalMcsCrdsAbsent',
    value: 'nodelocal_mcs_zone_state{state="absent", JOBS}',
    comparison: '== 1',
    for: '30m',
    severity: 'warning',
    summary: 'The API server of {{ $labels.instance }} does not know ServiceImports.',
  },
  {
    name: 'NodelocalMcsWatchDown',
    value: 'nodelocal_mcs_watch_connected{JOBS}',
    comparison: '== 0',
    for: '10m',
    severity: 'warning',
    summary: '{{ $labels.instance }} sees no changes of {{ $labels.kind }}; it answers with the last state.',
  },
  {
    name: 'NodelocalMcsConfigRefused',
    value: 'increase(coredns_reload_failed_total{JOBS}[15m])',
    comparison: '> 0',
    for: '0m',
    severity: 'warning',
    summary: '{{ $labels.instance }} refused a changed configuration; the old one is in force.',
  },
  {
    name: 'NodelocalMcsConfigDiffers',
    value: 'count(count by (sha256) (nodelocal_mcs_config_info{JOBS}))',
    comparison: '> 1',
    for: '30m',
    severity: 'warning',
    summary: 'Agents run with {{ $value }} different configurations.',
  },
  {
    name: 'NodelocalMcsSetupErrors',
    value: 'sum by (instance, errortype) (rate(coredns_nodecache_setup_errors_total{JOBS}[5m]))',
    comparison: '> 0',
    for: '10m',
    severity: 'critical',
    summary: 'Setting up the node fails on {{ $labels.instance }}: {{ $labels.errortype }}.',
  },
  {
    name: 'NodelocalMcsQueriesDropped',
    value: 'sum by (instance) (rate(nodelocal_mcs_dropped_queries_total{reason="overloaded", JOBS}[5m]))',
    comparison: '> 0',
    for: '5m',
    severity: 'warning',
    summary: '{{ $labels.instance }} is asked more than it can take, and drops queries.',
  },
  {
    name: 'NodelocalMcsTcpRefused',
    value: 'sum by (instance, reason) (rate(nodelocal_mcs_tcp_connections_refused_total{JOBS}[5m]))',
    comparison: '> 0',
    for: '10m',
    severity: 'warning',
    summary: '{{ $labels.instance }} turns TCP connections away: {{ $labels.reason }}.',
  },
  {
    name: 'NodelocalMcsEventLoopLate',
    value: 'nodelocal_mcs_event_loop_delay_seconds{statistic="max", JOBS}',
    comparison: '> 0.25',
    for: '10m',
    severity: 'warning',
    summary: 'The event loop of {{ $labels.instance }} stands still for {{ $value | humanizeDuration }} at a time.',
  },
  {
    name: 'NodelocalMcsWorkerFalls',
    value: 'increase(nodelocal_mcs_worker_restarts_total{JOBS}[1h])',
    comparison: '> 0',
    for: '0m',
    severity: 'warning',
    summary: 'A worker that serves UDP fell on {{ $labels.instance }} and was started again.',
  },
  {
    name: 'NodelocalMcsOwnQueriesFail',
    value: 'sum by (instance) (rate(coredns_health_request_failures_total{JOBS}[5m]))',
    comparison: '> 0',
    for: '5m',
    severity: 'warning',
    summary: 'Queries of {{ $labels.instance }} to itself go unanswered; it ends itself when an address stays silent.',
  },
  {
    name: 'NodelocalMcsExceptions',
    value: 'increase(coredns_panics_total{JOBS}[1h])',
    comparison: '> 0',
    for: '0m',
    severity: 'warning',
    summary: 'Queries met a fault of the agent on {{ $labels.instance }}.',
  },
  {
    name: 'NodelocalMcsDescriptorsLow',
    value: 'process_open_fds{JOBS} / process_max_fds{JOBS}',
    comparison: '> 0.8',
    for: '10m',
    severity: 'warning',
    summary: '{{ $labels.instance }} has {{ $value | humanizePercentage }} of its descriptors open.',
  },
]

/** The expression of what an alert measures. */
export function valueOf({ value }: Alert): string {
  const expr = value.replaceAll('JOBS', JOBS)
  return value.includes(' or ') ? `(${expr})` : expr
}

/** Where the sections about alerts stand. Behind `#`: the heading's anchor, as GitHub and others make it. */
const RUNBOOKS = 'docs/operations.md'

/** A PrometheusRule for the Prometheus Operator. */
export function prometheusRule(): object {
  return {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'nodelocal-mcs', labels: { 'app.kubernetes.io/name': 'nodelocal-mcs' } },
    spec: { groups: ruleGroups() },
  }
}

/** What stands in a rule file of a plain Prometheus under `groups`. */
export function ruleGroups(): object[] {
  const rules = ALERTS.map((alert) => ({
    alert: alert.name,
    expr: `${valueOf(alert)} ${alert.comparison}`,
    for: alert.for,
    labels: { severity: alert.severity },
    annotations: { summary: alert.summary, runbook_url: `${RUNBOOKS}#${alert.name.toLowerCase()}` },
  }))
  return [{ name: 'nodelocal-mcs', rules }]
}
