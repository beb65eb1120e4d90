/** One node: everything its agent tells. */

import type { Dashboard } from './panels.ts'

export const NODE: Dashboard = {
  uid: 'nodelocal-mcs-node',
  title: 'nodelocal-mcs / Node',
  description: 'The agent of one node: clients, caches, upstreams, the process.',
  selects: 'instance',
  rows: [
    {
      title: 'Now',
      panels: [
        {
          title: 'Version',
          description: 'Version of the agent.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'coredns_build_info{$filter}', legend: '{{version}}' }],
        },
        {
          title: 'Running for',
          description: 'Seconds since the start of the process.',
          unit: 's',
          isStat: true,
          queries: [{ expr: 'time() - process_start_time_seconds{$filter}', legend: 'running' }],
        },
        {
          title: 'Configuration in force for',
          description: 'Seconds since the configuration was applied.',
          unit: 's',
          isStat: true,
          queries: [{ expr: 'time() - nodelocal_mcs_config_applied_timestamp_seconds{$filter}', legend: 'applied' }],
        },
        {
          title: 'Refused configurations',
          description: 'Changes of the file that could not be applied since the start.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'coredns_reload_failed_total{$filter}', legend: 'refused' }],
        },
        {
          title: 'Exceptions',
          description: 'Queries that met a fault of the agent since the start; normally none.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'coredns_panics_total{$filter}', legend: 'exceptions' }],
        },
        {
          title: 'Set-up errors',
          description: 'Failures to set up the node since the start.',
          unit: 'short',
          isStat: true,
          queries: [{ expr: 'sum(coredns_nodecache_setup_errors_total{$filter})', legend: 'errors' }],
        },
      ],
    },
    {
      title: 'Clients',
      panels: [
        {
          title: 'Queries by type',
          description: 'A and AAAA come in pairs from most resolvers.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (type) (rate(coredns_dns_requests_total{$filter}[$__rate_interval]))',
              legend: '{{type}}',
            },
          ],
        },
        {
          title: 'Queries by protocol',
          description: 'TCP is for what was truncated, and for clients that prefer it.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (proto) (rate(coredns_dns_requests_total{$filter}[$__rate_interval]))',
              legend: '{{proto}}',
            },
          ],
        },
        {
          title: 'Responses by rcode',
          description: 'By server and rcode.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (server, rcode) (rate(coredns_dns_responses_total{$filter}[$__rate_interval]))',
              legend: '{{server}} {{rcode}}',
            },
          ],
        },
        {
          title: 'Time to a response by zone',
          description: '99 in a hundred are faster.',
          unit: 's',
          queries: [
            {
              expr: 'histogram_quantile(0.99, sum by (zone, le) (rate(coredns_dns_request_duration_seconds_bucket{$filter}[$__rate_interval])))',
              legend: '{{zone}}',
            },
          ],
        },
        {
          title: 'Sizes',
          description: '99 in a hundred are smaller.',
          unit: 'bytes',
          queries: ['request', 'response'].map((what) => ({
            expr: `histogram_quantile(0.99, sum by (proto, le) (rate(coredns_dns_${what}_size_bytes_bucket{$filter}[$__rate_interval])))`,
            legend: `${what} {{proto}}`,
          })),
        },
        {
          title: 'TCP connections',
          description: 'Open connections of clients.',
          unit: 'short',
          queries: [{ expr: 'nodelocal_mcs_tcp_connections{$filter}', legend: 'open' }],
        },
        {
          title: 'Turned away',
          description: 'Dropped messages, refused and cut connections, truncated responses, by reason.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (reason) (rate(nodelocal_mcs_dropped_queries_total{$filter}[$__rate_interval]))',
              legend: 'dropped: {{reason}}',
            },
            {
              expr: 'sum by (reason) (rate(nodelocal_mcs_tcp_connections_refused_total{$filter}[$__rate_interval]))',
              legend: 'TCP refused: {{reason}}',
            },
            {
              expr: 'sum by (reason) (rate(nodelocal_mcs_tcp_connections_cut_total{$filter}[$__rate_interval]))',
              legend: 'TCP cut: {{reason}}',
            },
            {
              expr: 'sum by (proto) (rate(nodelocal_mcs_truncated_responses_total{$filter}[$__rate_interval]))',
              legend: 'truncated: {{proto}}',
            },
          ],
        },
        {
          title: 'Datagrams not taken or not sent',
          description: 'By reason; normally none.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (reason) (rate(nodelocal_mcs_udp_errors_total{$filter}[$__rate_interval]))',
              legend: '{{reason}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Caches',
      panels: [
        {
          title: 'Hits and misses',
          description: 'By zone; a name of the clusterset is answered from memory and is neither.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (zones) (rate(coredns_cache_hits_total{$filter}[$__rate_interval]))',
              legend: '{{zones}} hit',
            },
            {
              expr: 'sum by (zones) (rate(coredns_cache_misses_total{$filter}[$__rate_interval]))',
              legend: '{{zones}} miss',
            },
          ],
        },
        {
          title: 'Entries',
          description: 'Answers kept: with data, and denials.',
          unit: 'short',
          queries: [{ expr: 'sum by (type) (coredns_cache_entries{$filter})', legend: '{{type}}' }],
        },
        {
          title: 'Bytes',
          description: 'Of the record cache, and what it may have at most (cache.maxBytes).',
          unit: 'bytes',
          queries: [
            { expr: 'nodelocal_mcs_cache_bytes{$filter}', legend: 'used' },
            { expr: 'nodelocal_mcs_cache_max_bytes{$filter}', legend: 'at most' },
          ],
        },
        {
          title: 'Prefetched, stale, evicted',
          description: 'Entries renewed early, questions answered with old ones, entries that made room.',
          unit: 'reqps',
          queries: [
            { expr: 'sum(rate(coredns_cache_prefetch_total{$filter}[$__rate_interval]))', legend: 'prefetched' },
            { expr: 'sum(rate(coredns_cache_served_stale_total{$filter}[$__rate_interval]))', legend: 'stale' },
            { expr: 'sum(rate(coredns_cache_evictions_total{$filter}[$__rate_interval]))', legend: 'evicted' },
          ],
        },
        {
          title: 'Coalesced queries',
          description: 'Queries that shared the upstream query of another.',
          unit: 'reqps',
          queries: [
            { expr: 'rate(nodelocal_mcs_coalesced_queries_total{$filter}[$__rate_interval])', legend: 'coalesced' },
          ],
        },
        {
          title: 'Search-suffix short cuts',
          description: 'Names denied here because they are a clusterset name with a search suffix.',
          unit: 'reqps',
          queries: [
            {
              expr: 'rate(nodelocal_mcs_search_suffix_short_cuts_total{$filter}[$__rate_interval])',
              legend: 'short cuts',
            },
          ],
        },
      ],
    },
    {
      title: 'The fast path',
      panels: [
        {
          title: 'Responses of the workers',
          description: 'Hits that a worker answered itself, by worker; the rest went to the event loop.',
          unit: 'reqps',
          queries: [
            {
              expr: 'rate(nodelocal_mcs_worker_responses_total{$filter}[$__rate_interval])',
              legend: 'worker {{worker}}',
            },
          ],
        },
        {
          title: 'Part of the responses',
          description: 'Part of all responses that workers sent; the clusterset and warm caches bring it near one.',
          unit: 'percentunit',
          queries: [
            {
              expr: 'sum(rate(nodelocal_mcs_worker_responses_total{$filter}[$__rate_interval])) / sum(rate(coredns_dns_responses_total{$filter}[$__rate_interval]))',
              legend: 'workers',
            },
          ],
        },
        {
          title: 'Workers',
          description:
            'Workers that serve UDP, whether the event loop does so in their place while queries are few, falls since the start.',
          unit: 'short',
          queries: [
            { expr: 'nodelocal_mcs_udp_threads{$filter}', legend: 'workers' },
            { expr: 'nodelocal_mcs_udp_direct{$filter}', legend: 'event loop' },
            { expr: 'nodelocal_mcs_worker_restarts_total{$filter}', legend: 'falls' },
          ],
        },
        {
          title: 'Packet cache',
          description: 'Responses that the workers can tell.',
          unit: 'short',
          queries: [{ expr: 'nodelocal_mcs_packet_cache_entries{$filter}', legend: 'responses' }],
        },
        {
          title: 'Packet cache, bytes',
          description: 'Of these responses, and of those before them whose room is not used again yet.',
          unit: 'bytes',
          queries: [{ expr: 'nodelocal_mcs_packet_cache_bytes{$filter}', legend: 'used' }],
        },
        {
          title: 'Not kept, dropped',
          description:
            'Responses that made room or were too large for the packet cache, misses that found the way full.',
          unit: 'reqps',
          queries: [
            {
              expr: 'rate(nodelocal_mcs_packet_cache_evictions_total{$filter}[$__rate_interval])',
              legend: 'evicted',
            },
            { expr: 'rate(nodelocal_mcs_packet_cache_refusals_total{$filter}[$__rate_interval])', legend: 'too large' },
            {
              expr: 'rate(nodelocal_mcs_dropped_queries_total{$filter, reason="overloaded"}[$__rate_interval])',
              legend: 'misses dropped',
            },
          ],
        },
      ],
    },
    {
      title: 'Upstreams',
      panels: [
        {
          title: 'Exchanges',
          description: 'Queries to upstreams.',
          unit: 'reqps',
          queries: [
            { expr: 'sum by (to) (rate(coredns_forward_requests_total{$filter}[$__rate_interval]))', legend: '{{to}}' },
          ],
        },
        {
          title: 'Responses by rcode',
          description: 'What upstreams said.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (to, rcode) (rate(coredns_forward_responses_total{$filter}[$__rate_interval]))',
              legend: '{{to}} {{rcode}}',
            },
          ],
        },
        {
          title: 'Failures',
          description: 'Exchanges without a usable response, and failed health checks.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (to, transport) (rate(nodelocal_mcs_upstream_failures_total{$filter}[$__rate_interval]))',
              legend: '{{to}} {{transport}}',
            },
            {
              expr: 'sum by (to) (rate(coredns_forward_healthcheck_failures_total{$filter}[$__rate_interval]))',
              legend: '{{to}} health check',
            },
          ],
        },
        {
          title: 'Round-trip time',
          description: 'Smoothed, as the choice of upstream and the time-outs see it.',
          unit: 's',
          queries: [{ expr: 'nodelocal_mcs_upstream_rtt_seconds{$filter}', legend: '{{to}} {{transport}}' }],
        },
        {
          title: 'Connections and queries under way',
          description: 'Connections (UDP: sockets) to an upstream, and queries that wait for it.',
          unit: 'short',
          queries: [
            { expr: 'nodelocal_mcs_upstream_connections{$filter}', legend: '{{to}} {{transport}} connections' },
            { expr: 'nodelocal_mcs_upstream_in_flight{$filter}', legend: '{{to}} {{transport}} under way' },
          ],
        },
        {
          title: 'Refused, ignored, nobody healthy',
          description:
            'Too many under way, messages that were no response to us, and queries for which no upstream was healthy.',
          unit: 'reqps',
          queries: [
            {
              expr: 'rate(coredns_forward_max_concurrent_rejects_total{$filter}[$__rate_interval])',
              legend: 'too many under way',
            },
            {
              expr: 'rate(coredns_forward_healthcheck_broken_total{$filter}[$__rate_interval])',
              legend: 'nobody healthy',
            },
            {
              expr: 'rate(nodelocal_mcs_upstream_ignored_responses_total{$filter}[$__rate_interval])',
              legend: 'ignored: {{reason}}',
            },
          ],
        },
      ],
    },
    {
      title: 'The process',
      panels: [
        {
          title: 'CPU',
          description: 'Cores.',
          unit: 'short',
          queries: [{ expr: 'rate(process_cpu_seconds_total{$filter}[$__rate_interval])', legend: 'cores' }],
        },
        {
          title: 'Memory',
          description: 'Resident bytes, and the heap within.',
          unit: 'bytes',
          queries: [
            { expr: 'process_resident_memory_bytes{$filter}', legend: 'resident' },
            { expr: 'nodejs_heap_size_used_bytes{$filter}', legend: 'heap' },
            { expr: 'nodejs_external_memory_bytes{$filter}', legend: 'outside the heap' },
          ],
        },
        {
          title: 'Event-loop delay',
          description: 'How late the event loop was since the last scrape.',
          unit: 's',
          queries: [{ expr: 'nodelocal_mcs_event_loop_delay_seconds{$filter}', legend: '{{statistic}}' }],
        },
        {
          title: 'Queries to itself',
          description:
            'Of the watchdog, through every listen address: 99 in a hundred are faster; failures are normally none.',
          unit: 's',
          queries: [
            {
              expr: 'histogram_quantile(0.99, sum by (le) (rate(coredns_health_request_duration_seconds_bucket{$filter}[$__rate_interval])))',
              legend: 'answered within',
            },
            {
              expr: 'rate(coredns_health_request_failures_total{$filter}[$__rate_interval])',
              legend: 'unanswered per second',
            },
          ],
        },
        {
          title: 'Descriptors',
          description: 'Open, and the limit.',
          unit: 'short',
          queries: [
            { expr: 'process_open_fds{$filter}', legend: 'open' },
            { expr: 'process_max_fds{$filter}', legend: 'limit' },
          ],
        },
      ],
    },
  ],
}
