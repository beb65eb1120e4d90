/**
 * The agent as a process on a Kubernetes API: the in-repo server, and a real kube-apiserver where KUBEBUILDER_ASSETS
 * names a folder with one.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import type { ApiUnderTest, KubernetesObject } from '../common/api-under-test.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { startFakeApiServer } from '../common/fake-api-server.ts'
import { realApiServerFolder, startRealApiServer } from '../common/real-api-server.ts'
import { responseFromBytes, type VectorResponse } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'

const EXAMPLES = ['web.yaml', 'db.yaml'].flatMap((file) => {
  const text = readFileSync(new URL(`../../examples/clusterset/${file}`, import.meta.url), 'utf8')
  return parseAllDocuments(text).map((document) => document.toJS() as KubernetesObject)
})

const TYPES: Readonly<Record<string, number>> = { A: 1, AAAA: 28, SRV: 33, TXT: 16 }

function importOf(name: string, address: string): KubernetesObject {
  return {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { namespace: 'shop', name },
    spec: { type: 'ClusterSetIP', ips: [address], ports: [{ name: 'tcp', protocol: 'TCP', port: 6379 }] },
  }
}

const realFolder = realApiServerFolder()
const apis: { what: string; start(): Promise<ApiUnderTest> }[] = [
  { what: 'the in-repo API server', start: () => startFakeApiServer() },
]
if (realFolder !== undefined) {
  apis.push({ what: 'a real kube-apiserver', start: () => startRealApiServer(realFolder) })
}

for (const { what, start } of apis) {
  suite(`agent on ${what}`, () => {
    let api: ApiUnderTest
    let agent: AgentProcess
    const ask = async (name: string, type: string, over = askUdp): Promise<VectorResponse> =>
      responseFromBytes(await over(agent.port, queryBytes({ name: `${name}.`, type: TYPES[type]!, class: 1 })))
    const data = async (name: string, type: string, over = askUdp): Promise<string[]> =>
      (await ask(name, type, over)).answer.map((record) => record.split(/\s+IN\s+\S+\s+/)[1]!).sort()

    before(async () => {
      api = await start()
      await api.installCrd(['v1beta1', 'v1alpha1'])
      await api.applyMany(EXAMPLES)
      agent = await startAgentProcess({
        clusterset: { source: 'kubernetes', kubernetes: { kubeconfig: await api.kubeconfig() } },
        forward: [],
      })
      await until(
        async () => (await agent.health('/readyz')).status === 200,
        20_000,
        () => agent.output(),
      )
    })
    after(async () => {
      try {
        // None, where the API server refused what it was to begin with.
        if (agent !== undefined) assert.equal(await agent.stop(), 0)
      } finally {
        await api?.stop()
      }
    })

    for (const [transport, over] of [
      ['UDP', askUdp],
      ['TCP', askTcp],
    ] as const) {
      test(`answers both kinds of service over ${transport}`, async () => {
        assert.deepEqual(await data('web.shop.svc.clusterset.local', 'A', over), ['10.42.0.80'])
        assert.deepEqual(await data('db.shop.svc.clusterset.local', 'A', over), ['10.1.0.10', '10.1.0.11', '10.2.0.10'])
        assert.deepEqual(await data('db-0.west.db.shop.svc.clusterset.local', 'A', over), ['10.2.0.10'])
        assert.equal((await ask('nobody.shop.svc.clusterset.local', 'A', over)).rcode, 'NXDOMAIN')
      })
    }

    test('answers a ServiceImport within a second of its creation, its change and its deletion', async () => {
      const name = 'cache.shop.svc.clusterset.local'
      const isNow = (wanted: string) =>
        until(
          async () => (await data(name, 'A')).join() === wanted,
          1_000,
          () => agent.output(),
        )
      await api.apply(importOf('cache', '10.42.0.99'))
      await isNow('10.42.0.99')
      await api.apply(importOf('cache', '10.42.0.100'))
      await isNow('10.42.0.100')
      await api.remove('ServiceImport', 'shop', 'cache')
      await until(
        async () => (await ask(name, 'A')).rcode === 'NXDOMAIN',
        1_000,
        () => agent.output(),
      )
      const metrics = await agent.metrics()
      assert.ok(Number(/^nodelocal_mcs_zone_publication_seconds_count (\d+)/m.exec(metrics)?.[1]) >= 3)
    })

    test('measures how long a change took that says when it was', async () => {
      const name = 'queue.shop.svc.clusterset.local'
      const at = new Date(Date.now() - 1_000).toISOString()
      await api.apply({ ...importOf('queue', '10.42.0.98'), spec: { type: 'Headless', ports: [] } })
      await api.apply({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          namespace: 'shop',
          name: 'queue-1',
          labels: {
            'multicluster.kubernetes.io/service-name': 'queue',
            'multicluster.kubernetes.io/source-cluster': 'east',
          },
          annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': at },
        },
        addressType: 'IPv4',
        endpoints: [{ addresses: ['10.1.0.98'] }],
        ports: [],
      })
      await until(
        async () => (await data(name, 'A')).join() === '10.1.0.98',
        5_000,
        () => agent.output(),
      )
      const family = 'coredns_kubernetes_dns_programming_duration_seconds'
      const read = async (what: string): Promise<number> =>
        Number(
          new RegExp(`^${family}_${what}\\{service_kind="headless_with_selector"\\} (\\S+)`, 'm').exec(
            await agent.metrics(),
          )?.[1],
        )
      assert.equal(await read('count'), 1)
      assert.ok((await read('sum')) >= 1)
    })

    test('denies the zone while the CRDs are absent, stays ready, and notices their return', async () => {
      await api.removeCrd()
      await api.installCrd(['v1alpha1'])
      await api.applyMany([{ ...importOf('again', '10.42.0.101'), apiVersion: 'multicluster.x-k8s.io/v1alpha1' }])
      await until(
        async () => (await data('again.shop.svc.clusterset.local', 'A')).length === 1,
        30_000,
        () => agent.output(),
      )
      assert.equal((await agent.health('/readyz')).status, 200)
    })
  })
}

test('lives and serves other names while the API server is away, and says SERVFAIL to names it cannot know yet', async (t) => {
  const agent = await startAgentProcess({
    clusterset: {
      source: 'kubernetes',
      kubernetes: { kubeconfig: await unreachableKubeconfig(t) },
    },
    forward: [],
  })
  t.after(() => agent.stop())
  const ask = async (name: string) =>
    responseFromBytes(await askUdp(agent.port, queryBytes({ name, type: 1, class: 1 })))
  assert.equal((await ask('web.shop.svc.clusterset.local.')).rcode, 'SERVFAIL')
  assert.equal((await ask('localhost.')).rcode, 'NOERROR')
  assert.equal((await agent.health('/healthz')).status, 200)
})

/** A kubeconfig of a server that is gone. */
async function unreachableKubeconfig(t: TestContext): Promise<string> {
  const api = await startFakeApiServer()
  const path = await api.kubeconfig()
  const text = readFileSync(path, 'utf8')
  await api.stop()
  const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-kubeconfig-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const kept = join(directory, 'config')
  writeFileSync(kept, text)
  return kept
}

