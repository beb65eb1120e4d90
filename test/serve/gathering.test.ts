import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Gathering } from '../../src/serve/gathering.ts'

/** The pause after one datagram each `everyMicros` for `seconds`. */
function pauseAtRate(gathering: Gathering, everyMicros: number, seconds: number, from = 0): number {
  let pause = 0
  for (let micros = 0; micros < seconds * 1e6; micros += everyMicros) {
    pause = gathering.pauseAfter(1, from + micros / 1e6)
  }
  return pause
}

suite('gathering', () => {
  const cases = [
    { promise: 'answers at once at 2,000 queries a second', maxMicros: 200, everyMicros: 500, pause: 0 },
    { promise: 'answers at once when only one more would come', maxMicros: 200, everyMicros: 101, pause: 0 },
    { promise: 'pauses as long as it may at 20,000 queries a second', maxMicros: 200, everyMicros: 50, pause: 200 },
    { promise: 'pauses no longer than eight queries need', maxMicros: 200, everyMicros: 10, pause: 80 },
    { promise: 'never pauses at rates that fill batches by themselves', maxMicros: 200, everyMicros: 2, pause: 0 },
    { promise: 'never pauses when told not to', maxMicros: 0, everyMicros: 50, pause: 0 },
  ]
  for (const { promise, maxMicros, everyMicros, pause } of cases) {
    test(promise, () => {
      const taken = pauseAtRate(new Gathering(maxMicros), everyMicros, 0.1)
      assert.ok(Math.abs(taken - pause) <= 2, `${taken} for ${pause}`)
    })
  }

  test('does not pause after a turn without a datagram', () => {
    const gathering = new Gathering(200)
    pauseAtRate(gathering, 50, 0.1)
    assert.equal(gathering.pauseAfter(0, 0.1001), 0)
  })

  test('answers the first query after a busy time at once', () => {
    const gathering = new Gathering(200)
    assert.equal(pauseAtRate(gathering, 50, 0.1), 200)
    assert.equal(gathering.pauseAfter(1, 3), 0)
  })
})
