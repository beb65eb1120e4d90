import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { GCProfiler, getHeapStatistics } from 'node:v8'
import * as dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { nameFromText, ROOT } from '../../src/dns/wire/name.ts'
import { answerFromZone } from '../../src/dns/zone/answer.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import { Resolver } from '../../src/serve/resolve.ts'
import type { Route } from '../../src/serve/resolve-parts.ts'
import { SlowPath } from '../../src/serve/slow-path.ts'
import { FastPathBench, SERVER } from '../common/fast-path-bench.ts'
import { QUIET_TRAFFIC } from '../common/quiet-traffic.ts'
import { readVectors } from '../common/vectors.ts'
import { upstreamResponse } from '../common/wire.ts'
import { zoneOf } from '../common/zone-server.ts'

const APEX = nameFromText('clusterset.local')!

/** A slow path with a zone and an upstream of its own that tells the fast path of a bench. */
function bothPaths(settings: { readonly negative?: boolean; readonly prefetch?: boolean } = {}) {
  const fast = new FastPathBench()
  const table = readVectors('clusterset/headless')
  const zone = zoneOf(table.objects, table.settings)
  const zoneSettings = { apex: APEX, ttlSeconds: 5, serverAddresses: { ipv4: [], ipv6: [] } }
  const recordCache = new RecordCache(1 << 20)
  recordCache.close()
  let upstreamQueries = 0
  const fails = (error: unknown): never => {
    throw error
  }
  const resolver = new Resolver(
    new RouteTable<Route>([
      [
        APEX,
        {
          kind: 'zone',
          label: 'clusterset.local.',
          answer: (question) => answerFromZone(zone, zoneSettings, question, 0),
        },
      ],
      [
        ROOT,
        {
          kind: 'forward',
          label: '.',
          id: 0,
          upstreams: {
            forward: (question, tell) => {
              upstreamQueries++
              const name = [...question.name.matchAll(/[a-z]{2,}/g)].map(([label]) => label).join('.')
              if (name.startsWith('broken')) {
                tell({ kind: 'failure', reason: 'timeout', detail: '' })
                return
              }
              const address = question.type === 28 ? '2001:db8::' : '192.0.2.'
              const type = question.type === 28 ? ('AAAA' as const) : ('A' as const)
              const answers =
                settings.negative === true
                  ? []
                  : [1, 2, 3].map((i) => ({ type, name, ttl: 40, data: `${address}${i}` }))
              const authorities = [
                {
                  type: 'SOA' as const,
                  name: 'example',
                  ttl: 20,
                  data: { mname: 'a', rname: 'b', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 9 },
                },
              ]
              const response = upstreamResponse({
                name,
                type,
                answers,
                ...(settings.negative === true ? { authorities } : {}),
              })
              tell({ kind: 'response', response, upstream: 'u' })
            },
            stop: () => Promise.resolve(),
          },
        },
      ],
    ]),
    {
      recordCache,
      limits: { minTtlSeconds: 0, maxTtlSeconds: 30, maxNegativeTtlSeconds: 5 },
      serveStale: { maxStaleSeconds: 3600, clientTimeoutMs: 1800 },
      prefetch: settings.prefetch ?? true,
      onRenewed: (question) => fast.packetCache.forgetName(question.name),
      zoneOfImpossibleSearchName: () => undefined,
      nowSeconds: () => fast.now,
      onPanic: fails,
      after: () => () => undefined,
    },
  )
  const slowPath = new SlowPath({
    resolver: () => resolver,
    traffic: QUIET_TRAFFIC,
    queryLog: () => ({ level: 'none', query: () => undefined }),
    nowSeconds: () => fast.now,
    onPanic: fails,
    rotates: () => fast.rotates,
    onResolved: (query, resolution, zoneLabel) => fast.filler.offer(query, resolution, zoneLabel),
    keepaliveDeciseconds: () => 100,
  })
  const askSlowly = (message: Uint8Array): Uint8Array | undefined => {
    let said: Uint8Array | undefined
    slowPath.handle({
      message,
      transport: 0,
      family: 0,
      server: SERVER,
      clientAddress: '127.0.0.1',
      respond: (response) => (said = Uint8Array.from(response)),
      drop: () => undefined,
    })
    return said
  }
  return { fast, askSlowly, slowPath, upstreamQueries: () => upstreamQueries }
}

interface QueryParts {
  readonly name: string
  readonly type?: 'A' | 'AAAA' | 'SRV' | 'TXT'
  readonly id?: number
  readonly flags?: number
  readonly opt?: { readonly udpPayloadSize: number; readonly flags: number; readonly cookie: boolean }
}

