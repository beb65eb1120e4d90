/** A scrape of a running agent, held against the table of what dashboards read, before and after the first queries. */

import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { encode } from 'dns-packet'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { type FakeApiServer, startFakeApiServer } from '../common/fake-api-server.ts'
import { startUpstream, type TestUpstream } from '../common/upstream.ts'
import { ABSENT, CONTRACT, ZEROS } from '../observe/coredns-contract.ts'
import { type ReadFamily, type ReadSample, readExposition } from '../observe/exposition.ts'

/** Our own, by what an operator asks. */
const OWN: Readonly<Record<string, readonly string[]>> = {
  'set-up state': ['interface_present', 'rules_present', 'host_repairs_total'],
  'config hash and last reload': ['config_info', 'config_applied_timestamp_seconds'],
  'watch connected, last event, objects by kind': ['watch_connected', 'zone_last_event_age_seconds', 'zone_objects'],
  'zone age': ['zone_age_seconds', 'zone_synced', 'zone_state'],
  'coalesced queries': ['coalesced_queries_total'],
  'upstream in flight, connections, round-trip time': [
    'upstream_in_flight',
    'upstream_connections',
    'upstream_rtt_seconds',
    'upstream_healthy',
  ],
  'TCP clients and refusals': ['tcp_connections', 'tcp_connections_refused_total', 'tcp_connections_cut_total'],
  truncations: ['truncated_responses_total'],
  'stale answers': ['stale_answers_total'],
  'misses dropped': ['dropped_queries_total'],
  'event-loop delay': ['event_loop_delay_seconds'],
  'worker state': ['udp_threads', 'worker_responses_total', 'worker_restarts_total'],
}
/** Have samples only where the agent sets up the node, which it does not here, or after a response of the upstream. */
const LATER = new Set(['interface_present', 'rules_present', 'host_repairs_total', 'upstream_rtt_seconds'])

const SETTLE_MS = 20_000

