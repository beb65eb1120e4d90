/** A change of the zone is what the next query is told, whatever the workers have copies of, while a node's worth of queries goes on. */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import * as dnsPacket from 'dns-packet'
import { startAgentProcess } from '../common/agent-process.ts'
import { requireProgram } from '../common/requires.ts'

const CHANGES = 25
const CLIENTS = 4
const NAME = 'web.shop.svc.clusterset.local'
const ANSWER_MS = 2_000

const manifestOf = (version: number) => `
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceImport
metadata: { namespace: shop, name: web }
spec: { type: ClusterSetIP, ips: ["10.9.${version >> 8}.${version & 255}"], ports: [{ port: 80 }] }
`

suite('a change under load', () => {
  test('no answer is older than one that was seen before', { timeout: 90_000 }, async (t) => {
    requireProgram(t, 'dnsperf', 'dnsperf')
    const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-change-'))
    const publish = async (version: number) => {
      await writeFile(join(directory, '.next'), manifestOf(version))
      await rename(join(directory, '.next'), join(directory, 'web.yaml'))
    }
    await publish(0)
    const agent = await startAgentProcess({ clusterset: { source: 'manifests', manifests: { directory } } })
    const names = join(directory, '.names')
    await writeFile(names, `${NAME} A\nnobody.shop.svc.clusterset.local A\n`)
    const load: ChildProcess = spawn(
      'dnsperf',
      ['-s', '127.0.0.1', '-p', String(agent.port), '-d', names, '-l', '60', '-Q', '3000'],
      { stdio: 'ignore' },
    )
    const clients = Array.from({ length: CLIENTS }, () => new Client(agent.port))
    t.after(async () => {
      load.kill()
      for (const client of clients) client.close()
      await agent.stop()
      await rm(directory, { recursive: true, force: true })
    })

    const run = { isOver: false, seen: 0 }
    let asked = 0
    const watching = clients.map(async (client) => {
      while (!run.isOver) {
        const seenBefore = run.seen
        const version = await client.ask()
        asked++
        assert.ok(version >= seenBefore, `${version} although somebody had seen ${seenBefore}`)
        run.seen = Math.max(run.seen, version)
      }
    })
    for (let version = 1; version <= CHANGES; version++) {
      await publish(version)
      const endMs = performance.now() + 5_000
      while (run.seen < version) {
        if (performance.now() > endMs) throw new Error(`version ${version} was never seen`)
        await new Promise((resolve) => void setImmediate(resolve))
      }
    }
    run.isOver = true
    await Promise.all(watching)
    assert.equal(load.exitCode, null, 'the load went on to the end')
    assert.ok(asked > CHANGES * CLIENTS)
    const metrics = await agent.metrics()
    assert.match(metrics, /nodelocal_mcs_packet_cache_entries [1-9]/, 'the workers had copies')
  })
})

class Client {
  readonly #socket: Socket = createSocket('udp4')
  readonly #port: number
  #id = 0

  constructor(port: number) {
    this.#port = port
  }

  /** The version that the answer tells. */
  async ask(): Promise<number> {
    this.#id = (this.#id + 1) & 0xffff
    const query = dnsPacket.encode({
      type: 'query',
      id: this.#id,
      flags: dnsPacket.RECURSION_DESIRED,
      questions: [{ type: 'A', name: NAME }],
    })
    this.#socket.send(query, this.#port, '127.0.0.1')
    const [message] = (await once(this.#socket, 'message', { signal: AbortSignal.timeout(ANSWER_MS) })) as [Buffer]
    const { id, answers = [] } = dnsPacket.decode(message)
    assert.equal(id, this.#id)
    const [, , high, low] = (answers[0] as { data: string }).data.split('.').map(Number)
    return (high! << 8) | low!
  }

  close(): void {
    this.#socket.close()
  }
}