function queryOf({ name, type = 'A', id = 7, flags = dnsPacket.RECURSION_DESIRED, opt }: QueryParts): Buffer {
  const options = opt?.cookie === true ? [{ code: 10, data: Buffer.alloc(8, 1) }] : []
  const packet = {
    type: 'query' as const,
    id,
    flags,
    questions: [{ type, name }],
    ...(opt === undefined
      ? {}
      : {
          additionals: [
            {
              type: 'OPT' as const,
              name: '.',
              udpPayloadSize: opt.udpPayloadSize,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: opt.flags,
              flag_do: (opt.flags & 0x8000) !== 0,
              options,
            },
          ],
        }),
  }
  // The types know fewer options than the package takes.
  return dnsPacket.encode(packet as dnsPacket.Packet)
}

const NAMES = [
  'db.shop.svc.clusterset.local',
  'DB.shop.svc.ClusterSet.local',
  '_sql._tcp.db.shop.svc.clusterset.local',
  'nobody.shop.svc.clusterset.local',
  'clusterset.local',
  'dns-version.clusterset.local',
  'www.example',
  'WWW.Example',
  'other.example',
  'broken.example',
]

const queries = fc.record({
  name: fc.constantFrom(...NAMES),
  type: fc.constantFrom('A' as const, 'AAAA' as const, 'SRV' as const, 'TXT' as const),
  id: fc.integer({ min: 0, max: 65_535 }),
  flags: fc.constantFrom(0, 0x0100, 0x0110, 0x0120, 0x0010, 0x0130, 0x0140, 0x0200),
  opt: fc.option(
    fc.record({
      udpPayloadSize: fc.constantFrom(0, 100, 512, 1232, 4096, 65_535),
      flags: fc.constantFrom(0, 0x8000),
      cookie: fc.boolean(),
    }),
    { nil: undefined },
  ),
})

