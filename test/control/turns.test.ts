import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { TURN_BUDGET_MS, Turns } from '../../src/control/turns.ts'

function scene() {
  const immediates: (() => void)[] = []
  let nowMs = 0
  const turns = new Turns({ soon: (work) => void immediates.push(work), nowMs: () => nowMs })
  return {
    turns,
    work: (ms: number) => void (nowMs += ms),
    /** The event loop goes round: what is planned now runs, what it plans waits. */
    goRound: () => {
      for (const immediate of immediates.splice(0)) immediate()
    },
    immediates,
  }
}

suite('turns of the control plane', () => {
  test('end when all parts together have used the budget', () => {
    const { turns, work } = scene()
    assert.equal(turns.isSpent(), false)
    work(TURN_BUDGET_MS / 2)
    assert.equal(turns.isSpent(), false)
    // Another part, in the same turn.
    work(TURN_BUDGET_MS / 2)
    assert.equal(turns.isSpent(), true)
  })

  test('begin anew when the event loop has gone round', () => {
    const { turns, work, goRound } = scene()
    turns.isSpent()
    work(TURN_BUDGET_MS)
    goRound()
    assert.equal(turns.isSpent(), false)
  })

  test('are given to one work each, in the order of asking', () => {
    const { turns, goRound } = scene()
    const done: string[] = []
    for (const name of ['list', 'publication', 'events']) turns.later(() => void done.push(name))
    assert.deepEqual(done, [])
    for (const expected of [['list'], ['list', 'publication'], ['list', 'publication', 'events']]) {
      goRound()
      assert.deepEqual(done, expected)
    }
  })

  test('leave nothing planned when there is nothing to do', () => {
    const { turns, goRound, immediates } = scene()
    turns.later(() => undefined)
    goRound()
    goRound()
    assert.equal(immediates.length, 0)
  })

  test('let a long work go on where it was', async () => {
    const { turns, work, goRound } = scene()
    let steps = 0
    const walk = (async () => {
      for (let i = 0; i < 10; i++) {
        steps++
        work(1)
        const pause = turns.breathe()
        if (pause !== undefined) await pause
      }
    })()
    const seen: number[] = []
    for (let round = 0; round < 4; round++) {
      goRound()
      await Promise.resolve()
      seen.push(steps)
    }
    await walk
    assert.deepEqual(seen, [7, 10, 10, 10])
  })
})
