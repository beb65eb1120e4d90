/** The clusterset zone: what it is made of, whether it is current, what is asked of it. */

import type { Dashboard } from './panels.ts'

export const CLUSTERSET: Dashboard = {
  uid: 'nodelocal-mcs-clusterset',
  title: 'nodelocal-mcs / Clusterset zone',
  description: 'Multi-cluster names: objects, watches, freshness and queries, by node.',
  selects: 'job',
  rows: [
    {
      title: 'The zone',
      panels: [
        {
          title: 'Services',
          description:
            'Services with records, the smallest and the largest among the nodes: equal once all have caught up.',
          unit: 'short',
          queries: [
            { expr: 'min(nodelocal_mcs_zone_services{$filter})', legend: 'fewest' },
            { expr: 'max(nodelocal_mcs_zone_services{$filter})', legend: 'most' },
          ],
        },
        {
          title: 'Names',
          description: 'Names with records, the smallest and the largest among the nodes.',
          unit: 'short',
          queries: [
            { expr: 'min(nodelocal_mcs_zone_names{$filter})', legend: 'fewest' },
            { expr: 'max(nodelocal_mcs_zone_names{$filter})', legend: 'most' },
          ],
        },
        {
          title: 'Objects',
          description: 'Objects that the zone is made of, the most on any node.',
          unit: 'short',
          queries: [{ expr: 'max by (kind) (nodelocal_mcs_zone_objects{$filter})', legend: '{{kind}}' }],
        },
        {
          title: 'Nodes by state',
          description:
            'unsynced: unknown names get SERVFAIL; absent: no CRDs; snapshot: from the file, not the API server.',
          unit: 'short',
          queries: [{ expr: 'sum by (state) (nodelocal_mcs_zone_state{$filter})', legend: '{{state}}' }],
        },
        {
          title: 'Ignored objects',
          description: 'Objects or parts that are of no use to DNS, by reason, the most on any node.',
          unit: 'short',
          queries: [
            {
              expr: 'max by (reason) (nodelocal_mcs_zone_ignored_objects_total{$filter}) or vector(0)',
              legend: '{{reason}}',
            },
          ],
        },
      ],
    },
    {
      title: 'How current it is',
      panels: [
        {
          title: 'Nodes without a watch',
          description: 'By kind; a watch that is opened anew is away for a moment.',
          unit: 'short',
          queries: [{ expr: 'sum by (kind) (1 - nodelocal_mcs_watch_connected{$filter})', legend: '{{kind}}' }],
        },
        {
          title: 'Time since the last change',
          description:
            'Seconds since the zone last changed, on the nodes where it is the shortest and the longest ago.',
          unit: 's',
          queries: [
            { expr: 'min(nodelocal_mcs_zone_age_seconds{$filter})', legend: 'shortest' },
            { expr: 'max(nodelocal_mcs_zone_age_seconds{$filter})', legend: 'longest' },
          ],
        },
        {
          title: 'From a change to the answer',
          description: '99 in a hundred are faster, from the arrival of an object on the node.',
          unit: 's',
          queries: [
            {
              expr: 'histogram_quantile(0.99, sum by (le) (rate(nodelocal_mcs_zone_publication_seconds_bucket{$filter}[$__rate_interval])))',
              legend: 'p99',
            },
          ],
        },
        {
          title: 'Requests to the API server',
          description: 'By status; a handful an hour and node. 401 and 403 are the token and RBAC.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (code) (rate(coredns_kubernetes_rest_client_requests_total{$filter}[$__rate_interval]))',
              legend: '{{code}}',
            },
          ],
        },
        {
          title: 'Time of the API server',
          description: 'To the head of a response, 99 in a hundred, since the start of the agents.',
          unit: 's',
          queries: [
            {
              expr: 'histogram_quantile(0.99, sum by (le) (coredns_kubernetes_rest_client_request_duration_seconds_bucket{$filter}))',
              legend: 'p99',
            },
          ],
        },
        {
          title: 'Silence of the source',
          description:
            'Seconds since the source of objects last said anything, the ten longest; bookmarks come about once a minute.',
          unit: 's',
          queries: [{ expr: 'topk(10, nodelocal_mcs_zone_last_event_age_seconds{$filter})', legend: '{{instance}}' }],
        },
      ],
    },
    {
      title: 'Queries',
      panels: [
        {
          title: 'Queries by type',
          description: 'Of the zones that are answered from imports.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (type) (rate(coredns_dns_requests_total{$filter, zone=~"clusterset.*"}[$__rate_interval]))',
              legend: '{{type}}',
            },
          ],
        },
        {
          title: 'Responses by rcode',
          description: 'NXDOMAIN: no import of that name here, or a headless one without ready endpoints.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum by (rcode) (rate(coredns_dns_responses_total{$filter, plugin="clusterset"}[$__rate_interval]))',
              legend: '{{rcode}}',
            },
          ],
        },
        {
          title: 'Time to a response',
          description: '99 in a hundred are faster; it is a look into memory.',
          unit: 's',
          queries: [
            {
              expr: 'histogram_quantile(0.99, sum by (zone, le) (rate(coredns_dns_request_duration_seconds_bucket{$filter, zone=~"clusterset.*"}[$__rate_interval])))',
              legend: '{{zone}}',
            },
          ],
        },
        {
          title: 'Search-suffix short cuts',
          description:
            'Look-ups with a search suffix behind a clusterset name that were answered here instead of by kube-dns.',
          unit: 'reqps',
          queries: [
            {
              expr: 'sum(rate(nodelocal_mcs_search_suffix_short_cuts_total{$filter}[$__rate_interval]))',
              legend: 'short cuts',
            },
          ],
        },
      ],
    },
  ],
}
