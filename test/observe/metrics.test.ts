import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { suite, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { CELLS_MAX, RCODE_LABELS, TYPE_LABELS } from '../../src/observe/counters.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { OwnQueryCounters } from '../../src/observe/own-query-counters.ts'
import { requireProgram } from '../common/requires.ts'
import { CONTRACT } from './coredns-contract.ts'
import { type ReadFamily, readExposition } from './exposition.ts'
import { metricFixture, SERVER } from './metric-fixture.ts'

suite('metrics', () => {
  test('are all zero before the first query', async () => {
    const { sources, labels } = metricFixture({
      cache: () => ({
        positiveEntries: 0,
        negativeEntries: 0,
        bytes: 0,
        bytesMax: 0,
        evictions: 0,
        negativeEvictions: 0,
        refusals: 0,
      }),
      forward: () => ({ coalesced: 0, maxConcurrentRejects: 0, healthcheckBroken: 0, ignoredResponses: {} }),
    })
    labels.cellOf(SERVER, 'cluster.local.')
    const families = readExposition(await createMetrics(sources).render())
    for (const { name, type } of CONTRACT) {
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
      ['iptables', 'iptables_lock', 'interface_add', 'interface_check', 'configmap', 'nftables', 'state_directory'],
    )
  })

  test('tell what was counted', async () => {
    const ownQueries = new OwnQueryCounters()
    // As the watchdog's thread does.
    const fromItsThread = new OwnQueryCounters(ownQueries.memory)
    const { sources, traffic } = metricFixture({ ownQueries: () => ownQueries.snapshot() })
    fromItsThread.answered(0.002)
    fromItsThread.failed()
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
    const host = '10.96.0.1:443'
    metrics.apiObserver.knows(host)
    metrics.apiObserver.requestEnded(host, 200, 0.03)
    metrics.apiObserver.requestEnded(host, undefined, 30)
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
      ['coredns_cache_evictions_total', { server: '', zones: '.', view: '', type: 'success' }, 2],
      ['coredns_cache_evictions_total', { server: '', zones: '.', view: '', type: 'denial' }, 1],
      ['coredns_cache_drops_total', { server: '', zones: '.', view: '' }, 2],
      ['coredns_kubernetes_rest_client_requests_total', { code: '200', method: 'GET', host }, 1],
      ['coredns_kubernetes_rest_client_requests_total', { code: '<error>', method: 'GET', host }, 1],
      ['coredns_kubernetes_rest_client_request_duration_seconds_bucket', { verb: 'GET', host, le: '0.05' }, 1],
      ['coredns_kubernetes_rest_client_request_duration_seconds_bucket', { verb: 'GET', host, le: '+Inf' }, 2],
      ['coredns_health_request_duration_seconds_bucket', { le: '0.0025' }, 1],
      ['coredns_health_request_failures_total', {}, 1],
      ['nodelocal_mcs_worker_responses_total', { worker: '0' }, 6],
      ['nodelocal_mcs_zone_age_seconds', {}, 30],
      ['nodelocal_mcs_upstream_rtt_seconds', { to: '10.96.0.11:53', transport: 'tcp' }, 0.002],
      ['nodelocal_mcs_tcp_connections_refused_total', { reason: 'connections-per-client' }, 0],
      ['nodelocal_mcs_http_connections_closed_total', { reason: 'connections' }, 4],
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
    for (let i = 0; i < 500; i++) {
      metrics.upstreamObserver.exchangeEnded(`192.0.2.1:${i}`, 'udp', `RCODE${i}`, 0.1)
      metrics.apiObserver.requestEnded(`192.0.2.${i}:443`, i, 0.1)
      metrics.apiObserver.requestEnded('192.0.2.1:443', i, 0.1)
    }
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
    assert.equal(values('coredns_kubernetes_rest_client_requests_total', 'host').size, 9)
    assert.ok(values('coredns_kubernetes_rest_client_requests_total', 'code').size < 80)
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
