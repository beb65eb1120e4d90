import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  type Deadline,
  DeadlineWheel,
  HORIZON_MS,
  NOT_WAITING,
  TICK_MS,
} from '../../../src/serve/forward/deadline-wheel.ts'

/** A wheel and the clock in the test's hand. */
function wheelAt(startMs: number) {
  let nowMs = startMs
  const wheel = new DeadlineWheel(() => nowMs)
  const reached: string[] = []
  const deadline = (name: string): Deadline => ({
    dueTick: NOT_WAITING,
    before: undefined,
    after: undefined,
    deadlineReached: () => void reached.push(name),
  })
  const pass = (ms: number): string[] => {
    nowMs += ms
    wheel.advance()
    return reached.splice(0)
  }
  return { wheel, deadline, pass, stop: () => wheel.stop() }
}

suite('deadline wheel', () => {
  test('is never early and two ticks late at most, at whatever point of a tick it was set', () => {
    for (const startMs of [0, 3, 9.9, 12_345.6]) {
      for (const delayMs of [1, 9, 10, 11, 405, 4_500]) {
        const { wheel, deadline, pass, stop } = wheelAt(startMs)
        wheel.set(deadline('a'), delayMs)
        assert.deepEqual(pass(delayMs - 0.05), [], `${delayMs} from ${startMs}`)
        assert.deepEqual(pass(2 * TICK_MS + 0.1), ['a'], `${delayMs} from ${startMs}`)
        stop()
      }
    }
  })

  test('forgets a deadline that was cancelled, and reaches one that was moved once', () => {
    const { wheel, deadline, pass, stop } = wheelAt(0)
    const [cancelled, moved] = [deadline('cancelled'), deadline('moved')]
    wheel.set(cancelled, 50)
    wheel.set(moved, 50)
    wheel.cancel(cancelled)
    wheel.set(moved, 100)
    assert.deepEqual(pass(80), [])
    assert.deepEqual(pass(50), ['moved'])
    assert.deepEqual(pass(500), [])
    stop()
  })

  test('cuts waits that are longer than it is round', () => {
    const { wheel, deadline, pass, stop } = wheelAt(0)
    wheel.set(deadline('long'), 10 * HORIZON_MS)
    assert.deepEqual(pass(HORIZON_MS - TICK_MS), [])
    assert.deepEqual(pass(4 * TICK_MS), ['long'])
    stop()
  })

  test('reaches everything in order when the clock jumps', () => {
    const { wheel, deadline, pass, stop } = wheelAt(0)
    for (const [name, delayMs] of [
      ['c', 3_000],
      ['a', 20],
      ['b', 500],
    ] as const)
      wheel.set(deadline(name), delayMs)
    assert.deepEqual(pass(1_000_000), ['a', 'b', 'c'])
    wheel.set(deadline('d'), 20)
    assert.deepEqual(pass(50), ['d'])
    stop()
  })
})
