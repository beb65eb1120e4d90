import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { RecordCache, SWEEP_ENTRIES_MAX } from '../../../src/serve/cache/record-cache.ts'
import { upstreamResponse } from '../../common/wire.ts'

const ANSWER = upstreamResponse({
  name: 'www.example',
  answers: [{ type: 'A', name: 'www.example', ttl: 60, data: '192.0.2.1' }],
}).answer

function entry(key: string, answer = ANSWER) {
  return { key, answer, kind: 'positive' as const, upstream: 'u', route: 1, keptAtSeconds: 0, lifetimeSeconds: 60 }
}

suite('record cache', () => {
  test('never grows beyond its bytes and never throws when full', (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    for (let i = 0; i < 10_000; i++) cache.keep(entry(`name${i}`), 60)
    const status = cache.status()
    assert.ok(status.bytes <= 64 * 1024)
    assert.ok(status.positiveEntries > 50)
    assert.equal(status.evictions, 10_000 - status.positiveEntries)
  })

  test('keeps the names that are asked for through a flood of names that are not', (t) => {
    const cache = new RecordCache(128 * 1024)
    t.after(() => cache.close())
    const hot = Array.from({ length: 50 }, (_, i) => `hot${i}`)
    for (const key of hot) cache.keep(entry(key), 60)
    for (let i = 0; i < 20_000; i++) {
      cache.keep(entry(`random${i}`), 60)
      if (i % 2 === 0) cache.find(hot[(i / 2) % hot.length]!)
    }
    assert.deepEqual(
      hot.filter((key) => cache.peek(key) === undefined),
      [],
    )
  })

  test('keeps through a flood what others answer for, and loses what nobody does', (t) => {
    const keptOf = (isAnswered: boolean) => {
      const cache = new RecordCache(128 * 1024, (key) => isAnswered && key === 'hot')
      t.after(() => cache.close())
      cache.keep(entry('hot'), 60)
      for (let i = 0; i < 5_000; i++) cache.keep(entry(`random${i}`), 60)
      return cache.peek('hot') !== undefined
    }
    assert.equal(keptOf(true), true)
    assert.equal(keptOf(false), false)
  })

  test('refuses an answer larger than its share instead of clearing itself for it', (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    cache.keep(entry('small'), 60)
    assert.equal(cache.keep(entry('large', { ...ANSWER, message: new Uint8Array(60_000) }), 60), false)
    assert.notEqual(cache.peek('small'), undefined)
    assert.equal(cache.status().refusals, 1)
  })

  test('replaces an entry without counting it twice', (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    cache.keep(entry('same'), 60)
    const { bytes } = cache.status()
    cache.keep(entry('same'), 60)
    assert.equal(cache.status().bytes, bytes)
    assert.equal(cache.status().positiveEntries, 1)
  })

  test('sweeps what is over a step at a time, whatever is kept or forgotten in between', async (t) => {
    let nowMs = 1e12
    t.mock.method(Date, 'now', () => nowMs)
    const cache = new RecordCache(64 * 1024 * 1024)
    t.after(() => cache.close())
    const count = 3 * SWEEP_ENTRIES_MAX
    for (let i = 0; i < count; i++) cache.keep(entry(`name${i}`), i % 2 === 0 ? 60 : 6000)
    nowMs += 61_000
    cache.sweep()
    assert.equal(cache.status().positiveEntries, count - SWEEP_ENTRIES_MAX / 2)
    cache.forget(`name${SWEEP_ENTRIES_MAX}`) // the one that the sweep would go on with
    cache.keep(entry('new'), 60)
    for (let step = 0; step < 3; step++) cache.sweep()
    assert.equal(cache.status().positiveEntries, count / 2 + 1)
    cache.sweep()
    assert.equal((await cache.entries(() => true, count)).length, count / 2 + 1)
  })

  test('counts what extended errors and wide keys take', (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    cache.keep(entry('k'), 60)
    const { bytes } = cache.status()
    cache.keep(entry('k', { ...ANSWER, extendedErrors: [{ code: 3, text: 'x'.repeat(100) }] }), 60)
    assert.equal(cache.status().bytes, bytes + 200)
  })

  test('flushes what is picked, or all', async (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    for (const key of ['one', 'two', 'three']) cache.keep(entry(key), 60)
    assert.equal(await cache.flushIf((kept) => kept.key === 'two'), 1)
    const left = await cache.entries(() => true, 10)
    assert.deepEqual(
      left.map((kept) => kept.key),
      ['one', 'three'],
    )
    assert.equal((await cache.entries(() => true, 1)).length, 1)
    assert.equal(cache.flush(), 2)
    assert.equal(cache.status().bytes, 0)
    assert.equal(cache.find('one'), undefined)
    cache.keep(entry('after'), 60)
    assert.equal(cache.status().positiveEntries, 1)
  })

  test('lets others have their turn while it looks through many entries, and bears what they do', async (t) => {
    const cache = new RecordCache(64 * 1024 * 1024)
    t.after(() => cache.close())
    const count = 3 * SWEEP_ENTRIES_MAX
    for (let i = 0; i < count; i++) cache.keep(entry(`name${i}`), 60)
    let looked = 0
    const flushing = cache.flushIf(({ key }) => {
      looked++
      return key.endsWith('0')
    })
    assert.equal(looked, SWEEP_ENTRIES_MAX)
    cache.forget(`name${SWEEP_ENTRIES_MAX}`) // the one that the walk would go on with
    cache.keep(entry('new'), 60)
    assert.equal(await flushing, count / 10 - 1)
    assert.equal(cache.status().positiveEntries, count - count / 10 + 1)
    const finding = cache.entries(() => true, count)
    cache.flush()
    cache.keep(entry('afterwards'), 60)
    assert.ok((await finding).length <= SWEEP_ENTRIES_MAX + 1)
  })

  test('an entry that was looked up stays as it was, whoever has its place by now', (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    cache.keep({ ...entry('looked up'), lifetimeSeconds: 7, upstream: 'first' }, 60)
    const before = cache.peek('looked up')!
    for (let i = 0; i < 1_000; i++) cache.keep({ ...entry(`name${i}`), upstream: 'another' }, 60)
    assert.equal(cache.peek('looked up'), undefined)
    const { key, lifetimeSeconds, upstream, answer } = before
    assert.deepEqual({ key, lifetimeSeconds, upstream }, { key: 'looked up', lifetimeSeconds: 7, upstream: 'first' })
    assert.deepEqual(Uint8Array.from(answer.message), Uint8Array.from(ANSWER.message))
  })

  test('has exactly what was kept and not forgotten, by whatever keys and in whatever order', (t) => {
    const cache = new RecordCache(16 * 1024 * 1024, undefined, 1)
    t.after(() => cache.close())
    const kept = new Map<string, number>()
    let chance = 1
    const draw = (below: number) => {
      chance = (Math.imul(chance, 1_103_515_245) + 12_345) & 0x7fff_ffff
      return (chance >> 8) % below
    }
    for (let step = 1; step <= 60_000; step++) {
      // Many more keys than there are chains at first: the chains are long, and made anew more than once.
      const key = `name${draw(6_000)}`
      if (draw(3) > 0) {
        cache.keep({ ...entry(key), lifetimeSeconds: step }, 60)
        kept.set(key, step)
      } else {
        cache.forget(key)
        kept.delete(key)
      }
      if (step === 30_000) {
        assert.equal(cache.flush(), kept.size)
        kept.clear()
      }
    }
    for (let i = 0; i < 6_000; i++) {
      assert.equal(cache.peek(`name${i}`)?.lifetimeSeconds, kept.get(`name${i}`), `name${i}`)
    }
    assert.equal(cache.status().positiveEntries, kept.size)
  })

  test('gives an answer back as it was', (t) => {
    const cache = new RecordCache(64 * 1024)
    t.after(() => cache.close())
    const message = Uint8Array.from({ length: 700 }, (_, i) => i % 256)
    const answer = {
      message,
      rcode: 3,
      flags: 0x20,
      ttlOffsets: Uint16Array.of(12, 300, 690),
      extendedErrors: [{ code: 22, text: 'äöü' }],
    }
    cache.keep(entry('all octets', answer), 60)
    const kept = cache.find('all octets')!.answer
    assert.deepEqual({ ...kept, message: Uint8Array.from(kept.message) }, answer)
    message.fill(0)
    assert.equal(cache.find('all octets')!.answer.message[255], 255)
  })
})
