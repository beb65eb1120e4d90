import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { suite, type TestContext, test } from 'node:test'
import { datagramCalls } from '../../src/host/syscalls.ts'
import { CounterLabels } from '../../src/observe/counters.ts'
import { PacketCache } from '../../src/serve/cache/packet-cache.ts'
import { newListenCounts } from '../../src/serve/listen/listen-counts.ts'
import { mmsgListeners } from '../../src/serve/listen/udp-mmsg.ts'
import { PacketFiller } from '../../src/serve/packet-filler.ts'
import type { Arrival } from '../../src/serve/query-handler.ts'
import { WorkerPool } from '../../src/serve/worker-pool.ts'
import { DirectServiceBench } from '../common/direct-service-bench.ts'
import { packetOfAddresses } from '../common/fast-path-bench.ts'
import { until } from '../common/until.ts'
import { queryBytes } from '../common/zone-server.ts'

const SECONDS = () => performance.now() / 1000

/** A pool of one worker whose sockets the event loop serves while datagrams are few, one socket of it, and a client. */
async function open(t: TestContext, directPerSecondMax: number) {
  const calls = datagramCalls()
  const packetCache = new PacketCache(65_536, 1)
  const fallen = (error: string): never => {
    throw new Error(error)
  }
  const pool = new WorkerPool(
    { threads: 1, batchSlots: 64, gatherMicros: 0, directPerSecondMax },
    { calls, packetCache, onFallen: fallen },
  )
  const labels = new CounterLabels()
  const filler = new PacketFiller({
    packetCache,
    logs: () => 'none',
    rotates: () => false,
    nowSeconds: SECONDS,
    cellOf: (server, zone) => labels.cellOf(server, zone),
    setCell: (server, zoneLabel, cell) => pool.setCell(server, zoneLabel, cell),
  })
  const serverNumber = (server: string) => filler.serverNumber(server)
  const openListener = mmsgListeners({ calls, pool, serverNumber, onRenewal: () => undefined })
  const misses: Uint8Array[] = []
  const listener = await openListener(
    { address: '127.0.0.1', port: 0, reusePort: false },
    (arrival: Arrival) => {
      misses.push(arrival.message)
      arrival.respond(Uint8Array.from(arrival.message))
    },
    { counts: newListenCounts().udp },
  )
  // With a look-up that answers at once, and bound, it hands every datagram to the kernel within the call.
  const client = createSocket({ type: 'udp4', lookup: (address, _options, tell) => tell(null, address, 4) })
  const bound = once(client, 'listening')
  client.bind(0, '127.0.0.1')
  await bound
  const received: Buffer[] = []
  client.on('message', (message) => received.push(message))
  t.after(async () => {
    client.close()
    await listener.stop(0)
    await pool.stop()
  })
  const send = (message: Uint8Array | string) => client.send(message, listener.port, '127.0.0.1')
  return { pool, filler, misses, received, send }
}

suite('direct service', () => {
  test('answers a hit on the event loop and hands on a miss, both without the worker', async (t) => {
    const { pool, filler, misses, received, send } = await open(t, 6_000)
    const question = { name: '\x03hit\x00', type: 1, class: 1 }
    const message = Buffer.from('000081800001000100000000036869740000010001c00c000100010000001e0004c0000201', 'hex')
    filler.offer(
      { id: 0, flags: 0x0100, question, questionWire: new Uint8Array(0), edns: undefined },
      {
        answer: { message, rcode: 0, flags: 0, ttlOffsets: Uint16Array.of(27), extendedErrors: [] },
        ttls: { ageSeconds: 0, minSeconds: 0, maxSeconds: 30 },
        source: 'cache',
        sharing: {
          keptAtSeconds: SECONDS(),
          freshUntilSeconds: SECONDS() + 30,
          renewFromSeconds: Number.POSITIVE_INFINITY,
          isDenial: false,
        },
      },
      '.',
    )
    send(queryBytes({ name: 'hit.', type: 1, class: 1 }))
    send('a miss')
    await until(() => received.length === 2)
    assert.ok(pool.isDirect)
    assert.equal(misses.length, 1)
    assert.ok(received.some((response) => response.subarray(-4).equals(Buffer.from([192, 0, 2, 1]))))
    const [worker, direct] = pool.traffic
    const answered = (traffic: typeof worker) => traffic!.counts.reduce((sum, count) => sum + count, 0)
    assert.equal(answered(worker), 0)
    assert.ok(answered(direct) > 0)
  })

  test('leaves the sockets to the workers when too many come, takes them back when few do, and loses nothing', async (t) => {
    const { pool, received, send } = await open(t, 300)
    let sent = 0
    // Fewer than one receive can bring, more than a window of 100 ms may have.
    while (pool.counts().handOvers === 0) {
      for (let i = 0; i < 10; i++, sent++) send(String(sent))
      await until(() => received.length === sent)
    }
    assert.ok(sent > 30, `after ${sent} already`)
    send(String(sent++))
    await until(() => received.length === sent)
    await until(() => pool.isDirect)
    send(String(sent++))
    await until(() => received.length === sent)
    assert.equal(new Set(received.map(String)).size, sent)
    assert.equal(pool.counts().receiveFailed, 0)
  })

  test('leaves the sockets to the workers when it finds a second time that it was late', async (t) => {
    const { pool, received, send } = await open(t, 1_000_000)
    for (let i = 0; i < 40; i++) send(String(i))
    await until(() => received.length === 40)
    assert.equal(pool.counts().handOvers, 0)
    // Until its worker has begun, it keeps them.
    for (let sent = 40; pool.counts().handOvers === 0; ) {
      for (let i = 0; i < 80; i++, sent++) send(String(i))
      await until(() => received.length === sent)
    }
    assert.equal(pool.counts().handOvers, 1)
  })

  test('sends nobody what an exception left behind', (t) => {
    const direct = new DirectServiceBench()
    t.after(() => direct.close())
    direct.packetCache.keep(packetOfAddresses('hit', 1), 0)
    const hit = queryBytes({ name: 'hit.', type: 1, class: 1 })
    direct.onMiss = () => {
      throw new Error('of the way of a miss')
    }
    direct.ask(hit)
    direct.ask(queryBytes({ name: 'miss.', type: 1, class: 1 }))
    assert.throws(() => direct.turn(), /of the way of a miss/)
    direct.ask(hit)
    direct.turn()
    assert.equal(direct.responses(), 1)
  })

  test('keeps the sockets until the workers have begun, however late it is', (t) => {
    const direct = new DirectServiceBench()
    t.after(() => direct.close())
    direct.hasWorker = false
    const beLateTwice = () => {
      for (let i = 0; i < 64; i++) direct.ask(Buffer.from(String(i)))
      direct.turn()
      direct.turn()
    }
    beLateTwice()
    assert.equal(direct.misses, 64)
    assert.ok(direct.service.isDirect)
    direct.hasWorker = true
    beLateTwice()
    assert.ok(!direct.service.isDirect)
  })
})
