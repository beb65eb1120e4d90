import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Freshness } from '../../src/dns/cache/freshness.ts'
import { keyOf } from '../../src/dns/cache/key.ts'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { ROOT } from '../../src/dns/wire/name.ts'
import type { UpstreamResponse } from '../../src/dns/wire/upstream-response.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import type { ForwardResult } from '../../src/serve/forward/forwarder-contract.ts'
import type { ForwardLook } from '../../src/serve/look.ts'
import { STALE_RECHECK_SECONDS } from '../../src/serve/refreshes.ts'
import type { Resolution } from '../../src/serve/resolution.ts'
import { Resolver } from '../../src/serve/resolve.ts'
import type { Route } from '../../src/serve/resolve-parts.ts'
import { questionFor, soa, upstreamResponse } from '../common/wire.ts'

const QUESTION = questionFor('www.example')
const answerOf = (ttl: number, address = '192.0.2.7') =>
  upstreamResponse({ name: 'www.example', answers: [{ type: 'A', name: 'www.example', ttl, data: address }] })
const NAME_ERROR = upstreamResponse({ name: 'www.example', rcode: 3, authorities: [soa('example', 5, 5)] })

/** A resolver with one upstream in the test's hand: its answers, its silence, and the clock. */
function bench(t: TestContext, settings: { serveStale?: boolean; prefetch?: boolean; maxTtlSeconds?: number } = {}) {
  let now = 0
  const panics: unknown[] = []
  let timers: { at: number; call: () => void }[] = []
  const asked: ((result: ForwardResult) => void)[] = []
  let reply: ForwardResult | undefined
  const counts = { hits: 0, misses: 0, stale: 0, prefetches: 0 }
  const recordCache = new RecordCache(1 << 20)
  t.after(() => recordCache.close())
  const route: Route = {
    kind: 'forward',
    label: '.',
    id: 1,
    upstreams: {
      forward: (_question, tell) => {
        asked.push(tell)
        if (reply !== undefined) tell(reply)
      },
      stop: () => Promise.resolve(),
    },
  }
  const resolver = new Resolver(new RouteTable<Route>([[ROOT, route]]), {
    recordCache,
    limits: { minTtlSeconds: 0, maxTtlSeconds: settings.maxTtlSeconds ?? 3600, maxNegativeTtlSeconds: 5 },
    serveStale: settings.serveStale === false ? undefined : { maxStaleSeconds: 3600, clientTimeoutMs: 1800 },
    prefetch: settings.prefetch ?? false,
    zoneOfImpossibleSearchName: () => undefined,
    nowSeconds: () => now,
    onPanic: (error) => panics.push(error),
    after: (delayMs, call) => {
      const timer = { at: now + delayMs / 1000, call }
      timers.push(timer)
      return () => {
        timers = timers.filter((other) => other !== timer)
      }
    },
  })
  const observer = {
    cacheHit: () => counts.hits++,
    cacheMiss: () => counts.misses++,
    staleServed: () => counts.stale++,
    prefetched: () => counts.prefetches++,
  }
  return {
    asked,
    counts,
    panics,
    timersLeft: () => timers.length,
    says(response: UpstreamResponse): void {
      reply = { kind: 'response', response, upstream: 'u' }
    },
    failsWith(reason: 'timeout' | 'unreachable' | 'overloaded'): void {
      reply = { kind: 'failure', reason, detail: '' }
    },
    isSilent(): void {
      reply = undefined
    },
    goTo(seconds: number): void {
      now = seconds
      const due = timers.filter((timer) => timer.at <= now)
      timers = timers.filter((timer) => timer.at > now)
      for (const timer of due) timer.call()
    },
    look(): ForwardLook {
      const look = resolver.lookAt(QUESTION)
      assert.ok(look.kind === 'forward')
      return look
    },
    hits: () => recordCache.peek(keyOf(1, QUESTION))?.hits,
    ask: (): Promise<Resolution> =>
      new Promise((resolved, failed) =>
        resolver.resolve(QUESTION, resolver.routeOf(QUESTION.name), { ...observer, resolved, failed }),
      ),
  }
}

const errorCodes = (resolution: Resolution) => resolution.answer.extendedErrors.map((error) => error.code)

