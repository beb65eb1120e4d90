/** How the command ends: with the exit codes that `--help` promises. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { stringify } from 'yaml'
import { startAgentProcess, until } from '../common/agent-process.ts'
import { askUdp } from '../common/ask.ts'
import { startUpstream } from '../common/upstream.ts'

const MAIN = new URL('../../cmd/nodelocal-mcs/main.ts', import.meta.url).pathname
const DEADLINE_MS = 10_000
const LINES_UNREAD = 5_000

/** id 1, RD, one question: www.example.com IN A. */
const QUERY = Buffer.from(
  '0001 0100 0001 0000 0000 0000 03777777 076578616d706c65 03636f6d 00 0001 0001'.replaceAll(' ', ''),
  'hex',
)

suite('signals', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} stops the agent, which ends with 0`, async (t) => {
      const agent = await startAgentProcess({ clusterset: { source: 'none' }, forward: [] })
      t.after(() => agent.stop())
      const ended = once(agent.process, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
      agent.process.kill(signal)
      assert.deepEqual(await ended, [0, null])
    })
  }

  test('SIGHUP, which other servers take for a reload, ends no agent outside of a terminal', async (t) => {
    const agent = await startAgentProcess({ clusterset: { source: 'none' }, forward: [] })
    t.after(() => agent.stop())
    agent.process.kill('SIGHUP')
    assert.equal((await agent.health('/healthz')).status, 200)
    const ended = once(agent.process, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
    agent.process.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
  })

  test('SIGTERM in the middle of the start stops gracefully too, and SIGUSR1 then opens no debugger', async (t) => {
    const home = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-'))
    t.after(() => rm(home, { recursive: true, force: true }))
    const config = join(home, 'config.yaml')
    // A source that never gets ready holds the start up for a moment.
    await writeFile(
      config,
      stringify({
        listen: { port: 0 },
        clusterset: { source: 'manifests', manifests: { directory: join(home, 'missing') } },
        forward: [],
        metrics: { address: '127.0.0.1:0' },
        health: { address: '127.0.0.1:0' },
      }),
    )
    const child = spawn(process.execPath, [MAIN, 'run', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] })
    t.after(() => child.kill('SIGKILL'))
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
    let output = ''
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    const started = Promise.withResolvers<void>()
    child.stdout.on('data', (chunk: Buffer) => {
      if (chunk.includes('"event":"starting"')) started.resolve()
    })
    await started.promise
    child.kill('SIGUSR1')
    child.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
    assert.doesNotMatch(output, /Debugger/)
  })

  test('SIGUSR1 makes it forget all that upstreams said, and go on', async (t) => {
    const upstream = await startUpstream()
    t.after(() => upstream.stop())
    const agent = await startAgentProcess({
      clusterset: { source: 'none' },
      forward: [{ zones: ['.'], upstreams: [`127.0.0.1:${upstream.port}`] }],
    })
    t.after(() => agent.stop())
    for (let i = 0; i < 3; i++) await askUdp(agent.port, QUERY)
    assert.equal(upstream.queries.length, 1)
    agent.process.kill('SIGUSR1')
    await until(
      () => agent.output().includes('"cache-flushed"'),
      DEADLINE_MS,
      () => agent.output(),
    )
    await askUdp(agent.port, QUERY)
    assert.equal(upstream.queries.length, 2)
  })

  test('a second signal, of either kind, does not wait for queries under way, and ends with 1', async (t) => {
    const upstream = createSocket('udp4')
    upstream.bind(0, '127.0.0.1')
    await once(upstream, 'listening')
    const client = createSocket('udp4')
    t.after(() => {
      upstream.close()
      client.close()
    })
    const agent = await startAgentProcess({
      clusterset: { source: 'none' },
      forward: [{ zones: ['.'], upstreams: [`127.0.0.1:${upstream.address().port}`] }],
      shutdown: { drainMs: 60_000 },
    })
    t.after(() => agent.stop())
    const asked = once(upstream, 'message', { signal: AbortSignal.timeout(DEADLINE_MS) })
    client.send(QUERY, agent.port, '127.0.0.1')
    await asked // and never answered: the query stays under way
    const ended = once(agent.process, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
    agent.process.kill('SIGTERM')
    agent.process.kill('SIGINT')
    assert.deepEqual(await ended, [1, null])
  })

  test('a log that nobody reads keeps it neither from answering nor from stopping', async (t) => {
    const agent = await startAgentProcess({
      clusterset: { source: 'none' },
      forward: [],
      log: { queries: 'all' },
    })
    t.after(() => agent.process.kill('SIGKILL'))
    const client = createSocket('udp4')
    t.after(() => client.close())
    client.connect(agent.port, '127.0.0.1')
    await once(client, 'connect')
    agent.process.stdout!.pause()
    // Each is a line of 200 octets and more: far more than pipe and socket buffers hold.
    for (let answered = 0; answered < LINES_UNREAD; answered++) {
      client.send(QUERY)
      await once(client, 'message', { signal: AbortSignal.timeout(DEADLINE_MS) })
    }
    const ended = once(agent.process, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
    agent.process.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
  })
})
