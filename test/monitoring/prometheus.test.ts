/** A real Prometheus scrapes a running agent under load; every query of ours and of well-known dashboards must have data. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { encode, type RecordType } from 'dns-packet'
import { parseAllDocuments, stringify } from 'yaml'
import { ALERTS, valueOf } from '../../monitoring/alerts.ts'
import { DASHBOARDS } from '../../monitoring/dashboards/all.ts'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import type { KubernetesObject } from '../common/api-under-test.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { type FakeApiServer, startFakeApiServer } from '../common/fake-api-server.ts'
import { requireProgram } from '../common/requires.ts'
import { startUnbound, type Unbound } from '../common/unbound.ts'
import { QUERIES_OF_OTHERS } from './queries.ts'

/** Seconds between scrapes, and in what the dashboards' rate interval stands for: several scrapes. */
const SCRAPE = '500ms'
const RATE_INTERVAL = '10s'
const JOB = 'kube-system/nodelocal-mcs'
const DATA_MS = 30_000

const NAMES: readonly (readonly [name: string, type: RecordType])[] = [
  ['web.shop.svc.clusterset.local', 'A'],
  ['absent.shop.svc.clusterset.local', 'A'],
  ['web.shop.svc.cluster.local', 'A'],
  ['no-such.shop.svc.cluster.local', 'AAAA'],
  ['www.example.com', 'A'],
]

/** Objects of the examples. */
const EXAMPLES = ['web.yaml', 'db.yaml'].flatMap((file) => {
  const text = readFileSync(new URL(`../../examples/clusterset/${file}`, import.meta.url), 'utf8')
  return parseAllDocuments(text).map((document) => document.toJS() as KubernetesObject)
})

/** An import whose port is another each time. */
function changed(port: number): KubernetesObject {
  return {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { namespace: 'shop', name: 'changing' },
    spec: { type: 'ClusterSetIP', ips: ['10.42.0.99'], ports: [{ name: 'tcp', protocol: 'TCP', port: port + 1 }] },
  }
}

interface PrometheusProcess {
  query(expr: string): Promise<number[]>
  stop(): Promise<void>
}

suite('dashboards and alerts on a real Prometheus', () => {
  let agent: AgentProcess | undefined
  let api: FakeApiServer | undefined
  let upstream: Unbound | undefined
  let prometheus: PrometheusProcess | undefined
  const done = new AbortController()
  let load: Promise<void> | undefined

  before(async () => {
    // The tests skip themselves.
    const context = { skip: () => undefined } as unknown as Parameters<typeof requireProgram>[0]
    const program = requireProgram(context, 'prometheus', 'prometheus')
    if (program === undefined || requireProgram(context, 'unbound', 'unbound') === undefined) return
    api = await startFakeApiServer()
    await api.applyMany(EXAMPLES)
    upstream = await startUnbound(['web.shop.svc.cluster.local. 5 IN A 10.96.1.1', 'www.example.com. 5 IN A 192.0.2.1'])
    agent = await startAgentProcess({
      clusterset: { source: 'kubernetes', kubernetes: { kubeconfig: await api.kubeconfig() } },
      forward: [
        { zones: ['cluster.local'], upstreams: [`127.0.0.1:${upstream.port}`], transport: 'tcp' },
        { zones: ['.'], upstreams: [`127.0.0.1:${upstream.port}`] },
      ],
    })
    await until(
      async () => (await agent!.health('/readyz')).status === 200,
      DATA_MS,
      () => agent!.output(),
    )
    load = drive(agent.port)
    prometheus = await startPrometheus(
      program,
      Number(/"metrics","address":"[^"]*","port":(\d+)/.exec(agent.output())![1]),
    )
  })

  after(async () => {
    done.abort()
    await load
    await prometheus?.stop()
    await agent?.stop()
    await upstream?.stop()
    await api?.stop()
  })

  async function drive(port: number): Promise<void> {
    // Bounded by the suite, and by itself.
    for (let round = 0; round < 3_000 && !done.signal.aborted; round++) {
      const [name, type] = NAMES[round % NAMES.length]!
      const query = encode({ type: 'query', id: round, flags: 0x0100, questions: [{ name, type }] })
      // Something changes too, twice a second.
      if (round % 25 === 0) await api!.apply(changed(round))
      await (round % 7 === 0 ? askTcp(port, query) : askUdp(port, query))
      await sleep(20)
    }
  }

  const demandsData = (title: string, expr: string): void => {
    test(title, async (t) => {
      if (prometheus === undefined) return t.skip('without Prometheus or unbound')
      let values: number[] = []
      await until(
        async () => (values = await prometheus!.query(expr)).some((value) => !Number.isNaN(value)),
        DATA_MS,
        () => `no data: ${expr} gave [${values.join(', ')}]`,
      )
    })
  }

  for (const [file, { title, rows }] of DASHBOARDS) {
    for (const panel of rows.flatMap(({ panels }) => panels)) {
      for (const { expr } of panel.queries) {
        const filled = expr
          .replaceAll('$filter', `job="${JOB}", instance=~".+"`)
          .replaceAll('$__rate_interval', RATE_INTERVAL)
        demandsData(`${file}: ${title}: ${panel.title}: ${expr}`, filled)
      }
    }
  }
  for (const alert of ALERTS)
    demandsData(`alert ${alert.name}`, valueOf(alert).replaceAll(/\[\d+[mh]\]/g, `[${RATE_INTERVAL}]`))
  for (const [origin, expr] of QUERIES_OF_OTHERS)
    demandsData(`${origin}: ${expr}`, expr.replaceAll('[5m]', `[${RATE_INTERVAL}]`))

  test('no alert fires on an agent that is well', async (t) => {
    if (prometheus === undefined) return t.skip('without Prometheus or unbound')
    for (const alert of ALERTS) {
      // What a test's machine does to a process is not the agent's doing.
      if (alert.name === 'NodelocalMcsEventLoopLate') continue
      assert.deepEqual(await prometheus.query(`${valueOf(alert)} ${alert.comparison}`), [], alert.name)
    }
  })

  test('go_goroutines stays absent: there is nothing honest to tell', async (t) => {
    if (prometheus === undefined) return t.skip('without Prometheus or unbound')
    assert.deepEqual(await prometheus.query(`go_goroutines{job="${JOB}"}`), [])
  })
})

async function startPrometheus(program: string, target: number): Promise<PrometheusProcess> {
  const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-prometheus-'))
  const configPath = join(directory, 'prometheus.yaml')
  const scrape = { job_name: JOB, static_configs: [{ targets: [`127.0.0.1:${target}`] }] }
  await writeFile(
    configPath,
    stringify({ global: { scrape_interval: SCRAPE, scrape_timeout: SCRAPE }, scrape_configs: [scrape] }),
  )
  const port = await freePort()
  const child = spawn(
    program,
    [
      `--config.file=${configPath}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const isReady = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(`prometheus ended with ${child.exitCode}: ${output}`)
    return await fetch(`http://127.0.0.1:${port}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    )
  }
  await until(isReady, DATA_MS, () => output)
  return {
    query: async (expr) => {
      const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expr)}`)
      const { status, error, data } = (await response.json()) as {
        status: string
        error?: string
        data?: { result: { value: [number, string] }[] }
      }
      assert.equal(status, 'success', error)
      return data!.result.map(({ value: [, value] }) => Number(value))
    },
    stop: async () => {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