suite('resolve', () => {
  test('asks the upstream once and then answers from the record cache with the age counted off', async (t) => {
    const it = bench(t)
    it.says(answerOf(60))
    assert.equal((await it.ask()).source, 'forward')
    it.goTo(20)
    const second = await it.ask()
    assert.equal(second.source, 'cache')
    assert.equal(second.ttls.ageSeconds, 20)
    assert.equal(it.asked.length, 1)
    assert.deepEqual(it.counts, { hits: 1, misses: 1, stale: 0, prefetches: 0 })
  })

  test('asks again when the lifetime is over', async (t) => {
    const it = bench(t, { serveStale: false })
    it.says(answerOf(60))
    await it.ask()
    it.goTo(60)
    assert.equal((await it.ask()).source, 'forward')
  })

  test('never keeps what has ttl 0', async (t) => {
    const it = bench(t)
    it.says(answerOf(0))
    await it.ask()
    await it.ask()
    assert.equal(it.asked.length, 2)
  })

  test('serves stale with ttl 30 and extended error 3 when the upstream stays silent for the client timeout', async (t) => {
    const it = bench(t)
    it.says(answerOf(30))
    await it.ask()
    it.isSilent()
    it.goTo(60)
    const asking = it.ask()
    it.goTo(61.8)
    const stale = await asking
    assert.deepEqual([stale.ttls.minSeconds, stale.ttls.maxSeconds, errorCodes(stale)], [30, 30, [3]])
    it.asked.at(-1)!({ kind: 'response', response: answerOf(30, '192.0.2.8'), upstream: 'u' })
    await Promise.resolve()
    assert.equal((await it.ask()).source, 'cache', 'the late answer refreshed the cache')
  })

  test('serves stale at once while failures last, and tries again after the recheck time', async (t) => {
    const it = bench(t)
    it.says(answerOf(30))
    await it.ask()
    it.failsWith('timeout')
    it.goTo(60)
    assert.deepEqual(errorCodes(await it.ask()), [3])
    assert.equal(it.timersLeft(), 0)
    assert.deepEqual(errorCodes(await it.ask()), [3])
    assert.equal(it.asked.length, 2)
    it.goTo(60 + STALE_RECHECK_SECONDS)
    it.says(answerOf(30))
    assert.deepEqual(errorCodes(await it.ask()), [])
  })

  test('lets an authoritative name error take the place of stale data', async (t) => {
    const it = bench(t)
    it.says(answerOf(30))
    await it.ask()
    it.goTo(60)
    it.says(NAME_ERROR)
    assert.equal((await it.ask()).answer.rcode, 3)
    assert.equal((await it.ask()).answer.rcode, 3)
  })

  test('remembers a failure for a second and then longer, and says that it is remembered', async (t) => {
    const it = bench(t)
    it.failsWith('timeout')
    assert.deepEqual(errorCodes(await it.ask()), [22])
    assert.deepEqual(errorCodes(await it.ask()), [22, 13])
    it.goTo(1)
    await it.ask()
    it.goTo(2.9)
    await it.ask()
    assert.equal(it.asked.length, 2)
  })

  test('fetches a name that is asked often before it ends, once', async (t) => {
    const it = bench(t, { prefetch: true })
    it.says(answerOf(30))
    for (let i = 0; i < 4; i++) await it.ask()
    it.isSilent()
    it.goTo(27)
    await it.ask()
    await it.ask()
    assert.equal(it.asked.length, 2)
    assert.equal(it.counts.prefetches, 1)
  })

  for (const [what, response] of [
    ['a truncated answer', upstreamResponse({ name: 'www.example', flags: 0x0200 })],
    ['no data without a SOA', upstreamResponse({ name: 'www.example' })],
  ] as const) {
    test(`never keeps ${what}, not even as a failure`, async (t) => {
      const it = bench(t)
      it.says(response)
      await it.ask()
      const second = await it.ask()
      assert.deepEqual([it.asked.length, second.source, errorCodes(second)], [2, 'forward', []])
    })
  }

  for (const [what, response, rcode] of [
    ['an answer with ttl 0', answerOf(0, '192.0.2.8'), 0],
    ['a name error without a SOA', upstreamResponse({ name: 'www.example', rcode: 3 }), 3],
  ] as const) {
    test(`serves no stale answer that ${what} has taken the place of`, async (t) => {
      const it = bench(t)
      it.says(answerOf(30))
      await it.ask()
      it.goTo(60)
      it.says(response)
      assert.equal((await it.ask()).answer.rcode, rcode)
      it.failsWith('timeout')
      assert.equal((await it.ask()).answer.rcode, 2)
    })
  }

  test('serves stale while too much is asked at once, and tries again at the next query', async (t) => {
    const it = bench(t)
    it.says(answerOf(30))
    await it.ask()
    it.goTo(60)
    it.failsWith('overloaded')
    assert.deepEqual(errorCodes(await it.ask()), [3])
    it.says(answerOf(30))
    assert.deepEqual(errorCodes(await it.ask()), [])
  })

  test('says SERVFAIL when the upstream complains of the EDNS between it and us', async (t) => {
    const it = bench(t)
    it.says({ ...upstreamResponse({ name: 'www.example' }), rcode: 16 })
    assert.equal((await it.ask()).answer.rcode, 2)
  })

  test('remembers a refusal that leaves the question out', async (t) => {
    const it = bench(t)
    it.says({ ...upstreamResponse({ name: 'www.example', rcode: 5 }), question: undefined })
    await it.ask()
    assert.equal((await it.ask()).answer.rcode, 5)
    assert.equal(it.asked.length, 1)
  })

  test('tells of a refresh that fails by our own mistake, and refreshes again', async (t) => {
    const it = bench(t, { prefetch: true })
    it.says(answerOf(30))
    for (let i = 0; i < 4; i++) await it.ask()
    it.goTo(27)
    it.says({ ...answerOf(30), facts: undefined } as unknown as UpstreamResponse)
    await it.ask()
    await nextTurn()
    assert.equal(it.panics.length, 1)
    it.says(answerOf(30))
    await it.ask()
    assert.equal(it.counts.prefetches, 2)
  })

  test('refuses a name that no route leads to', (t) => {
    const recordCache = new RecordCache(1 << 20)
    t.after(() => recordCache.close())
    const resolver = new Resolver(new RouteTable<Route>([]), {
      recordCache,
      limits: { minTtlSeconds: 0, maxTtlSeconds: 1, maxNegativeTtlSeconds: 1 },
      serveStale: undefined,
      prefetch: false,
      zoneOfImpossibleSearchName: () => undefined,
      nowSeconds: () => 0,
      onPanic: assert.fail,
      after: () => () => undefined,
    })
    const rcodes: number[] = []
    resolver.resolve(QUESTION, resolver.routeOf(QUESTION.name), {
      resolved: ({ answer }) => rcodes.push(answer.rcode),
      failed: assert.fail,
      cacheHit: assert.fail,
      cacheMiss: assert.fail,
      staleServed: assert.fail,
      prefetched: assert.fail,
    })
    assert.deepEqual(rcodes, [5])
  })
})

