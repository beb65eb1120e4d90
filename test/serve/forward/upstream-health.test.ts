import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  FAILURES_IN_ROW_MAX,
  TIMEOUT_MS_INITIAL,
  TIMEOUT_MS_MAX,
  TIMEOUT_MS_MIN,
  UpstreamHealth,
} from '../../../src/serve/forward/upstream-health.ts'

suite('upstream health', () => {
  test('waits hundreds of milliseconds for an upstream that it does not know, and longer with every try', () => {
    const health = new UpstreamHealth()
    assert.deepEqual(
      [0, 1, 2].map((tries) => health.timeoutMs(tries)),
      [1, 2, 4].map((times) => times * TIMEOUT_MS_INITIAL),
    )
  })

  test('waits as long as round trips usually take and vary, within limits', () => {
    const near = new UpstreamHealth()
    const far = new UpstreamHealth()
    for (let i = 0; i < 50; i++) {
      near.responded(1, i)
      far.responded(i % 2 === 0 ? 250 : 350, i)
    }
    assert.equal(near.timeoutMs(0), TIMEOUT_MS_MIN)
    assert.ok(far.timeoutMs(0) > 350 && far.timeoutMs(0) < 700, `${far.timeoutMs(0)}`)
    far.responded(60_000, 51)
    assert.equal(far.timeoutMs(0), TIMEOUT_MS_MAX)
  })

  test('is dead after failures in a row, and alive with the first response', () => {
    const health = new UpstreamHealth()
    const news = Array.from({ length: FAILURES_IN_ROW_MAX + 1 }, () => health.failed(400))
    assert.deepEqual(news, [false, false, true, false])
    assert.equal(health.isDead, true)
    assert.equal(health.responded(5, 1), true)
    assert.equal(health.isDead, false)
    assert.equal(health.responded(5, 2), false)
  })

  test('forgives failures that responses stand between', () => {
    const health = new UpstreamHealth()
    for (let i = 0; i < 20; i++) {
      health.failed(400)
      health.failed(400)
      health.responded(5, i)
    }
    assert.equal(health.isDead, false)
  })

  test('falls behind while it is silent, and is judged anew by its first response', () => {
    const health = new UpstreamHealth()
    health.failed(0)
    assert.equal(health.rttMs, TIMEOUT_MS_INITIAL)
    health.responded(4, 1)
    assert.equal(health.rttMs, 4)
    health.failed(400)
    assert.ok(health.rttMs > 4)
  })
})
