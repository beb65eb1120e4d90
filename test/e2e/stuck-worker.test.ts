/** One of several UDP workers stands still: clients whose port leads to it would wait while the others are answered. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { suite, type TestContext, test } from 'node:test'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import { StoppedThread, threadsOf } from '../common/stopped-thread.ts'

const WORKERS = 3
const FOUND_MS = 30_000

/** Milliseconds that a worker waits for datagrams at a time: by this it is known among the threads of the runtime. */
const WORKER_WAIT_MS = 500

async function agentWithStoppedWorker(t: TestContext): Promise<{ agent: AgentProcess; stopped: StoppedThread }> {
  const agent = await startAgentProcess({
    udp: { threads: WORKERS, implementation: 'mmsg' },
    watchdog: { intervalMs: 200, deadlineMs: 3_000 },
  })
  t.after(() => agent.stop())
  const waiting = ` 0x${WORKER_WAIT_MS.toString(16)} `
  const workers = () => threadsOf(agent.process.pid!, 'WorkerThread').filter(({ waitsIn }) => waitsIn.includes(waiting))
  // They wait with a pause in each second, for a moment of which they cannot be told from others.
  await until(
    () => workers().length === WORKERS,
    FOUND_MS,
    () => JSON.stringify(threadsOf(agent.process.pid!, '')),
  )
  const stopped = new StoppedThread(workers()[1]!.thread)
  t.after(() => stopped.release())
  return { agent, stopped }
}

suite('a UDP worker that stands still', () => {
  test('is replaced when it comes back to its senses', async (t) => {
    const { agent, stopped } = await agentWithStoppedWorker(t)
    await until(() => agent.output().includes('"event":"worker-stuck"'), FOUND_MS, agent.output)
    stopped.release()
    await until(() => agent.output().includes('"event":"worker-fallen"'), FOUND_MS, agent.output)
    assert.match(agent.output(), /"event":"worker-fallen","error":"it stood still for \d+ ms"/)
    await until(
      async () => /^nodelocal_mcs_worker_restarts_total 1$/m.test(await agent.metrics()),
      FOUND_MS,
      agent.output,
    )
    assert.equal(agent.process.exitCode, null)
  })

  test('ends the process when it does not', async (t) => {
    const { agent, stopped } = await agentWithStoppedWorker(t)
    await until(() => agent.output().includes('"event":"watchdog-ends-process"'), FOUND_MS, agent.output)
    // The kernel tells of the end of a process when all who hold its threads have let go.
    const ended = once(agent.process, 'exit')
    stopped.release()
    assert.deepEqual(await ended, [1, null])
    assert.match(agent.output(), /"why":"UDP worker \d has stood still for \d+ ms and cannot be replaced"/)
  })
})
