import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { MissKind, MissQueue } from '../../src/serve/miss-queue.ts'

const CONTROL_OCTETS = 16
const PEER_OCTETS = 28

/** A queue of a few hundred octets and what it should hold. */
function bench(octets: number) {
  const queue = new MissQueue(new SharedArrayBuffer(CONTROL_OCTETS + octets))
  const put = (number: number, length: number): number => {
    const bytes = new Uint8Array(PEER_OCTETS + length).fill(number & 255)
    bytes[0] = number >> 8
    return queue.put(MissKind.Query, number % 7, bytes, 0, PEER_OCTETS, PEER_OCTETS, length)
  }
  return { queue, put }
}

suite('miss queue', () => {
  test('hands over misses in the order they came, and drops the oldest when it is full', () => {
    const steps = fc.array(fc.oneof(fc.integer({ min: 0, max: 200 }), fc.constant('take' as const)), { maxLength: 300 })
    fc.assert(
      fc.property(steps, (todo) => {
        const { queue, put } = bench(1024)
        const expected: { number: number; length: number }[] = []
        let number = 0
        for (const step of todo) {
          if (step === 'take') {
            const miss = queue.take()
            const wanted = expected.shift()
            assert.equal(miss === undefined, wanted === undefined)
            if (miss === undefined || wanted === undefined) continue
            assert.equal(miss.query.length, wanted.length)
            assert.equal(miss.socket, wanted.number % 7)
            assert.equal(miss.peer.length, PEER_OCTETS)
            assert.deepEqual([miss.peer[0], miss.peer[1]], [wanted.number >> 8, wanted.number & 255])
            assert.ok(miss.query.every((octet) => octet === (wanted.number & 255)))
          } else {
            const dropped = put(number, step)
            expected.splice(0, dropped)
            expected.push({ number, length: step })
            number++
          }
        }
        assert.ok(expected.length <= 1024 / 44)
      }),
      { numRuns: 500 },
    )
  })

  test('tells the reader once until it looks', () => {
    const { queue, put } = bench(1024)
    assert.equal(queue.mustTell(), false, 'nothing to tell')
    put(1, 10)
    assert.equal(queue.mustTell(), true)
    put(2, 10)
    assert.equal(queue.mustTell(), false)
    queue.looking()
    assert.equal(queue.mustTell(), true, 'one came before it looked')
  })
})
