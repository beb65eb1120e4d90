/** What clients over TCP hear of edns-tcp-keepalive (RFC 7828) while the agent runs, stops, and leaves to another one. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import dnsPacket from 'dns-packet'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'

const SOON_MS = 20_000
const TCP_KEEPALIVE = 11

/** The agent's own name: answered without an upstream. */
const NAME = 'who.self.nodelocal-mcs.invalid'

/** A connection that is asked one thing after another; each answer is the timeout of its option in deciseconds, null without one. */
class Asking {
  readonly #socket
  #held = Buffer.alloc(0)
  isEnded = false

  constructor(t: TestContext, port: number) {
    this.#socket = connect(port, '127.0.0.1')
    this.#socket.on('data', (chunk: Buffer) => (this.#held = Buffer.concat([this.#held, chunk])))
    this.#socket.on('end', () => (this.isEnded = true))
    t.after(() => this.#socket.destroy())
  }

  async ask(wantsKeepalive: boolean): Promise<number | null> {
    const options = wantsKeepalive ? [{ code: TCP_KEEPALIVE, data: Buffer.alloc(0) }] : []
    this.#socket.write(
      dnsPacket.streamEncode({
        type: 'query',
        id: 1,
        questions: [{ type: 'TXT', name: NAME }],
        additionals: [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: 1232,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options,
          } as never,
        ],
      }),
    )
    await until(
      () => this.#held.length > 2 && this.#held.length >= 2 + this.#held.readUInt16BE(0),
      SOON_MS,
      () => 'no answer',
    )
    const { additionals = [] } = dnsPacket.decode(this.#held.subarray(2))
    this.#held = Buffer.alloc(0)
    const opt = additionals.find(({ type }) => type === 'OPT') as unknown as {
      options: { code: number; data: Buffer }[]
    }
    const option = opt.options.find(({ code }) => code === TCP_KEEPALIVE)
    return option === undefined ? null : option.data.readUInt16BE(0)
  }
}

function stopping(agent: AgentProcess): Promise<unknown> {
  const ended = once(agent.process, 'exit')
  agent.process.kill('SIGTERM')
  return ended
}

/** Nobody has it now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

suite('edns-tcp-keepalive', () => {
  test('tells the idle time, and 0 from the moment on when the agent is told to stop; who has not asked hears nothing', async (t) => {
    const agent = await startAgentProcess({
      tcp: { idleTimeoutMs: 30_000 },
      shutdown: { lingerMs: 1_500, drainMs: 1_500 },
    })
    t.after(() => agent.stop())
    const asking = new Asking(t, agent.port)
    const other = new Asking(t, agent.port)
    assert.equal(await asking.ask(true), 300)
    assert.equal(await other.ask(false), null)
    const ended = stopping(agent)
    await until(async () => (await asking.ask(true)) === 0, SOON_MS, agent.output)
    assert.equal(await other.ask(false), null)
    // Everything that is asked after that is answered as well, until the agent ends the connection itself.
    assert.equal(await asking.ask(true), 0)
    await until(() => asking.isEnded && other.isEnded, SOON_MS, agent.output)
    assert.deepEqual(await ended, [0, null], agent.output())
  })

  test('never tells 0 where another agent takes the connection over', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'nlm-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const shared = {
      listen: { port: await freePort() },
      host: { stateDirectory: join(directory, 'state') },
      tcp: { idleTimeoutMs: 30_000 },
    }
    const old = await startAgentProcess(shared)
    t.after(() => old.stop())
    const asking = new Asking(t, old.port)
    assert.equal(await asking.ask(true), 300)
    const next = await startAgentProcess(shared)
    t.after(() => next.stop())
    await until(() => next.output().includes('"event":"ready"'), SOON_MS, next.output)
    const ended = stopping(old)
    // Before, while and after it changes hands.
    do assert.equal(await asking.ask(true), 300)
    while (old.process.exitCode === null)
    await ended
    assert.equal(await asking.ask(true), 300)
    assert.equal(asking.isEnded, false)
    assert.match(next.output(), /"event":"connections-taken-over"/)
  })
})