suite('fast path', () => {
  test('says to every query byte for byte what the slow path says, or nothing', () => {
    let hits = 0
    fc.assert(
      fc.property(
        fc.array(queries, { minLength: 1, maxLength: 4 }),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 6 })), { minLength: 20, maxLength: 60 }),
        (pool, asked) => {
          // The fake upstream answers at once: a renewal would be there before the old answer is sent.
          const { fast, askSlowly } = bothPaths({ prefetch: false })
          for (const [index, pauseSeconds] of asked) {
            fast.now += pauseSeconds
            const { opt, ...rest } = pool[index % pool.length]!
            const query = queryOf(opt === undefined ? rest : { ...rest, opt })
            const fastResponse = fast.ask(query)
            const slowResponse = askSlowly(query)
            if (fastResponse === undefined) continue
            hits++
            // Both rotate the zone's addresses, each by a count of its own.
            assert.deepEqual(withoutOrder(fastResponse), withoutOrder(slowResponse!))
          }
        },
      ),
      { numRuns: 300 },
    )
    assert.ok(hits > 1_000, `only ${hits} hits`)
  })

  test('takes no octets that are not a plain query for a hit, and throws at none', () => {
    const { fast, askSlowly } = bothPaths()
    const good = queryOf({
      name: 'db.shop.svc.clusterset.local',
      opt: { udpPayloadSize: 1232, flags: 0, cookie: true },
    })
    askSlowly(good)
    assert.notEqual(fast.ask(good), undefined)
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }),
        fc.nat(good.length),
        (changes, cut) => {
          const query = Buffer.from(good)
          for (const [at, octet] of changes) query[at] = octet
          const sent = query.subarray(0, cut)
          const fastResponse = fast.ask(sent)
          if (fastResponse !== undefined) assert.deepEqual(withoutOrder(fastResponse), withoutOrder(askSlowly(sent)!))
        },
      ),
      { numRuns: 3_000 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (octets) => assert.equal(fast.ask(octets), undefined)),
      { numRuns: 2_000 },
    )
  })

  test('leaves to the event loop what does not fit the client', () => {
    const { fast, askSlowly } = bothPaths()
    const name = '_sql._tcp.db.shop.svc.clusterset.local'
    const opt = (udpPayloadSize: number) => ({ udpPayloadSize, flags: 0, cookie: false })
    const large = queryOf({ name, type: 'SRV', opt: opt(1232) })
    const size = askSlowly(large)!.length
    assert.equal(fast.ask(large)?.length, size)
    assert.equal(fast.ask(queryOf({ name, type: 'SRV', opt: opt(Math.max(512, size)) }))?.length, size)
    if (size > 512) assert.equal(fast.ask(queryOf({ name, type: 'SRV', opt: opt(512) })), undefined)
  })

  test('counts ttls down and ends with the lifetime', () => {
    const { fast, askSlowly } = bothPaths()
    const query = queryOf({ name: 'www.example' })
    askSlowly(query)
    assert.equal(fast.ask(query), undefined, 'asked for once only')
    askSlowly(query)
    fast.now = 12
    const answers = dnsPacket.decode(Buffer.from(fast.ask(query)!)).answers as { ttl: number }[]
    assert.deepEqual(
      answers.map(({ ttl }) => ttl),
      [18, 18, 18],
    )
    fast.now = 29.9
    assert.notEqual(fast.ask(query), undefined)
    fast.now = 30
    assert.equal(fast.ask(query), undefined)
  })

  test('rotates addresses evenly', () => {
    const { fast, askSlowly } = bothPaths()
    fast.rotates = true
    const query = queryOf({ name: 'www.example' })
    askSlowly(query)
    askSlowly(query)
    const firsts = new Map<string, number>()
    for (let i = 0; i < 300; i++) {
      const answers = dnsPacket.decode(Buffer.from(fast.ask(query)!)).answers as { data: string }[]
      assert.equal(new Set(answers.map(({ data }) => data)).size, 3)
      firsts.set(answers[0]!.data, (firsts.get(answers[0]!.data) ?? 0) + 1)
    }
    for (const count of firsts.values()) assert.ok(count >= 90 && count <= 110, `${count} of 300`)
    assert.equal(firsts.size, 3)
  })

  test('has one renewal made for what is asked often and near its end', () => {
    const { fast, askSlowly, slowPath, upstreamQueries } = bothPaths()
    const query = queryOf({ name: 'www.example' })
    askSlowly(query)
    askSlowly(query)
    for (let i = 0; i < 5; i++) fast.ask(query)
    assert.deepEqual(fast.renewals, [], 'still young')
    fast.now = 28
    for (let i = 0; i < 5; i++) fast.ask(query)
    assert.deepEqual(fast.renewals, [0], 'once')
    assert.equal(upstreamQueries(), 1)
    slowPath.renew(query, SERVER)
    assert.equal(upstreamQueries(), 2)
    assert.equal(fast.ask(query), undefined, 'the old answer is forgotten')
  })

  test('keeps denials by their own lifetime and failures with their error', () => {
    const denying = bothPaths({ negative: true })
    const query = queryOf({ name: 'www.example' })
    denying.askSlowly(query)
    denying.askSlowly(query)
    assert.notEqual(denying.fast.ask(query), undefined)
    denying.fast.now = 5
    assert.equal(denying.fast.ask(query), undefined)

    const failing = bothPaths()
    const broken = queryOf({ name: 'broken.example', opt: { udpPayloadSize: 1232, flags: 0, cookie: false } })
    failing.askSlowly(broken)
    const slow = failing.askSlowly(broken)
    assert.deepEqual(failing.fast.ask(broken), slow)
  })

  test('leaves to the event loop what the query log is to show', () => {
    const { fast, askSlowly } = bothPaths()
    const query = queryOf({ name: 'db.shop.svc.clusterset.local' })
    fast.logs = 'all'
    askSlowly(query)
    assert.equal(fast.ask(query), undefined)
    fast.logs = 'errors'
    askSlowly(query)
    assert.notEqual(fast.ask(query), undefined)
  })

  test('allocates nothing for a hit', () => {
    const { fast, askSlowly } = bothPaths()
    const query = queryOf({
      name: 'db.shop.svc.clusterset.local',
      opt: { udpPayloadSize: 1232, flags: 0, cookie: true },
    })
    askSlowly(query)
    for (let slot = 0; slot < 64; slot++) fast.slots.place(slot, query)
    const batches = (count: number) => {
      for (let batch = 0; batch < count; batch++) {
        fast.answer(64)
        fast.slots.clear()
      }
    }
    batches(3_000)
    const profiler = new GCProfiler()
    profiler.start()
    const before = getHeapStatistics().used_heap_size
    batches(16_000)
    const after = getHeapStatistics().used_heap_size
    const { statistics } = profiler.stop()
    assert.equal(fast.misses.length, 0)
    // A million hits; a single object for each would be 16 MB and several collections.
    assert.ok(after - before < 1_000_000, `${after - before} octets`)
    assert.equal(statistics.length, 0)
  })
})

/** The response with its answers in an order of their own, for two that differ in rotation alone. */
function withoutOrder(response: Uint8Array): unknown {
  const decoded = dnsPacket.decode(Buffer.from(response)) as dnsPacket.Packet & { answers: unknown[] }
  return { ...decoded, octets: response.length, answers: decoded.answers.map((one) => JSON.stringify(one)).toSorted() }
}
