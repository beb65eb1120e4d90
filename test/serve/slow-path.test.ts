import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Answer } from '../../src/dns/answer.ts'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { authoredAnswer } from '../../src/dns/wire/authored.ts'
import { ROOT } from '../../src/dns/wire/name.ts'
import type { Question } from '../../src/dns/wire/query.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import type { ForwardResult } from '../../src/serve/forward/forwarder-contract.ts'
import { type Arrival, Transport } from '../../src/serve/query-handler.ts'
import { Resolver } from '../../src/serve/resolve.ts'
import type { Route } from '../../src/serve/resolve-parts.ts'
import { SlowPath } from '../../src/serve/slow-path.ts'
import { QUIET_TRAFFIC } from '../common/quiet-traffic.ts'
import { hex, upstreamResponse } from '../common/wire.ts'

const QUERY = hex('abcd 0100 0001 0000 0000 0000 03 777777 07 6578616d706c65 00 0001 0001')
const RESPONSE: ForwardResult = { kind: 'response', response: upstreamResponse({ name: 'www.example' }), upstream: 'u' }

/** A slow path over one route; what it said, and what it complained of. */
function bench(route: Route) {
  const recordCache = new RecordCache(1 << 16)
  recordCache.close()
  const panics: unknown[] = []
  const responses: Uint8Array[] = []
  const nothing = () => undefined
  const resolver = new Resolver(new RouteTable<Route>([[ROOT, route]]), {
    recordCache,
    limits: { minTtlSeconds: 0, maxTtlSeconds: 30, maxNegativeTtlSeconds: 5 },
    serveStale: undefined,
    prefetch: false,
    zoneOfImpossibleSearchName: () => undefined,
    nowSeconds: () => 0,
    onPanic: (error) => panics.push(error),
    after: () => () => undefined,
  })
  const path = new SlowPath({
    resolver: () => resolver,
    traffic: QUIET_TRAFFIC,
    queryLog: () => ({ level: 'none', query: nothing }),
    nowSeconds: () => 0,
    onPanic: (error) => panics.push(error),
    rotates: () => false,
    keepaliveDeciseconds: () => 100,
  })
  const ask = (respond: Arrival['respond'] = (response) => responses.push(response), transport: Transport = 0) =>
    path.handle({
      message: QUERY,
      transport,
      family: 0,
      server: 'dns://127.0.0.1:53',
      clientAddress: '127.0.0.1',
      respond,
      drop: nothing,
    })
  return { panics, responses, ask }
}

const zoneRoute = (answer: (question: Question) => Answer): Route => ({ kind: 'zone', label: '.', answer })
const forwardRoute = (result: ForwardResult): Route => ({
  kind: 'forward',
  label: '.',
  id: 0,
  upstreams: { forward: (_question, tell) => tell(result), stop: () => Promise.resolve() },
})
/** Nobody can make a response of it. */
const BROKEN = { ...authoredAnswer({ name: ROOT, type: 1, class: 1 }, 0, []), message: Buffer.alloc(3) }
const refuses = (): never => {
  throw new RangeError('too large')
}

suite('slow path', () => {
  test('answers SERVFAIL once and tells why when no answer can be made', () => {
    const it = bench(zoneRoute(refuses))
    it.ask()
    assert.equal(it.responses.length, 1)
    assert.equal(it.responses[0]![3]! & 0x0f, 2)
    assert.equal(it.panics.length, 1)
  })

  for (const [when, route] of [
    ['at once', zoneRoute(() => BROKEN)],
    ['from upstream', forwardRoute({ ...RESPONSE, response: { ...RESPONSE.response, answer: BROKEN } })],
  ] as const) {
    test(`answers SERVFAIL once when an answer that came ${when} cannot be made a response`, async () => {
      const it = bench(route)
      it.ask()
      await nextTurn()
      assert.deepEqual(
        it.responses.map((response) => response[3]! & 0x0f),
        [2],
      )
      assert.equal(it.panics.length, 1)
    })
  }

  test('says SERVFAIL over TCP, and TC over UDP, when the upstream gave only a truncated answer', async () => {
    const response = upstreamResponse({ name: 'www.example', flags: 0x0200 })
    const it = bench(forwardRoute({ ...RESPONSE, response }))
    it.ask(undefined, Transport.Tcp)
    it.ask(undefined, Transport.Udp)
    await nextTurn()
    const flags = it.responses.map((response) => Buffer.from(response).readUInt16BE(2).toString(16))
    assert.deepEqual(flags, ['8182', '8380'])
  })

  for (const [when, route] of [
    ['at once', zoneRoute((question) => authoredAnswer(question, 0, []))],
    ['late', forwardRoute(RESPONSE)],
  ] as const) {
    test(`tells of a listener that will not take a response given ${when}, and goes on`, async () => {
      const it = bench(route)
      let calls = 0
      it.ask(() => {
        calls++
        refuses()
      }, Transport.Tcp)
      await nextTurn()
      assert.deepEqual([calls, it.panics.length], [1, 1])
      it.ask()
      await nextTurn()
      assert.equal(it.responses.length, 1)
    })
  }
})