suite('a scrape', () => {
  let api: FakeApiServer
  let upstream: TestUpstream
  let agent: AgentProcess
  let first: ReadonlyMap<string, ReadFamily>
  const scrape = async (): Promise<ReadonlyMap<string, ReadFamily>> => readExposition(await agent.metrics())

  before(async () => {
    api = await startFakeApiServer()
    upstream = await startUpstream()
    agent = await startAgentProcess({
      clusterset: { source: 'kubernetes', kubernetes: { kubeconfig: await api.kubeconfig() } },
      forward: [{ zones: ['.'], upstreams: [`127.0.0.1:${upstream.port}`], transport: 'tcp' }],
      // Its queries are counted too; those at the start are over.
      watchdog: { intervalMs: 100 },
    })
    await until(
      async () => (await agent.health('/readyz')).status === 200,
      SETTLE_MS,
      () => agent.output(),
    )
    first = await scrape()
  })
  after(async () => {
    await agent?.stop()
    await upstream?.stop()
    await api?.stop()
  })

  for (const { name, type, labels, buckets } of CONTRACT) {
    test(`has ${name} before the first query of a client`, () => {
      const family = first.get(name)
      assert.ok(family !== undefined, 'is missing')
      assert.equal(family.type, type)
      const samples = family.samples.get(type === 'histogram' ? `${name}_sum` : name) ?? []
      assert.ok(samples.length > 0, 'has no sample')
      for (const sample of samples) assert.deepEqual(Object.keys(sample.labels).sort(), [...labels].sort())
      if (buckets === undefined) return
      const bounds = family.samples.get(`${name}_bucket`)!.map((sample) => sample.labels['le'])
      assert.equal(bounds.slice(0, buckets.split(' ').length).join(' '), buckets)
    })
  }

  for (const [name, why] of Object.entries(ABSENT))
    test(`has no ${name}: ${why}`, () => assert.equal(first.has(name), false))

  for (const [name, labels] of ZEROS) {
    test(`begins ${name} ${JSON.stringify(labels)} at zero`, () => {
      const samples = samplesOf(first, name, labels)
      assert.ok(samples.length > 0)
      // The agent asks itself, and a response to that is a response.
      const ofOthers = samples.filter(({ labels }) => labels['zone'] !== 'self.nodelocal-mcs.invalid.')
      for (const sample of ofOthers) assert.equal(sample.value, 0)
    })
  }

  for (const [what, names] of Object.entries(OWN)) {
    test(`tells ${what}`, () => {
      for (const name of names) {
        const full = `nodelocal_mcs_${name}`
        assert.ok(first.has(full), full)
        if (!LATER.has(name)) assert.ok(first.get(full)!.samples.get(full)!.length > 0, `${full} has no sample`)
      }
    })
  }

  test('has the label values of CoreDNS', async () => {
    const server = `dns://127.0.0.1:${agent.port}`
    const to = `127.0.0.1:${upstream.port}`
    const query = (name: string, type: 'A' | 'AAAA') =>
      encode({ type: 'query', id: 7, flags: 0x0100, questions: [{ name, type }] })
    await askUdp(agent.port, query('www.example.com', 'A'))
    await askUdp(agent.port, query('www.example.com', 'A'))
    await askTcp(agent.port, query('absent.shop.svc.clusterset.local', 'AAAA'))
    const later = await scrape()
    const value = (name: string, labels: Readonly<Record<string, string>>): number => {
      const samples = samplesOf(later, name, labels)
      assert.equal(samples.length, 1, `${name} ${JSON.stringify(labels)}`)
      return samples[0]!.value
    }
    const at = { server, zone: '.', view: '' }
    assert.equal(value('coredns_dns_requests_total', { ...at, proto: 'udp', family: '1', type: 'A' }), 2)
    assert.equal(
      value('coredns_dns_requests_total', { server, zone: 'clusterset.local.', proto: 'tcp', type: 'AAAA' }),
      1,
    )
    assert.equal(value('coredns_dns_responses_total', { ...at, rcode: 'NOERROR', plugin: 'forward' }), 1)
    assert.equal(value('coredns_dns_responses_total', { ...at, rcode: 'NOERROR', plugin: 'cache' }), 1)
    assert.equal(
      value('coredns_dns_responses_total', {
        server,
        zone: 'clusterset.local.',
        rcode: 'NXDOMAIN',
        plugin: 'clusterset',
      }),
      1,
    )
    assert.equal(value('coredns_cache_hits_total', { server, zones: '.', type: 'success' }), 1)
    assert.equal(value('coredns_cache_misses_total', { server, zones: '.' }), 1)
    assert.equal(value('coredns_cache_entries', { type: 'success' }), 1)
    assert.equal(value('coredns_forward_requests_total', { to }), 1)
    assert.equal(value('coredns_forward_responses_total', { to, rcode: 'NOERROR' }), 1)
    assert.equal(value('coredns_proxy_conn_cache_misses_total', { proxy_name: 'forward', to, proto: 'tcp' }), 1)
    assert.equal(
      value('coredns_proxy_request_duration_seconds_count', { proxy_name: 'forward', to, rcode: 'NOERROR' }),
      1,
    )
    assert.equal(value('coredns_plugin_enabled', { ...at, name: 'cache' }), 1)
    assert.equal(value('nodelocal_mcs_upstream_rtt_seconds', { to, transport: 'tcp' }) > 0, true)
  })

  test('counts the requests to the API server by host and status', async () => {
    const host = new URL(api.url).host
    const counted = async (code: string): Promise<number> =>
      samplesOf(await scrape(), 'coredns_kubernetes_rest_client_requests_total', { host, code, method: 'GET' })[0]
        ?.value ?? 0
    // Discovery and a watch of each kind, at the least.
    assert.ok((await counted('200')) >= 3)
    assert.equal(await counted('<error>'), 0)
    const [durations] = samplesOf(await scrape(), 'coredns_kubernetes_rest_client_request_duration_seconds_count', {
      host,
      verb: 'GET',
    })
    assert.ok(durations!.value >= 3)
  })

  test('says of each kind whether its watch is open', async () => {
    const watched = async (): Promise<string> =>
      samplesOf(await scrape(), 'nodelocal_mcs_watch_connected', {})
        .map(({ labels, value }) => `${labels['kind']} ${value}`)
        .sort()
        .join()
    const becomes = (wanted: string) => until(async () => (await watched()) === wanted, SETTLE_MS, agent.output)
    await becomes('endpointslices 1,serviceimports 1')
    const lift = api.faults.refuse(503, { resource: 'endpointslices' })
    api.cutWatches('end', 'endpointslices')
    await becomes('endpointslices 0,serviceimports 1')
    lift()
    await becomes('endpointslices 1,serviceimports 1')
    // A kind that is not served is nobody's to watch.
    await api.removeCrd()
    await becomes('endpointslices 1')
  })

  test("counts the watchdog's queries to ourselves", async () => {
    await until(
      async () => samplesOf(await scrape(), 'coredns_health_request_duration_seconds_count', {})[0]!.value >= 4,
      SETTLE_MS,
      agent.output,
    )
  })

  test('counts what of the configuration could not be used', async () => {
    const refused = async (): Promise<number> =>
      samplesOf(await scrape(), 'coredns_nodecache_setup_errors_total', { errortype: 'configmap' })[0]!.value
    assert.equal(await refused(), 0)
    await agent.writeConfig({ forward: [{ zones: ['.'], upstreams: ['nonsense:'] }] })
    await until(async () => (await refused()) === 1, SETTLE_MS, agent.output)
  })
})

test('counts a ConfigMap of kube-dns that could not be used', async (t) => {
  const agent = await startAgentProcess({ clusterset: { source: 'none' }, kubeDnsConfigDirectory: '/dev/null' })
  t.after(() => agent.stop())
  const families = readExposition(await agent.metrics())
  const [sample] = samplesOf(families, 'coredns_nodecache_setup_errors_total', { errortype: 'configmap' })
  assert.equal(sample!.value, 1)
})

/** Of a family, or of a histogram's parts, those with at least these labels. */
function samplesOf(
  families: ReadonlyMap<string, ReadFamily>,
  name: string,
  wanted: Readonly<Record<string, string>>,
): readonly ReadSample[] {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''))
  const samples = family?.samples.get(name) ?? []
  return samples.filter(({ labels }) => Object.entries(wanted).every(([label, value]) => labels[label] === value))
}
