/** The bundle as operators run it: what is left out of it or loaded late is not missed. */

import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { type AgentProcess, startAgentProcess, until } from './common/agent-process.ts'
import type { KubernetesObject } from './common/api-under-test.ts'
import { askUdp } from './common/ask.ts'
import { startFakeApiServer } from './common/fake-api-server.ts'
import { responseFromBytes } from './common/vectors.ts'
import { queryBytes } from './common/zone-server.ts'

const ROOT = new URL('..', import.meta.url).pathname
const EXAMPLES = join(ROOT, 'examples/clusterset')
const isBuilt = existsSync(join(ROOT, 'dist/nodelocal-mcs.js'))

suite('the bundle', { skip: isBuilt ? false : 'npm run build has not run' }, () => {
  let home: string
  let main: string

  before(() => {
    home = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-bundle-'))
    cpSync(join(ROOT, 'dist'), join(home, 'dist'), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(home, 'node_modules'))
    writeFileSync(join(home, 'package.json'), '{"type":"module"}')
    main = join(home, 'dist/nodelocal-mcs.js')
  })
  after(() => rmSync(home, { recursive: true, force: true }))

  /** Starts it, to be stopped with the test. */
  async function started(t: TestContext, clusterset: object, forward: readonly object[] = []): Promise<AgentProcess> {
    const agent = await startAgentProcess({ clusterset, forward }, undefined, { main })
    t.after(async () => assert.equal(await agent.stop(), 0, agent.output()))
    await until(
      async () => (await agent.health('/readyz')).status === 200,
      20_000,
      () => agent.output(),
    )
    return agent
  }

  const addressesOf = async (agent: AgentProcess): Promise<string[]> => {
    const query = queryBytes({ name: 'web.shop.svc.clusterset.local.', type: 1, class: 1 })
    const { answer } = responseFromBytes(await askUdp(agent.port, query))
    return answer.map((record) => record.split(/\s+/).at(-1)!)
  }

  test('reads the API server with the token file of a kubeconfig', async (t) => {
    const api = await startFakeApiServer({ tokens: ['let-me-in'] })
    t.after(() => api.stop())
    await api.installCrd(['v1beta1'])
    const text = readFileSync(join(EXAMPLES, 'web.yaml'), 'utf8')
    await api.applyMany(parseAllDocuments(text).map((document) => document.toJS() as KubernetesObject))
    const tokenFile = join(home, 'token')
    writeFileSync(tokenFile, 'let-me-in\n')
    const kubeconfig = await api.kubeconfig({ tokenFile })
    const agent = await started(t, { source: 'kubernetes', kubernetes: { kubeconfig } })
    assert.deepEqual(await addressesOf(agent), ['10.42.0.80'])
  })

  test('speaks TLS to upstreams and tells its metrics, though neither was loaded with the rest', async (t) => {
    const upstream = { zones: ['.'], upstreams: ['127.0.0.1:1#nobody.example'], transport: 'tls' }
    const agent = await started(t, { source: 'none' }, [upstream])
    const query = queryBytes({ name: 'www.example.com.', type: 1, class: 1 })
    assert.equal(responseFromBytes(await askUdp(agent.port, query)).rcode, 'SERVFAIL')
    assert.match(await agent.metrics(), /^process_cpu_seconds_total \d/m)
    assert.doesNotMatch(agent.output(), /query-failed|left out of the bundle/)
  })

  test('comes to rest in 80 MiB of resident memory', { skip: process.platform !== 'linux' }, async (t) => {
    const agent = await started(t, { source: 'manifests', manifests: { directory: EXAMPLES } })
    const residentMib = () => {
      const status = readFileSync(`/proc/${agent.process.pid}/status`, 'latin1')
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024
    }
    await until(
      () => residentMib() < 80,
      60_000,
      () => `${residentMib()} MiB`,
    )
    assert.deepEqual(await addressesOf(agent), ['10.42.0.80'])
    assert.doesNotMatch(agent.output(), /memory-not-given-back/)
  })

  test('runs on manifests without the file for the Kubernetes API, and says that it is missing where it is needed', async (t) => {
    rmSync(join(home, 'dist/nodelocal-mcs-kubernetes.js'))
    assert.ok(readdirSync(join(home, 'dist')).includes('nodelocal-mcs.js'))
    const agent = await started(t, { source: 'manifests', manifests: { directory: EXAMPLES } })
    assert.deepEqual(await addressesOf(agent), ['10.42.0.80'])
    const kubernetes = { source: 'kubernetes', kubernetes: { kubeconfig: '/nowhere' } }
    await assert.rejects(
      () => startAgentProcess({ clusterset: kubernetes, forward: [] }, undefined, { main }),
      /cannot start: .*nodelocal-mcs-kubernetes\.js/,
    )
  })
})
