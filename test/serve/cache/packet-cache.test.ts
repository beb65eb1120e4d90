import assert from 'node:assert/strict'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import * as dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { isAtOrBelow, nameFromText } from '../../../src/dns/wire/name.ts'
import type { PacketToKeep } from '../../../src/serve/cache/packet-cache.ts'
import { PacketCache } from '../../../src/serve/cache/packet-cache.ts'
import { FastPathBench, packetOfAddresses } from '../../common/fast-path-bench.ts'
import { upstreamResponse } from '../../common/wire.ts'

const SMALLEST_BYTES = 65_536

interface Wanted {
  readonly version?: number
  readonly records?: number
  readonly until?: number
  readonly type?: 'A' | 'TXT'
}

/** A response whose addresses all tell its version. */
function packetOf(name: string, { version = 0, records = 2, until = 100, type = 'A' }: Wanted = {}): PacketToKeep {
  const data = type === 'A' ? `10.0.${version >> 8}.${version & 255}` : `version ${version}`
  const answers = Array.from({ length: records }, () => ({ type, name, ttl: 60, data }))
  return {
    ...packetOfAddresses(name, 1),
    type: type === 'A' ? 1 : 16,
    answer: upstreamResponse({ name, type, answers }).answer,
    freshUntilSeconds: until,
  }
}

function queryFor(name: string, type: 'A' | 'TXT' = 'A'): Buffer {
  const opt = { type: 'OPT', name: '.', udpPayloadSize: 1232, extendedRcode: 0, ednsVersion: 0, flags: 0, options: [] }
  const packet = {
    type: 'query',
    id: 1,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type, name }],
    additionals: [opt],
  }
  return dnsPacket.encode(packet as unknown as dnsPacket.Packet)
}

/** The version that a bench's fast path tells for a name; undefined for a miss. */
function versionOf(bench: FastPathBench, name: string): number | undefined {
  const response = bench.ask(queryFor(name))
  if (response === undefined) return undefined
  const answers = dnsPacket.decode(Buffer.from(response)).answers as { data: string }[]
  const versions = new Set(answers.map(({ data }) => data))
  assert.equal(versions.size, 1)
  const [, , high, low] = [...versions][0]!.split('.').map(Number)
  return (high! << 8) | low!
}

