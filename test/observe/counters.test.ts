import assert from 'node:assert/strict'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { BLOCK_BYTES, CELLS_MAX, CounterLabels, TrafficCounters } from '../../src/observe/counters.ts'
import { trafficOf } from '../../src/observe/traffic.ts'

const SERVER = 'dns://127.0.0.1:53'

/** A writer of its own, as a UDP worker is one. */
const WRITER = `
  import { workerData } from 'node:worker_threads'
  const { CounterLabels, TrafficCounters } = await import(workerData.module)
  const counters = new TrafficCounters(new CounterLabels(), workerData.memory)
  for (let i = 0; i < workerData.queries; i++) {
    counters.request(1, 0, 0, 1, 40, false)
    counters.response(1, 0, 'cache', 0.0001, 80, 0)
    counters.cacheHit(1, 'success')
  }
`

suite('counters', () => {
  test('of several writers add up exactly', async () => {
    const queries = 20_000
    const labels = new CounterLabels()
    const cell = labels.cellOf(SERVER, '.')
    assert.equal(cell, 1)
    const memories = [new SharedArrayBuffer(BLOCK_BYTES), new SharedArrayBuffer(BLOCK_BYTES)]
    const module = new URL('../../src/observe/counters.ts', import.meta.url).href
    const url = new URL(`data:text/javascript,${encodeURIComponent(WRITER)}`)
    const workers = memories.map((memory) => new Worker(url, { workerData: { module, memory, queries } }))
    const own = new TrafficCounters(labels)
    for (let i = 0; i < queries; i++) own.request(cell, 1, 0, 1, 40, false)
    await Promise.all(workers.map((worker) => once(worker, 'exit')))

    const blocks = [own, ...memories.map((memory) => new TrafficCounters(labels, memory))]
    const [traffic] = trafficOf(labels, blocks).cells
    const requests = (proto: string) => traffic?.requests.find((one) => one.proto === proto && one.type === 'A')?.count
    assert.equal(requests('udp'), 2 * queries)
    assert.equal(requests('tcp'), queries)
    assert.equal(traffic?.hitsSuccess, 2 * queries)
    assert.equal(traffic.durations.buckets[0], 2 * queries)
    assert.equal(traffic.requestSizes[0]?.sum, 2 * queries * 40)
  })

  test('share the cell "other" when there is no room for one more', () => {
    const labels = new CounterLabels()
    for (let i = 0; i < CELLS_MAX - 1; i++) assert.equal(labels.cellOf(SERVER, `${i}.`), i + 1)
    assert.equal(labels.cellOf(SERVER, 'one-more.'), 0)
    assert.equal(labels.cellOf('dns://127.0.0.2:53', '0.'), 0)
    assert.equal(labels.cellOf(SERVER, '5.'), 6)
    assert.deepEqual(labels.all[0], { server: 'other', zone: 'other' })
  })

  const buckets = [
    { promise: 'a value below the first bound', seconds: 0.0001, bucket: 0 },
    { promise: 'a value equal to a bound', seconds: 0.0005, bucket: 1 },
    { promise: 'a value above a bound', seconds: 0.00050001, bucket: 2 },
    { promise: 'a value above the last bound', seconds: 9, bucket: 16 },
  ]
  for (const { promise, seconds, bucket } of buckets) {
    test(`put into its bucket ${promise}`, () => {
      const labels = new CounterLabels()
      const counters = new TrafficCounters(labels)
      counters.response(labels.cellOf(SERVER, '.'), 0, '', seconds, 80, 0)
      const { durations } = trafficOf(labels, [counters]).cells[0]!
      assert.equal(durations.buckets.indexOf(1), bucket)
      assert.equal(durations.sum, seconds)
    })
  }

  const others = [
    { promise: 'a type that nobody knows', type: 65_280 },
    { promise: 'a type that is known but rare', type: 99 },
  ]
  for (const { promise, type } of others) {
    test(`count as other ${promise}`, () => {
      const labels = new CounterLabels()
      const counters = new TrafficCounters(labels)
      counters.request(labels.cellOf(SERVER, '.'), 0, 0, type, 40, false)
      const { requests } = trafficOf(labels, [counters]).cells[0]!
      assert.deepEqual(
        requests.filter(({ count }) => count > 0).map(({ type }) => type),
        ['other'],
      )
    })
  }
})
