/** The steps of a start, which let others have their turn, and of a stop: each is run, whatever becomes of the others. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { runAllSteps, runSteps, type StopStep } from '../../src/agent/steps.ts'
import { createLog } from '../../src/observe/log.ts'

const never = (): Promise<void> => Promise.withResolvers<void>().promise

async function run(steps: readonly StopStep[], hurry: AbortSignal): Promise<{ what: string; error: string }[]> {
  const lines: string[] = []
  await runAllSteps(steps, createLog('info', { write: (line) => void lines.push(line) }), hurry)
  return lines.map((line) => {
    const { event, what, error } = JSON.parse(line) as Record<string, string>
    assert.equal(event, 'stop-failed')
    return { what: what!, error: error! }
  })
}

suite('the steps of a start', () => {
  test('leave the event loop its turn in between: what one opened is served before the next', async () => {
    const seen: string[] = []
    const steps = ['first', 'second'].map((name) => ({
      name,
      run: () => {
        seen.push(name)
        setImmediate(() => seen.push(`served after the ${name}`))
      },
    }))
    await runSteps(steps, () => false)
    assert.deepEqual(seen, ['first', 'served after the first', 'second', 'served after the second'])
  })

  test('end when it is over, in whatever turn that was said', async () => {
    const seen: string[] = []
    let isOver = false
    const first = { name: 'first', run: () => void setImmediate(() => (isOver = true)) }
    await runSteps([first, { name: 'second', run: () => void seen.push('second') }], () => isOver)
    assert.deepEqual(seen, [])
  })
})

suite('the steps of a stop', () => {
  test('are all run when one throws, rejects, or never ends, and each failure is told', {
    timeout: 60_000,
  }, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const ran: string[] = []
    const told = run(
      [
        {
          name: 'throws',
          run: () => {
            throw new Error('no')
          },
        },
        { name: 'rejects', run: () => Promise.reject(new Error('never')) },
        { name: 'hangs', grantedMs: 60_000, run: never },
        { name: 'last', run: () => void ran.push('last') },
      ],
      new AbortController().signal,
    )
    await turns()
    t.mock.timers.tick(69_999)
    await turns()
    assert.deepEqual(ran, [])
    t.mock.timers.tick(1)
    assert.deepEqual(await told, [
      { what: 'throws', error: 'no' },
      { what: 'rejects', error: 'never' },
      { what: 'hangs', error: 'it takes too long' },
    ])
    assert.deepEqual(ran, ['last'])
  })

  for (const when of ['before it', 'in the middle of it']) {
    test(`have a second each when somebody hurries ${when}`, async (t) => {
      t.mock.timers.enable({ apis: ['setTimeout'] })
      const hurry = new AbortController()
      if (when === 'before it') hurry.abort()
      const told = run(
        [
          { name: 'waits', grantedMs: 60_000, run: never },
          { name: 'waits too', run: never },
        ],
        hurry.signal,
      )
      await turns()
      hurry.abort()
      for (let step = 0; step < 2; step++) {
        t.mock.timers.tick(1_000)
        await turns()
      }
      assert.deepEqual(
        (await told).map(({ what }) => what),
        ['waits', 'waits too'],
      )
    })
  }
})

async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}