test('serves the namespaces that it may list, and says which it may not', async (t) => {
  const api = await startFakeApiServer({ allows: ({ namespace }) => namespace !== 'bank' })
  t.after(() => api.stop())
  await api.applyMany([importOf('cache', '10.42.0.7'), importOf('queue', '10.42.0.8')])
  const kubernetes = { kubeconfig: await api.kubeconfig(), namespaces: ['shop', 'bank'] }
  const agent = await startAgentProcess({ clusterset: { source: 'kubernetes', kubernetes }, forward: [] })
  t.after(() => agent.stop())
  const rcode = async (name: string) =>
    responseFromBytes(
      await askUdp(agent.port, queryBytes({ name: `${name}.svc.clusterset.local.`, type: 1, class: 1 })),
    ).rcode
  await until(
    async () => (await rcode('none.shop')) === 'NXDOMAIN',
    20_000,
    () => agent.output(),
  )
  assert.deepEqual([await rcode('cache.shop'), await rcode('till.bank')], ['NOERROR', 'SERVFAIL'])

  await until(
    async () => (await agent.health('/readyz')).body.includes('"partial; not listed: bank (403)"'),
    20_000,
    () => agent.output(),
  )
  assert.equal((await agent.health('/readyz')).status, 503)
  const metrics = await agent.metrics()
  for (const series of [
    'nodelocal_mcs_zone_synced 0',
    'nodelocal_mcs_zone_state{state="partial"} 1',
    'nodelocal_mcs_zone_namespace_synced{namespace="shop"} 1',
    'nodelocal_mcs_zone_namespace_synced{namespace="bank"} 0',
  ])
    assert.ok(metrics.includes(`${series}\n`), series)

  const explained = async (name: string) => {
    const { body } = await agent.health(`/explain?name=${name}.svc.clusterset.local`)
    return (JSON.parse(body) as { verdict: { rcode: string; reason: string; text: string } }).verdict
  }
  assert.deepEqual(
    [(await explained('none.shop')).rcode, (await explained('till.bank')).rcode],
    ['NXDOMAIN', 'SERVFAIL'],
  )
  const { reason, text } = await explained('till.bank')
  assert.equal(reason, 'not-synced')
  assert.match(text, /services of its namespace are not known yet .*403/)
})
