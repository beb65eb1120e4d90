import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { suite, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { CELLS_MAX, RCODE_LABELS, TYPE_LABELS } from '../../src/observe/counters.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { requireProgram } from '../common/requires.ts'
import { type ReadFamily, readExposition } from './exposition.ts'
import { metricFixture, SERVER } from './metric-fixture.ts'

const SERVER_LABELS = ['server', 'zone', 'view']
const CACHE_LABELS = ['server', 'zones', 'view']
const TIME_BUCKETS =
  '0.00025 0.0005 0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 +Inf'
const SIZE_BUCKETS = '0 100 200 300 400 511 1023 2047 4095 8291 16000 32000 48000 64000 +Inf'
const PROGRAMMING_BUCKETS =
  '0.001 0.002 0.004 0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024 2.048 4.096 8.192 16.384 32.768 65.536 131.072 262.144 524.288 +Inf'

/** What dashboards and alerts for CoreDNS and NodeLocal DNSCache read: name, type, labels, buckets. */
const CONTRACT: readonly (readonly [name: string, type: string, labels: readonly string[], buckets?: string])[] = [
  ['coredns_build_info', 'gauge', ['version', 'revision', 'goversion']],
  ['coredns_panics_total', 'counter', []],
  ['coredns_dns_requests_total', 'counter', [...SERVER_LABELS, 'proto', 'family', 'type']],
  ['coredns_dns_request_duration_seconds', 'histogram', SERVER_LABELS, TIME_BUCKETS],
  ['coredns_dns_request_size_bytes', 'histogram', [...SERVER_LABELS, 'proto'], SIZE_BUCKETS],
  ['coredns_dns_response_size_bytes', 'histogram', [...SERVER_LABELS, 'proto'], SIZE_BUCKETS],
  ['coredns_dns_do_requests_total', 'counter', SERVER_LABELS],
  ['coredns_dns_responses_total', 'counter', [...SERVER_LABELS, 'rcode', 'plugin']],
  ['coredns_plugin_enabled', 'gauge', [...SERVER_LABELS, 'name']],
  ['coredns_cache_entries', 'gauge', ['server', 'type', 'zones', 'view']],
  ['coredns_cache_requests_total', 'counter', CACHE_LABELS],
  ['coredns_cache_hits_total', 'counter', ['server', 'type', 'zones', 'view']],
  ['coredns_cache_misses_total', 'counter', CACHE_LABELS],
  ['coredns_cache_prefetch_total', 'counter', CACHE_LABELS],
  ['coredns_cache_drops_total', 'counter', CACHE_LABELS],
  ['coredns_cache_served_stale_total', 'counter', CACHE_LABELS],
  ['coredns_cache_evictions_total', 'counter', ['server', 'type', 'zones', 'view']],
  ['coredns_proxy_request_duration_seconds', 'histogram', ['proxy_name', 'to', 'rcode'], TIME_BUCKETS],
  ['coredns_proxy_healthcheck_failures_total', 'counter', ['proxy_name', 'to']],
  ['coredns_proxy_conn_cache_hits_total', 'counter', ['proxy_name', 'to', 'proto']],
  ['coredns_proxy_conn_cache_misses_total', 'counter', ['proxy_name', 'to', 'proto']],
  ['coredns_forward_requests_total', 'counter', ['to']],
  ['coredns_forward_responses_total', 'counter', ['to', 'rcode']],
  ['coredns_forward_request_duration_seconds', 'histogram', ['to', 'rcode'], TIME_BUCKETS],
  ['coredns_forward_healthcheck_failures_total', 'counter', ['to']],
  ['coredns_forward_healthcheck_broken_total', 'counter', []],
  ['coredns_forward_max_concurrent_rejects_total', 'counter', []],
  ['coredns_reload_failed_total', 'counter', []],
  ['coredns_reload_version_info', 'gauge', ['hash', 'value']],
  ['coredns_nodecache_setup_errors_total', 'counter', ['errortype']],
  ['coredns_kubernetes_dns_programming_duration_seconds', 'histogram', ['service_kind'], PROGRAMMING_BUCKETS],
]

suite('metrics', () => {
  suite('have the names, types, labels and buckets that dashboards read', async () => {
    const { sources, labels } = metricFixture()
    labels.cellOf(SERVER, '.')
    const metrics = createMetrics(sources)
    metrics.upstreamObserver.know('10.96.0.11:53')
    const families = readExposition(await metrics.render())
    for (const [name, type, labelNames, buckets] of CONTRACT) {
      test(name, () => {
        const family = families.get(name)
        assert.ok(family !== undefined, 'is missing')
        assert.equal(family.type, type)
        const samples = family.samples.get(type === 'histogram' ? `${name}_sum` : name)
        assert.ok(samples !== undefined && samples.length > 0, 'has no sample before the first query')
        for (const { labels } of samples) assert.deepEqual(Object.keys(labels).sort(), [...labelNames].sort())
        if (buckets !== undefined) {
          const bounds = family.samples.get(`${name}_bucket`)!.map((sample) => sample.labels['le'])
          assert.equal(bounds.slice(0, buckets.split(' ').length).join(' '), buckets)
        }
      })
    }
  })

  test('are all zero before the first query', async () => {
    const { sources, labels } = metricFixture({
      cache: () => ({
        positiveEntries: 0,
        negativeEntries: 0,
        bytes: 0,
        bytesMax: 0,
        evictions: 0,
        prefetchesDropped: 0,
      }),
      forward: () => ({ coalesced: 0, maxConcurrentRejects: 0, healthcheckBroken: 0, ignoredResponses: {} }),
    })
    labels.cellOf(SERVER, 'cluster.local.')
    const families = readExposition(await createMetrics(sources).render())
    for (const [name, type] of CONTRACT) {
      if (type === 'gauge') continue
      const { samples } = families.get(name)!
      assert.deepEqual(
        [...samples.values()].flat().filter(({ value }) => value !== 0),
        [],
        name,
      )
    }
    assert.equal(
      valueOf(families, 'coredns_dns_requests_total', {
        server: SERVER,
        zone: 'cluster.local.',
        view: '',
        proto: 'tcp',
        family: '1',
        type: 'AAAA',
      }),
      0,
    )
    assert.deepEqual(
      families
        .get('coredns_nodecache_setup_errors_total')!
        .samples.get('coredns_nodecache_setup_errors_total')!
        .map(({ labels }) => labels['errortype']),
      ['iptables', 'iptables_lock', 'interface_add', 'interface_check', 'configmap', 'nftables'],
    )
  })

  test('tell what was counted', async () => {
    const { sources, traffic } = metricFixture()
    const cell = traffic.cellOf(SERVER, '.')
    traffic.request(cell, 0, 0, 28, 45, true)
    traffic.cacheMiss(cell)
    traffic.response(cell, 3, 'forward', 0.003, 120, 0)
    traffic.request(cell, 1, 0, 28, 45, false)
    traffic.cacheHit(cell, 'denial')
    traffic.staleServed(cell)
    traffic.response(cell, 3, 'cache', 0.0001, 70_000, 1)
    traffic.truncated(0)
    traffic.dropped('short')
    traffic.panicked()
    const metrics = createMetrics(sources)
    metrics.upstreamObserver.exchangeEnded('192.0.2.1:53', 'udp', 'NXDOMAIN', 0.002)
    metrics.upstreamObserver.exchangeEnded('192.0.2.1:53', 'udp', undefined, 1)
    metrics.upstreamObserver.connectionOpened('192.0.2.1:53', 'tcp')
    metrics.upstreamObserver.healthcheckFailed('192.0.2.1:53')
    metrics.dnsProgrammed('headless_with_selector', 0.02)
    const families = readExposition(await metrics.render())

    const at = { server: SERVER, zone: '.', view: '' }
    const cache = { server: SERVER, zones: '.', view: '' }
    const to = '192.0.2.1:53'
    const expected: [name: string, labels: Record<string, string>, value: number][] = [
      ['coredns_dns_requests_total', { ...at, proto: 'udp', family: '1', type: 'AAAA' }, 1],
      ['coredns_dns_requests_total', { ...at, proto: 'tcp', family: '1', type: 'AAAA' }, 1],
      ['coredns_dns_do_requests_total', at, 1],
      ['coredns_dns_responses_total', { ...at, rcode: 'NXDOMAIN', plugin: 'forward' }, 1],
      ['coredns_dns_responses_total', { ...at, rcode: 'NXDOMAIN', plugin: 'cache' }, 1],
      ['coredns_dns_request_duration_seconds_bucket', { ...at, le: '0.00025' }, 1],
      ['coredns_dns_request_duration_seconds_bucket', { ...at, le: '0.002' }, 1],
      ['coredns_dns_request_duration_seconds_bucket', { ...at, le: '0.004' }, 2],
      ['coredns_dns_request_duration_seconds_bucket', { ...at, le: '+Inf' }, 2],
      ['coredns_dns_request_duration_seconds_count', at, 2],
      ['coredns_dns_response_size_bytes_bucket', { ...at, proto: 'tcp', le: '64000' }, 0],
      ['coredns_dns_response_size_bytes_bucket', { ...at, proto: 'tcp', le: '+Inf' }, 1],
      ['coredns_dns_response_size_bytes_sum', { ...at, proto: 'udp' }, 120],
      ['coredns_cache_requests_total', cache, 2],
      ['coredns_cache_hits_total', { ...cache, type: 'denial' }, 1],
      ['coredns_cache_misses_total', cache, 1],
      ['coredns_cache_served_stale_total', cache, 1],
      ['coredns_cache_entries', { server: '', zones: '.', view: '', type: 'success' }, 7],
      ['coredns_forward_requests_total', { to }, 2],
      ['coredns_forward_responses_total', { to, rcode: 'NXDOMAIN' }, 1],
      [
        'coredns_proxy_request_duration_seconds_bucket',
        { proxy_name: 'forward', to, rcode: 'NXDOMAIN', le: '0.002' },
        1,
      ],
      ['coredns_proxy_conn_cache_misses_total', { proxy_name: 'forward', to, proto: 'tcp' }, 1],
      ['coredns_forward_healthcheck_failures_total', { to }, 1],
      ['nodelocal_mcs_upstream_failures_total', { to, transport: 'udp' }, 1],
      [
        'coredns_kubernetes_dns_programming_duration_seconds_bucket',
        { service_kind: 'headless_with_selector', le: '0.032' },
        1,
      ],
      ['coredns_panics_total', {}, 1],
      ['nodelocal_mcs_truncated_responses_total', { proto: 'udp' }, 1],
      ['nodelocal_mcs_dropped_queries_total', { reason: 'short' }, 1],
      ['nodelocal_mcs_stale_answers_total', {}, 1],
      ['nodelocal_mcs_watch_connected', { kind: 'endpointslices' }, 0],
      ['nodelocal_mcs_upstream_rtt_seconds', { to: '10.96.0.11:53', transport: 'tcp' }, 0.002],
      ['nodelocal_mcs_tcp_connections_refused_total', { reason: 'connections-per-client' }, 0],
    ]
    for (const [name, labels, value] of expected) {
      assert.equal(valueOf(families, name, labels), value, `${name} ${JSON.stringify(labels)}`)
    }
  })

  test('stay bounded whatever is asked', async () => {
    const { sources, traffic } = metricFixture()
    for (let i = 0; i < 3 * CELLS_MAX; i++) {
      const cell = traffic.cellOf(SERVER, `zone-${i}.`)
      traffic.request(cell, 0, 0, i * 331, 40, false)
      traffic.response(cell, i * 7, '', 0.001, 40, 0)
    }
    const metrics = createMetrics(sources)
    for (let i = 0; i < 500; i++) metrics.upstreamObserver.exchangeEnded(`192.0.2.1:${i}`, 'udp', `RCODE${i}`, 0.1)
    const families = readExposition(await metrics.render())
    const values = (name: string, label: string) =>
      new Set(
        families
          .get(name)!
          .samples.get(name)!
          .map(({ labels }) => labels[label]),
      )
    assert.equal(values('coredns_dns_requests_total', 'zone').size, CELLS_MAX)
    assert.ok(values('coredns_dns_requests_total', 'zone').has('other'))
    assert.ok([...values('coredns_dns_requests_total', 'type')].every((type) => TYPE_LABELS.includes(type!)))
    assert.ok([...values('coredns_dns_responses_total', 'rcode')].every((rcode) => RCODE_LABELS.includes(rcode!)))
    assert.equal(values('coredns_forward_requests_total', 'to').size, 65)
  })

  test('tell about the process, without what only costs', async () => {
    const families = readExposition(await createMetrics(metricFixture().sources).render())
    for (const name of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_open_fds']) {
      assert.ok(families.has(name), name)
    }
    assert.deepEqual(
      families
        .get('nodelocal_mcs_event_loop_delay_seconds')!
        .samples.get('nodelocal_mcs_event_loop_delay_seconds')!
        .map(({ labels }) => labels['statistic']),
      ['p50', 'p99', 'max'],
    )
    assert.equal(families.has('nodejs_version_info'), false)
  })

  test('please promtool', async (t) => {
    const promtool = requireProgram(t, 'promtool', 'prometheus')
    if (promtool === undefined) return
    const { sources, traffic } = metricFixture()
    const cell = traffic.cellOf('dns://[fd00::10]:53', 'a"b\\c.')
    traffic.request(cell, 0, 1, 1, 40, false)
    const metrics = createMetrics(sources)
    metrics.upstreamObserver.know('192.0.2.1:53')
    const result = spawnSync(promtool, ['check', 'metrics'], { input: await metrics.render(), encoding: 'utf8' })
    assert.deepEqual({ status: result.status, said: result.stdout + result.stderr }, { status: 0, said: '' })
  })
})

function valueOf(
  families: ReadonlyMap<string, ReadFamily>,
  name: string,
  labels: Readonly<Record<string, string>>,
): number | undefined {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''))
  return family?.samples.get(name)?.find((sample) => isDeepStrictEqual({ ...sample.labels }, labels))?.value
}
