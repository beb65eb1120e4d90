/** When memory is given back, and when it is not. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MemoryKeeper, type MemoryMachine } from '../../src/agent/memory-keeper.ts'

/** A keeper on a clock and a machine of the test's. `look` lets so much time pass that it looks once. */
function keeper(t: TestContext, machine: Partial<MemoryMachine> = {}) {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const resident = { anonymous: 40, files: 20 }
  const did: string[] = []
  const kept = new MemoryKeeper((error) => void did.push(String(error)), {
    restrainAllocator: () => true,
    sweepHeap: () => void did.push('sweep'),
    trimAllocator: () => Promise.resolve(void did.push('trim')),
    releaseFilePages: () => Promise.resolve(void did.push('release')),
    resident: () => ({ ...resident }),
    ...machine,
  })
  kept.begin()
  const look = async (): Promise<string[]> => {
    did.length = 0
    t.mock.timers.tick(5_000)
    await new Promise(setImmediate)
    return did
  }
  return { kept, resident, did, look }
}

test('sweeps the heap once, at the beginning, and trims at the first look', async (t) => {
  const { did, look } = keeper(t)
  assert.deepEqual(did, ['sweep'])
  assert.deepEqual(await look(), ['trim'])
  assert.deepEqual(await look(), [])
})

test('trims again when six MiB more are resident than after the last time', async (t) => {
  const { resident, look } = keeper(t)
  await look()
  resident.anonymous = 45
  assert.deepEqual(await look(), [])
  resident.anonymous = 46
  assert.deepEqual(await look(), ['trim'])
  resident.anonymous = 51
  assert.deepEqual(await look(), [])
})

test('takes out pages of files when there are more than serving needs', async (t) => {
  const { resident, look } = keeper(t)
  await look()
  resident.files = 32
  assert.deepEqual(await look(), [])
  resident.files = 33
  assert.deepEqual(await look(), ['release'])
})

test('leaves pages of files alone that came back, until there are many more', async (t) => {
  const { resident, look } = keeper(t)
  await look()
  resident.files = 50
  assert.deepEqual(await look(), ['release'])
  resident.files = 40
  assert.deepEqual(await look(), [])
  resident.files = 48
  assert.deepEqual(await look(), [])
  resident.files = 49
  assert.deepEqual(await look(), ['release'])
})

test('does not begin a second time while the first takes', async (t) => {
  const taking = Promise.withResolvers<void>()
  const { did, look } = keeper(t, { trimAllocator: () => (did.push('trim'), taking.promise) })
  assert.deepEqual(await look(), ['trim'])
  assert.deepEqual(await look(), [])
  taking.resolve()
  await new Promise(setImmediate)
})

test('tells a failure once and looks no more', async (t) => {
  const { look } = keeper(t, { trimAllocator: () => Promise.reject(new Error('no')) })
  assert.deepEqual(await look(), ['Error: no'])
  assert.deepEqual(await look(), [])
})

test('does not look where nothing can be given back, and not after its end', async (t) => {
  const { look } = keeper(t, { restrainAllocator: () => false })
  assert.deepEqual(await look(), [])
  t.mock.timers.reset()
  const ended = keeper(t)
  ended.kept.end()
  assert.deepEqual(await ended.look(), [])
})
