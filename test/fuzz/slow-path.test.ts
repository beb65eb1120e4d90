/** Whatever a client sends: exactly one response or silence, well-formed, with its id, within its size; never an exception. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { SPECIAL_ZONES } from '../../src/dns/policy/special-names.ts'
import { decodeMessage } from '../../src/dns/wire/message.ts'
import { nameFromText, ROOT } from '../../src/dns/wire/name.ts'
import { answerFromZone } from '../../src/dns/zone/answer.ts'
import { Zone } from '../../src/dns/zone/zone.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import type { Transport } from '../../src/serve/query-handler.ts'
import { Resolver } from '../../src/serve/resolve.ts'
import type { Route } from '../../src/serve/resolve-parts.ts'
import { SlowPath } from '../../src/serve/slow-path.ts'
import { QUIET_TRAFFIC } from '../common/quiet-traffic.ts'
import { hex } from '../common/wire.ts'

const APEX = nameFromText('clusterset.local')!

function slowPath(onPanic: (error: unknown) => void): SlowPath {
  const zone = new Zone(1)
  zone.state = 'synced'
  const settings = { apex: APEX, ttlSeconds: 5, serverAddresses: { ipv4: [], ipv6: [] } }
  const routes: [string, Route][] = [
    [
      APEX,
      { kind: 'zone', label: 'clusterset.local.', answer: (question) => answerFromZone(zone, settings, question, 0) },
    ],
    [ROOT, { kind: 'special', label: '.', special: 'nowhere' }],
    ...SPECIAL_ZONES.map(([name, special]): [string, Route] => [name, { kind: 'special', label: '', special }]),
  ]
  const recordCache = new RecordCache(1 << 16)
  recordCache.close()
  const resolver = new Resolver(new RouteTable(routes), {
    recordCache,
    limits: { minTtlSeconds: 0, maxTtlSeconds: 30, maxNegativeTtlSeconds: 5 },
    serveStale: undefined,
    prefetch: false,
    zoneOfImpossibleSearchName: () => undefined,
    nowSeconds: () => 0,
    onPanic,
    after: () => () => undefined,
  })
  const nothing = () => undefined
  return new SlowPath({
    resolver: () => resolver,
    traffic: QUIET_TRAFFIC,
    queryLog: () => ({ level: 'all', query: nothing }),
    nowSeconds: () => 0,
    onPanic,
    rotates: () => true,
    keepaliveDeciseconds: () => 100,
  })
}

function askAll(messages: fc.Arbitrary<Uint8Array>): void {
  const panics: unknown[] = []
  const path = slowPath((error) => panics.push(error))
  fc.assert(
    fc.property(messages, fc.constantFrom<Transport>(0, 1), (message, transport) => {
      const id = message.length >= 2 ? Buffer.from(message).readUInt16BE(0) : -1
      const ends: (Uint8Array | 'drop')[] = []
      path.handle({
        message,
        transport,
        family: 0,
        server: 'dns://127.0.0.1:53',
        clientAddress: '127.0.0.1',
        respond: (response) => ends.push(response),
        drop: () => ends.push('drop'),
      })
      assert.deepEqual(panics, [])
      assert.equal(ends.length, 1)
      const [end] = ends
      if (end === 'drop' || end === undefined) {
        assert.ok(message.length < 12 || (message[2]! & 0x80) !== 0, 'only what is no query is met with silence')
        return
      }
      assert.equal(Buffer.from(end).readUInt16BE(0), id)
      assert.ok(end.length <= (transport === 0 ? 1232 : 65_535))
      assert.equal((end[2]! & 0x80) !== 0, true)
      decodeMessage(end)
    }),
    { numRuns: 5_000 },
  )
}

const QUESTIONS = [
  '03 777777 0a 636c7573746572736574 05 6c6f63616c 00 0001 0001',
  '0b 646e732d76657273696f6e 0a 636c7573746572736574 05 6c6f63616c 00 0010 0001',
  '09 6c6f63616c686f7374 00 001c 0001',
  '00 0002 0001',
].map((question) => hex(`0000 0100 0001 0000 0000 0001 ${question} 00 0029 04d0 00 00 8000 0000`))

suite('slow path, fuzzed', () => {
  test('meets any bytes with one well-formed response or with silence', () => {
    askAll(fc.uint8Array({ maxLength: 600 }))
  })

  test('meets any bytes behind a plausible header likewise', () => {
    const tail = fc.uint8Array({ maxLength: 300 })
    askAll(
      fc.tuple(tail, fc.nat(2), fc.nat(2), fc.nat(3)).map(([bytes, an, ns, ar]) => {
        const header = Buffer.from([0xab, 0xcd, 1, 0, 0, 1, 0, an, 0, ns, 0, ar])
        return Buffer.concat([header, bytes])
      }),
    )
  })

  test('meets good queries with a few octets changed likewise', () => {
    const changes = fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 })
    askAll(
      fc.tuple(fc.constantFrom(...QUESTIONS), changes).map(([query, edits]) => {
        const message = Buffer.from(query)
        for (const [at, octet] of edits) message[at % message.length] = octet
        return message
      }),
    )
  })
})