suite('packet cache', () => {
  test('shows what the workers have for a question, and leaves no trace of the look', () => {
    const bench = new FastPathBench(SMALLEST_BYTES)
    const name = nameFromText('www.example')!
    assert.equal(bench.packetCache.peek(name, 1, 1), undefined)
    bench.packetCache.keep(packetOf('www.example', { until: 60 }), 0)
    assert.equal(versionOf(bench, 'www.example'), 0)
    for (let look = 0; look < 3; look++) {
      const { answer } = packetOf('www.example')
      assert.deepEqual(bench.packetCache.peek(name, 1, 1), {
        keptAtSeconds: 0,
        freshUntilSeconds: 60,
        hits: 1,
        rcode: 0,
        source: 1,
        octets: answer.message.length,
      })
    }
    assert.equal(bench.packetCache.peek(name, 28, 1), undefined)
    assert.equal(bench.packetCache.peek(name, 1, 5), undefined)
    assert.equal(bench.packetCache.peek(nameFromText('xxx.example')!, 1, 1), undefined)
    bench.packetCache.forgetName(name)
    assert.equal(bench.packetCache.peek(name, 1, 1), undefined)
  })

  test('tells what was kept last for each name, or nothing, whatever came and went', () => {
    const names = Array.from({ length: 40 }, (_, i) => `n${i}.${i % 4 === 0 ? 'a' : 'b'}.example`)
    const steps = fc.oneof(
      {
        weight: 20,
        arbitrary: fc.record({
          kind: fc.constant('keep' as const),
          name: fc.nat(39),
          records: fc.integer({ min: 1, max: 30 }),
        }),
      },
      {
        weight: 10,
        arbitrary: fc.record({ kind: fc.constant('ask' as const), name: fc.nat(39), records: fc.constant(0) }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant('forget' as const), name: fc.nat(39), records: fc.constant(0) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant('forget zone' as const),
          name: fc.constant(0),
          records: fc.constant(0),
        }),
      },
    )
    let hits = 0
    fc.assert(
      fc.property(fc.array(steps, { minLength: 50, maxLength: 400 }), (todo) => {
        const bench = new FastPathBench(SMALLEST_BYTES)
        const kept = new Map<string, number>()
        let version = 0
        for (const { kind, name: index, records } of todo) {
          const name = names[index]!
          if (kind === 'keep') {
            assert.ok(bench.packetCache.keep(packetOf(name, { version, records }), 0))
            kept.set(name, version++)
            assert.equal(versionOf(bench, name), version - 1)
          } else if (kind === 'forget') {
            bench.packetCache.forgetName(nameFromText(name)!)
            kept.delete(name)
          } else if (kind === 'forget zone') {
            const zone = nameFromText('a.example')!
            bench.packetCache.forgetIf((one) => isAtOrBelow(one, zone))
            for (const one of kept.keys()) if (one.endsWith('.a.example')) kept.delete(one)
          } else {
            const told = versionOf(bench, name)
            if (told === undefined) continue
            hits++
            assert.equal(told, kept.get(name))
          }
          assert.ok(bench.packetCache.status().bytes <= SMALLEST_BYTES)
        }
        bench.packetCache.forgetAll()
        for (const name of names) assert.equal(versionOf(bench, name), undefined)
        assert.equal(bench.packetCache.status().entries, 0)
      }),
      { numRuns: 60 },
    )
    assert.ok(hits > 300, `only ${hits} hits`)
  })

  test('forgets every type and every kind of question about a name', () => {
    const bench = new FastPathBench(SMALLEST_BYTES)
    bench.packetCache.keep(packetOf('www.example'), 0)
    bench.packetCache.keep(packetOf('www.example', { type: 'TXT' }), 0)
    assert.notEqual(bench.ask(queryFor('www.example', 'TXT')), undefined)
    bench.packetCache.forgetName(nameFromText('www.example')!)
    assert.equal(bench.ask(queryFor('www.example')), undefined)
    assert.equal(bench.ask(queryFor('www.example', 'TXT')), undefined)
  })

  test('keeps what is asked for while a flood of other names goes through', () => {
    const bench = new FastPathBench(SMALLEST_BYTES)
    const hot = Array.from({ length: 50 }, (_, i) => `hot${i}.example`)
    for (const name of hot) bench.packetCache.keep(packetOf(name), 0)
    for (let i = 0; i < 20_000; i++) {
      bench.packetCache.keep(packetOf(`random${i}.example`, { records: 1 }), 0)
      assert.notEqual(bench.ask(queryFor(hot[i % hot.length]!)), undefined, `${hot[i % hot.length]} at ${i}`)
    }
    assert.ok(bench.packetCache.status().evictions > 19_000)
  })

  test('refuses what no packet can carry, and says so', () => {
    const cache = new PacketCache(1 << 20, 1)
    assert.equal(cache.keep(packetOf('www.example', { records: 100 }), 0), false)
    assert.deepEqual([cache.status().refusals, cache.status().entries], [1, 0])
  })

  test('bounds the questions of one name that are kept: an endless chain would slow every query of its names', () => {
    const cache = new PacketCache(1 << 20, 1)
    for (let type = 256; type < 2_000; type++) cache.keep({ ...packetOf('www.example'), type }, 0)
    assert.ok(cache.status().entries <= 32)
  })

  test('never shows a reader half of a response', { timeout: 60_000 }, async () => {
    const cache = new PacketCache(SMALLEST_BYTES, 7)
    const names = Array.from({ length: 64 }, (_, i) => `name${i}.example`)
    const worker = new Worker(new URL('../../common/packet-reader-thread.ts', import.meta.url), {
      workerData: {
        memory: cache.memory,
        seed: cache.seed,
        queries: names.map((name) => queryFor(name)),
        rounds: 400_000,
      },
    })
    let told: { hits: number; torn: number } | undefined
    worker.on('message', (message: typeof told) => (told = message))
    const ended = once(worker, 'exit')
    const running = { is: true }
    void ended.then(() => (running.is = false))
    const packets = names.flatMap((name) =>
      [1, 3, 30].map((records, i) => packetOf(name, { records, version: i * 300 })),
    )
    for (let step = 0; running.is; step++) {
      const packet = packets[(step * 7919) % packets.length]!
      if (step % 5 === 0) cache.forgetName(packet.name)
      else cache.keep(packet, 0)
      // Lets the end of the worker be seen.
      if (step % 500 === 0) await new Promise((resolve) => void setImmediate(resolve))
    }
    assert.equal(told?.torn, 0)
    assert.ok(told.hits > 10_000, `only ${told.hits} hits`)
  })
})
