/** What the watchdog ends, and what it leaves alone. */

import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { suite, type TestContext, test } from 'node:test'
import { until } from '../common/agent-process.ts'

const FIXTURE = new URL('./watchdog-fixture.ts', import.meta.url).pathname
const END_MS = 20_000

async function watched(
  t: TestContext,
  ...args: string[]
): Promise<{ child: ChildProcessWithoutNullStreams; output(): string }> {
  const child = spawn(process.execPath, [FIXTURE, ...args], { stdio: 'pipe' })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await until(
    () => output.includes('watched'),
    END_MS,
    () => output,
  )
  return { child, output: () => output }
}

suite('the watchdog', () => {
  for (const [what, command] of [
    ['an event loop that stands still', 'spin'],
    ['a socket on which nobody answers', 'go deaf'],
  ] as const) {
    test(`ends a process with ${what}, with exit code 1 and a reason`, async (t) => {
      const { child, output } = await watched(t)
      const ended = once(child, 'exit', { signal: AbortSignal.timeout(END_MS) })
      child.stdin.write(`${command}\n`)
      assert.deepEqual(await ended, [1, null], output())
      assert.match(
        output(),
        /"event":"watchdog-ends-process","why":"own queries to 127\.0\.0\.1 port \d+ over udp failed/,
      )
    })
  }

  test('leaves a process alone that answers others while its own queries are lost', async (t) => {
    const { child, output } = await watched(t)
    child.stdin.write('be flooded\n')
    // A query fails after 100 ms: thirty of them from two sources are beyond the deadline of a second.
    const failures = async (): Promise<number> => {
      const before = output().length
      child.stdin.write('told\n')
      await until(() => /told .* failed\n/.test(output().slice(before)), END_MS, output)
      return Number(/, (\d+) failed/.exec(output().slice(before))![1])
    }
    await until(async () => (await failures()) >= 60, END_MS, output)
    assert.equal(child.exitCode, null)
  })

  test('ends a process whose output nobody reads', async (t) => {
    const { child } = await watched(t)
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(END_MS) })
    child.stdout.pause()
    child.stdin.write('talk\n')
    assert.deepEqual(await ended, [1, null])
  })

  test('counts which of its queries were answered', async (t) => {
    const { child, output } = await watched(t, '60000')
    const told = async (): Promise<[answered: number, failed: number]> => {
      const before = output().length
      child.stdin.write('told\n')
      const line = /told (\d+) answered, (\d+) failed\n/
      await until(() => line.test(output().slice(before)), END_MS, output)
      const [, answered, failed] = line.exec(output().slice(before))!
      return [Number(answered), Number(failed)]
    }
    await until(async () => (await told())[0] >= 4, END_MS, output)
    child.stdin.write('go deaf\n')
    await until(async () => (await told())[1] >= 2, END_MS, output)
  })

  test('leaves a process alone that got no CPU for longer than the deadline', async (t) => {
    const { child, output } = await watched(t)
    const answers = async (): Promise<number> => {
      const before = output().length
      child.stdin.write('count\n')
      await until(() => /answers \d+\n/.test(output().slice(before)), END_MS, output)
      return Number(/answers (\d+)/.exec(output().slice(before))![1])
    }
    child.kill('SIGSTOP')
    // The deadline is 1 s of the clock; there is nothing else to wait for.
    const stoppedAt = performance.now()
    await until(() => performance.now() - stoppedAt > 2_500, END_MS, output)
    child.kill('SIGCONT')
    const before = await answers()
    await until(async () => (await answers()) >= before + 20, END_MS, output)
    assert.equal(child.exitCode, null)
  })
})
