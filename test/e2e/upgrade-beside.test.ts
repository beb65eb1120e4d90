/**
 * Two agents share a port while one takes over from the other: clients hear from the new one only what it knows. From the moment on when
 * it listens the kernel gives it some of the queries, so before that it must have seen the whole zone.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { type FakeApiServer, startFakeApiServer } from '../common/fake-api-server.ts'
import { responseFromBytes } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'

const SERVICE = {
  apiVersion: 'multicluster.x-k8s.io/v1beta1',
  kind: 'ServiceImport',
  metadata: { namespace: 'shop', name: 'cart' },
  spec: { type: 'ClusterSetIP', ips: ['10.42.0.9'], ports: [{ name: 'tcp', protocol: 'TCP', port: 80 }] },
}
const QUERY = queryBytes({ name: 'cart.shop.svc.clusterset.local.', type: 1, class: 1 })

/** Clients that ask beside each other, over each transport. */
const CLIENTS = 4

interface Beside {
  readonly api: FakeApiServer
  readonly old: AgentProcess
  /** Starts another one on the same port and in the same state directory. */
  startNext(): Promise<AgentProcess>
}

/** An agent that knows the zone and is ready. */
async function besideOne(t: TestContext): Promise<Beside> {
  const api = await startFakeApiServer()
  t.after(() => api.stop())
  await api.installCrd(['v1beta1'])
  await api.applyMany([SERVICE])
  const config = {
    clusterset: { source: 'kubernetes', kubernetes: { kubeconfig: await api.kubeconfig() } },
    forward: [],
    shutdown: { handoverMs: 10_000, lingerMs: 100, drainMs: 500 },
  }
  const stateDirectory = await mkdtemp(join(tmpdir(), 'nlm-'))
  t.after(() => rm(stateDirectory, { recursive: true, force: true }))
  const start = async (port: number, startedBy?: RegExp): Promise<AgentProcess> => {
    const program = startedBy === undefined ? {} : { startedBy }
    const agent = await startAgentProcess({ ...config, listen: { port }, host: { stateDirectory } }, undefined, program)
    t.after(() => agent.stop())
    return agent
  }
  const old = await start(await freePort())
  await until(() => /"event":"ready"/.test(old.output()), 30_000, old.output)
  return { api, old, startNext: () => start(old.port, /"event":"instance-joined"/) }
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

/** Asks without a pause, each time from a new socket, until it is stopped. */
function startAsking(port: number): { answered(): number; stop(): Promise<Record<string, number>> } {
  const heard: Record<string, number> = {}
  let answered = 0
  const stopped = new AbortController()
  const client = async (ask: typeof askUdp): Promise<void> => {
    while (!stopped.signal.aborted) {
      const said = await ask(port, QUERY).then(
        (bytes) => {
          const { rcode, answer } = responseFromBytes(bytes)
          return [rcode, ...answer.map((record) => record.split(/\s+/).at(-1))].join(' ')
        },
        (error: Error) => error.message,
      )
      heard[said] = (heard[said] ?? 0) + 1
      answered++
      await sleep(1)
    }
  }
  const clients = Array.from({ length: CLIENTS }, () => [client(askUdp), client(askTcp)]).flat()
  return {
    answered: () => answered,
    async stop() {
      stopped.abort()
      await Promise.all(clients)
      return heard
    },
  }
}

suite('an agent that starts beside another', () => {
  test('answers nobody before it knows the zone, and then takes over: no client hears a failure, or nothing', async (t) => {
    const { api, old, startNext } = await besideOne(t)
    const client = startAsking(old.port)
    api.faults.hold({ verb: 'list' })
    api.faults.hold({ verb: 'watch' })
    const next = await startNext()
    await until(() => /waits-beside-others/.test(next.output()), 30_000, next.output)
    // It had every reason to go on by now, if it did not wait.
    const asked = client.answered()
    await until(
      () => client.answered() > asked + 500,
      30_000,
      () => `${client.answered()}`,
    )
    assert.doesNotMatch(next.output(), /udp-implementation/)
    assert.equal((await next.health('/healthz')).status, 200)
    assert.equal((await next.health('/readyz')).status, 503)
    api.faults.lift()
    await until(() => /"event":"ready"/.test(next.output()), 30_000, next.output)
    const oldEnded = once(old.process, 'exit')
    old.process.kill('SIGTERM')
    await oldEnded
    assert.match(old.output(), /"event":"successor-ready"/)
    const after = client.answered()
    await until(
      () => client.answered() > after + 100,
      30_000,
      () => `${client.answered()}`,
    )
    assert.deepEqual(Object.keys(await client.stop()), ['NOERROR 10.42.0.9'])
  })

  test('listens without the zone once the other is gone: other names are answered by somebody', async (t) => {
    const { api, old, startNext } = await besideOne(t)
    api.faults.hold({ verb: 'list' })
    api.faults.hold({ verb: 'watch' })
    const next = await startNext()
    await until(() => /waits-beside-others/.test(next.output()), 30_000, next.output)
    const oldEnded = once(old.process, 'exit')
    old.process.kill('SIGKILL')
    await oldEnded
    await until(() => /"event":"started"/.test(next.output()), 30_000, next.output)
    const { rcode } = responseFromBytes(await askTcp(old.port, QUERY))
    assert.equal(rcode, 'SERVFAIL')
  })
})