suite('a look at a question', () => {
  test('tells that an upstream would be asked, and asks none', (t) => {
    const it = bench(t)
    it.says(answerOf(60))
    const look = it.look()
    assert.deepEqual([look.kept, look.isAsked, look.resolution], [undefined, true, undefined])
    assert.equal(it.asked.length, 0)
    assert.deepEqual(it.counts, { hits: 0, misses: 0, stale: 0, prefetches: 0 })
  })

  test('tells what is kept, and leaves no trace of having looked', async (t) => {
    const it = bench(t)
    it.says(answerOf(60))
    await it.ask()
    it.goTo(20)
    const look = it.look()
    assert.deepEqual([look.freshness, look.isAsked, look.resolution?.ttls.ageSeconds], [Freshness.Fresh, false, 20])
    assert.equal(it.hits(), 0)
    assert.equal(it.counts.hits, 0)
  })

  test('a stale answer is told when the upstream has not answered in time, at once after it failed', async (t) => {
    const it = bench(t)
    it.says(answerOf(30))
    await it.ask()
    it.goTo(60)
    assert.deepEqual([it.look().freshness, it.look().isAsked], [Freshness.Stale, true])
    assert.ok(it.look().resolution)
    it.failsWith('timeout')
    await it.ask()
    it.goTo(65)
    const look = it.look()
    assert.deepEqual([look.isAsked, look.secondsSinceFailedRefresh], [false, 5])
    it.goTo(60 + STALE_RECHECK_SECONDS)
    assert.equal(it.look().isAsked, true)
  })

  test('a remembered failure is told as long as it lasts', async (t) => {
    const it = bench(t)
    it.failsWith('timeout')
    await it.ask()
    assert.deepEqual(
      [it.look().kept?.kind, it.look().isAsked, it.look().resolution?.answer.rcode],
      ['failure', false, 2],
    )
    it.goTo(1)
    assert.deepEqual([it.look().kept?.kind, it.look().isAsked, it.look().resolution], ['failure', true, undefined])
  })

  test('tells when a renewal is due, and starts none', async (t) => {
    const it = bench(t, { prefetch: true })
    it.says(answerOf(100))
    for (let i = 0; i < 5; i++) await it.ask()
    assert.equal(it.look().isPrefetchDue, false)
    it.goTo(95)
    assert.equal(it.look().isPrefetchDue, true)
    assert.equal(it.asked.length, 1)
    it.isSilent()
    await it.ask()
    assert.equal(it.look().isRefreshing, true)
  })
})
