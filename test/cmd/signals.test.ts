/** How the command ends: with the exit codes that `--help` promises. */

import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { startAgentProcess } from '../common/agent-process.ts'

const DEADLINE_MS = 10_000

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
})
