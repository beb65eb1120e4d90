/**
 * The rows of the answer rules (`reference` of the tables in `test/vectors/clusterset`) that no table can hold, because they
 * need another server, a server that goes away, or more addresses than fit, asked of the agent as a process; and the check
 * that every row has its case, in a table or here.
 */

import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { stringify } from 'yaml'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import type { ApiUnderTest, KubernetesObject } from '../common/api-under-test.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { startFakeApiServer } from '../common/fake-api-server.ts'
import { realApiServerFolder, startRealApiServer } from '../common/real-api-server.ts'
import { startUpstream, type TestUpstream } from '../common/upstream.ts'
import { parseVectors, responseFromBytes, type VectorResponse } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'

/** Of the reference: 1 to 50. */
const ROWS = 50

const PTR = 12
const MANY = 200

const IMPORTS = [
  {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { type: 'ClusterSetIP', ips: ['10.42.0.1'], ports: [{ name: 'http', port: 80 }] },
  },
  {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { name: 'many', namespace: 'shop' },
    spec: { type: 'Headless', ports: [] },
  },
] satisfies KubernetesObject[]

const SLICE = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: {
    name: 'many-1',
    namespace: 'shop',
    labels: {
      'multicluster.kubernetes.io/service-name': 'many',
      'multicluster.kubernetes.io/source-cluster': 'east',
    },
  },
  addressType: 'IPv4',
  ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
  endpoints: Array.from({ length: MANY }, (_, i) => ({ addresses: [`10.1.${i >> 4}.${i & 15}`] })),
} satisfies KubernetesObject

const realFolder = realApiServerFolder()
const APIS: readonly { what: string; start(): Promise<ApiUnderTest> }[] = [
  { what: 'the in-repo API server', start: () => startFakeApiServer() },
  ...(realFolder === undefined ? [] : [{ what: 'a real API server', start: () => startRealApiServer(realFolder) }]),
]

const rowsHere = new Set<number>()

function row(number: number, promise: string, body: () => Promise<void>): void {
  rowsHere.add(number)
  test(`row ${number}: ${promise}`, body)
}

async function asked(
  agent: AgentProcess,
  name: string,
  type = 1,
  ask: typeof askUdp = askUdp,
): Promise<VectorResponse> {
  return responseFromBytes(await ask(agent.port, queryBytes({ name, type, class: 1 })))
}

