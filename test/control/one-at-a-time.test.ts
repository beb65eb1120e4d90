import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { oneAtATime } from '../../src/control/one-at-a-time.ts'

suite('one at a time', () => {
  test('whoever asks while the work runs shares the run after it', async () => {
    const runs: PromiseWithResolvers<number>[] = []
    const ask = oneAtATime(() => {
      const run = Promise.withResolvers<number>()
      runs.push(run)
      return run.promise
    })
    const first = [ask(), ask()]
    await setImmediate()
    const second = [ask(), ask(), ask()]
    await setImmediate()
    assert.equal(runs.length, 1)
    runs[0]!.resolve(1)
    assert.deepEqual(await Promise.all(first), [1, 1])
    await setImmediate()
    assert.equal(runs.length, 2)
    runs[1]!.resolve(2)
    assert.deepEqual(await Promise.all(second), [2, 2, 2])
  })

  test('a run that fails is told to those who share it, and the next one runs', async () => {
    let runs = 0
    const ask = oneAtATime(() => Promise.reject(new Error(`run ${++runs}`)))
    await assert.rejects(ask(), /run 1/)
    await assert.rejects(ask(), /run 2/)
  })
})
