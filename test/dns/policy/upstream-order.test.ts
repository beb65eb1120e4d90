import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { EXPLORE_ONE_IN, orderUpstreams } from '../../../src/dns/policy/upstream-order.ts'

const of = (name: string, rttMs: number | undefined, isDead = false, answeredAtMs = 0) => ({
  name,
  rttMs,
  isDead,
  answeredAtMs,
})
const NEVER_EXPLORES = (): number => 0.999
const order = (upstreams: ReturnType<typeof of>[], random = NEVER_EXPLORES): string =>
  orderUpstreams(upstreams, random)
    .map(({ name }) => name)
    .join(' ')

suite('upstream order', () => {
  const cases = [
    { promise: 'the fastest first', upstreams: [of('a', 90), of('b', 30), of('c', 60)], is: 'b c a' },
    { promise: 'the living before the dead', upstreams: [of('a', 1, true), of('b', 300)], is: 'b a' },
    {
      promise: 'of the dead, first who answered last',
      upstreams: [of('a', 1, true, 10), of('b', 1, true, 30), of('c', 1, true, 20)],
      is: 'b c a',
    },
    { promise: 'one never asked before all that are slow', upstreams: [of('a', 40), of('b', undefined)], is: 'b a' },
    { promise: 'a single one', upstreams: [of('a', undefined)], is: 'a' },
    { promise: 'nobody', upstreams: [], is: '' },
  ]
  for (const { promise, upstreams, is } of cases) test(promise, () => assert.equal(order(upstreams), is))

  test('lets those about as fast share the load', () => {
    let seed = 1
    const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647
    const firsts = { a: 0, b: 0, c: 0 }
    for (let i = 0; i < 3_000; i++) {
      firsts[order([of('a', 3), of('b', 8), of('c', 80)], random)[0] as 'a' | 'b' | 'c']++
    }
    assert.ok(Math.abs(firsts.a - firsts.b) < 300, JSON.stringify(firsts))
    // The slow one is asked now and then, or it would stay slow for ever in our memory.
    assert.ok(firsts.c > 0 && firsts.c < (2 * 3_000) / EXPLORE_ONE_IN, JSON.stringify(firsts))
  })

  test('leaves the list that it was given alone', () => {
    const upstreams = Object.freeze([of('a', 90), of('b', 30, true), of('c', 30)])
    orderUpstreams(upstreams, () => 0)
    assert.deepEqual(
      upstreams.map(({ name }) => name),
      ['a', 'b', 'c'],
    )
  })
})