suite('rows of the answer rules that are in no table', () => {
  let upstream: TestUpstream
  let directory: string
  let agent: AgentProcess

  before(async () => {
    upstream = await startUpstream({
      script: (query) =>
        query.type === 'PTR'
          ? query.answer({ answers: [{ type: 'PTR', name: query.name, ttl: 30, data: 'from.upstream' }] })
          : query.answer(),
    })
    directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-rows-'))
    const documents = [...IMPORTS, SLICE].map((object) => stringify(object))
    await writeFile(join(directory, 'objects.yaml'), documents.join('---\n'))
    agent = await startAgentProcess({
      clusterset: { source: 'manifests', manifests: { directory } },
      forward: [{ zones: ['.'], upstreams: [`${upstream.address}:${upstream.port}`], transport: 'udp' }],
    })
  })
  after(async () => {
    await agent?.stop()
    await upstream?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  row(41, "a clusterset IP's PTR is an upstream's business", async () => {
    assert.deepEqual((await asked(agent, 'web.shop.svc.clusterset.local.')).answer, [
      'web.shop.svc.clusterset.local. 5 IN A 10.42.0.1',
    ])
    const { rcode, flags, answer } = await asked(agent, '1.0.42.10.in-addr.arpa.', PTR)
    assert.deepEqual([rcode, flags, answer], ['NOERROR', [], ['1.0.42.10.in-addr.arpa. 30 IN PTR from.upstream.']])
  })

  row(48, 'what does not fit over UDP is a subset and TC, another subset each time; TCP has all', async () => {
    const [one, other] = [
      await asked(agent, 'many.shop.svc.clusterset.local.'),
      await asked(agent, 'many.shop.svc.clusterset.local.'),
    ]
    for (const { rcode, flags, answer } of [one, other]) {
      assert.deepEqual([rcode, flags], ['NOERROR', ['aa', 'tc']])
      assert.ok(answer.length > 0 && answer.length < MANY, String(answer.length))
    }
    assert.notDeepEqual(one.answer.toSorted(), other.answer.toSorted())
    const whole = await asked(agent, 'many.shop.svc.clusterset.local.', 1, askTcp)
    assert.deepEqual([whole.flags, new Set(whole.answer).size], [['aa'], MANY])
  })

  row(50, 'a zone is matched label by label, and other zones are forwarded', async () => {
    for (const name of ['web.shop.svc.xclusterset.local.', 'local.', 'web.shop.svc.clusterset.local.example.']) {
      const { rcode, flags, answer } = await asked(agent, name)
      assert.deepEqual([rcode, flags, answer.length], ['NOERROR', [], 1], name)
      assert.ok(upstream.queries.some((query) => `${query.name}.`.toLowerCase() === name))
    }
    const before = upstream.queries.length
    assert.equal((await asked(agent, 'nothing.shop.svc.clusterset.local.')).rcode, 'NXDOMAIN')
    assert.equal(upstream.queries.length, before)
  })
})

for (const { what, start } of APIS) {
  suite(`rows of the answer rules about ${what}`, () => {
    let api: ApiUnderTest | undefined
    let agent: AgentProcess

    before(async () => {
      api = await start()
      await api.applyMany([...IMPORTS, SLICE])
      const kubernetes = { kubeconfig: await api.kubeconfig() }
      agent = await startAgentProcess({ clusterset: { source: 'kubernetes', kubernetes }, forward: [] })
      await isSaid('nodelocal_mcs_zone_state{state="synced"} 1')
    })
    after(async () => {
      await agent?.stop()
      await api?.stop()
    })
    const isSaid = (line: string): Promise<void> =>
      until(
        async () => (await agent.metrics()).includes(line),
        20_000,
        () => agent.output(),
      )

    row(46, 'the last state is answered when the API is lost, and its age is told', async () => {
      await api!.stop()
      api = undefined
      await until(
        async () => /^nodelocal_mcs_watch_connected\{[^}]*\} 0$/m.test(await agent.metrics()),
        20_000,
        () => agent.output(),
      )
      const { rcode, answer } = await asked(agent, 'web.shop.svc.clusterset.local.')
      assert.deepEqual([rcode, answer], ['NOERROR', ['web.shop.svc.clusterset.local. 5 IN A 10.42.0.1']])
      assert.equal((await asked(agent, 'nothing.shop.svc.clusterset.local.')).rcode, 'NXDOMAIN')
      assert.equal((await asked(agent, 'many.shop.svc.clusterset.local.', 1, askTcp)).answer.length, MANY)
      const ageOf = async (): Promise<number> =>
        Number(/^nodelocal_mcs_zone_last_event_age_seconds (\S+)$/m.exec(await agent.metrics())?.[1])
      const age = await ageOf()
      await until(
        async () => (await ageOf()) > age,
        20_000,
        () => agent.output(),
      )
    })
  })
}

test('every row of the answer rules has its case', async () => {
  const folder = new URL('../vectors/clusterset/', import.meta.url)
  const rows = new Set(rowsHere)
  for (const file of (await readdir(folder)).filter((name) => name.endsWith('.txt'))) {
    for (const { promise } of parseVectors(await readFile(new URL(file, folder), 'utf8')).cases) {
      const named = /^rows? (\d+)(?: and (\d+))?: /.exec(promise)
      for (const number of named?.slice(1) ?? []) if (number !== undefined) rows.add(Number(number))
    }
  }
  assert.deepEqual(
    [...rows].toSorted((one, other) => one - other),
    Array.from({ length: ROWS }, (_, i) => i + 1),
  )
})
