/** All nodes at once: is the service well, and which node is not. */

import type { Dashboard } from './panels.ts'

export const FLEET: Dashboard = {
  uid: 'nodelocal-mcs-fleet',
  title: 'nodelocal-mcs / Fleet',
  description: 'All node agents: whether they answer, how fast, from where, and which node stands out.',
  selects: 'job',
  rows: [
    {
      title: 'Now',
      panels: [
        {
          title: 'Agents up',
          description: 'Agents that Prometheus reaches; as many as nodes.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'sum(up{$filter})', legend: 'up' }],
        },
        {
          title: 'Agents with a synced zone',
          description:
            'Agents that know all imports; the others answer SERVFAIL for clusterset names they do not know.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'sum(nodelocal_mcs_zone_synced{$filter})', legend: 'synced' }],
        },
        {
          title: 'Queries',
          description: 'Queries per second of all nodes.',
          unit: 'reqps',
          isStat: true,
          queries: [{ expr: 'sum(rate(coredns_dns_requests_total{$filter}[$__rate_interval]))', legend: 'queries' }],
        },
        {
          title: 'SERVFAIL',
          description: 'Part of all responses; below one in a hundred is usual.',
          unit: 'percentunit',
          isStat: true,
          queries: [
            {
              expr: 'sum(rate(coredns_dns_responses_total{$filter, rcode="SERVFAIL"}[$__rate_interval])) / sum(rate(coredns_dns_responses_total{$filter}[$__rate_interval]))',
              legend: 'SERVFAIL',
            },
          ],
        },
        {
          title: 'Hit rate',
          description: 'Part of the questions for other zones than the clusterset that a cache answered.',
          unit: 'percentunit',
          isStat: true,
          queries: [
            {
              expr: 'sum(rate(coredns_cache_hits_total{$filter}[$__rate_interval])) / sum(rate(coredns_cache_requests_total{$filter}[$__rate_interval]))',
              legend: 'hits',
            },
          ],
        },
        {
          title: 'Configurations in force',
          description: 'More than one while a change spreads; for long only when a node refused it.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'count(count by (sha256) (nodelocal_mcs_config_info{$filter}))', legend: 'hashes' }],
        },
      ],
    },
    {
      title: 'Queries',
      panels: [
        {
          title: 'Queries by zone',
          description: 'Queries per second by the zone that decided.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (zone) (rate(coredns_dns_requests_total{$filter}[$__rate_interval]))',
              legend: '{{zone}}',
            },
          ],
        },
        {
          title: 'Responses by rcode',
          description: 'NXDOMAIN is mostly search suffixes; SERVFAIL is what hurts.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (rcode) (rate(coredns_dns_responses_total{$filter}[$__rate_interval]))',
              legend: '{{rcode}}',
            },
          ],
        },
        {
          title: 'Responses by who wrote them',
          description: 'cache, forward, clusterset, local; empty is the server itself.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (plugin) (rate(coredns_dns_responses_total{$filter}[$__rate_interval]))',
              legend: '{{plugin}}',
            },
          ],
        },
        {
          title: 'Time to a response',
          description: 'Half, 95 and 99 in a hundred, all nodes together.',
          unit: 's',
          queries: ['0.5', '0.95', '0.99'].map((quantile) => ({
            expr: `histogram_quantile(${quantile}, sum by (le) (rate(coredns_dns_request_duration_seconds_bucket{$filter}[$__rate_interval])))`,
            legend: `p${Number(quantile) * 100}`,
          })),
        },
        {
          title: 'Slowest nodes',
          description: 'The ten nodes with the highest 99th percentile.',
          unit: 's',
          queries: [
            {
              expr: 'topk(10, histogram_quantile(0.99, sum by (instance, le) (rate(coredns_dns_request_duration_seconds_bucket{$filter}[$__rate_interval]))))',
              legend: '{{instance}}',
            },
          ],
        },
        {
          title: 'Busiest nodes',
          description: 'The ten nodes with the most queries.',
          unit: 'reqps',
          queries: [
            {
              expr: 'topk(10, sum by (instance) (rate(coredns_dns_requests_total{$filter}[$__rate_interval])))',
              legend: '{{instance}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Upstreams and machines',
      panels: [
        {
          title: 'Upstream time, 99 in a hundred',
          description: 'By upstream, all nodes together.',
          unit: 's',
          queries: [
            {
              expr: 'histogram_quantile(0.99, sum by (to, le) (rate(coredns_proxy_request_duration_seconds_bucket{$filter}[$__rate_interval])))',
              legend: '{{to}}',
            },
          ],
        },
        {
          title: 'Nodes that find an upstream silent',
          description: 'By upstream: one node is a node, all nodes are the upstream.',
          unit: 'short',
          queries: [{ expr: 'sum by (to) (1 - nodelocal_mcs_upstream_healthy{$filter})', legend: '{{to}}' }],
        },
        {
          title: 'Stale answers',
          description: 'Questions answered with what an upstream said before it fell silent; normally none.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum(rate(nodelocal_mcs_stale_answers_total{$filter}[$__rate_interval]))',
              legend: 'stale',
            },
          ],
        },
        {
          title: 'CPU',
          description: 'Cores of an agent: the median and the highest node.',
          unit: 'short',
          queries: [
            {
              expr: 'quantile(0.5, rate(process_cpu_seconds_total{$filter}[$__rate_interval]))',
              legend: 'median',
            },
            { expr: 'max(rate(process_cpu_seconds_total{$filter}[$__rate_interval]))', legend: 'highest' },
          ],
        },
        {
          title: 'Memory',
          description: 'Resident bytes of an agent: the median and the highest node.',
          unit: 'bytes',
          queries: [
            { expr: 'quantile(0.5, process_resident_memory_bytes{$filter})', legend: 'median' },
            { expr: 'max(process_resident_memory_bytes{$filter})', legend: 'highest' },
          ],
        },
        {
          title: 'Set-up errors',
          description: 'Failures to set up interface, rules and kube-dns ConfigMap, by kind; normally none.',
          unit: 'short',
          queries: [
            {
              expr: 'sum by (errortype) (increase(coredns_nodecache_setup_errors_total{$filter}[$__rate_interval]))',
              legend: '{{errortype}}',
            },
          ],
        },
      ],
    },
  ],
}
