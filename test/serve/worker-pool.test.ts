import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { datagramCalls } from '../../src/host/syscalls.ts'
import { PacketCache } from '../../src/serve/cache/packet-cache.ts'
import { newListenCounts } from '../../src/serve/listen/listen-counts.ts'
import { mmsgListeners } from '../../src/serve/listen/udp-mmsg.ts'
import type { Arrival } from '../../src/serve/query-handler.ts'
import { WorkerPool } from '../../src/serve/worker-pool.ts'
import { clientOf } from '../common/datagram-pair.ts'
import { until } from '../common/until.ts'

const FALLS = 3

function openPool() {
  const calls = datagramCalls()
  const falls: string[] = []
  const parts = { calls, packetCache: new PacketCache(65_536, 1), onFallen: (error: string) => void falls.push(error) }
  const pool = new WorkerPool({ threads: 1, batchSlots: 16, gatherMicros: 200 }, parts)
  const open = mmsgListeners({ calls, pool, serverNumber: () => 0, onRenewal: () => undefined })
  const listen = (handler: (arrival: Arrival) => void, counts = newListenCounts()) =>
    open({ address: '127.0.0.1', port: 0, reusePort: false }, handler, { counts: counts.udp })
  return { pool, falls, listen }
}

suite('worker pool', () => {
  test('starts a worker that fell again, and what came meanwhile is answered', async (t) => {
    const { pool, falls, listen } = openPool()
    const listener = await listen((arrival) => arrival.respond(Uint8Array.from(arrival.message)))
    const client = createSocket('udp4')
    t.after(async () => {
      client.close()
      await listener.stop(0)
      await pool.stop()
    })
    const answered = new Set<string>()
    client.on('message', (message) => answered.add(message.toString()))
    for (let fall = 1; fall <= FALLS; fall++) {
      await pool.fell(0)
      // Nobody reads now: the kernel keeps them.
      for (let i = 0; i < 20; i++) client.send(`${fall} ${i}`, listener.port, '127.0.0.1')
      await until(() => answered.size === fall * 20)
    }
    assert.equal(falls.length, FALLS)
    assert.equal(pool.counts().restarts, FALLS)
  })

  test('drops the oldest misses, counted, while the event loop does something else', async (t) => {
    const { pool, listen } = openPool()
    let taken = 0
    const listener = await listen((arrival) => {
      taken++
      arrival.drop()
    })
    // With a look-up that answers at once, and bound, it hands every datagram to the kernel within the call.
    const client = createSocket({ type: 'udp4', lookup: (address, _options, tell) => tell(null, address, 4) })
    const bound = once(client, 'listening')
    client.bind(0, '127.0.0.1')
    await bound
    t.after(async () => {
      client.close()
      await listener.stop(0)
      await pool.stop()
    })
    const dropped = () => pool.traffic[0]!.droppedFor('overloaded')
    const payload = Buffer.alloc(4_000)
    let sent = 0
    // A ring of 1 MiB holds 259 of these.
    while (dropped() === 0 && sent < 20_000) {
      // The event loop does not turn here.
      for (let i = 0; i < 400; i++, sent++) client.send(payload, listener.port, '127.0.0.1')
      const endMs = performance.now() + 50
      while (performance.now() < endMs);
    }
    assert.ok(dropped() > 0, 'nothing was dropped')
    await until(() => taken > 0)
  })

  test('a listener that ends takes every miss that came before, however many', async (t) => {
    const { pool, listen } = openPool()
    let taken = 0
    const listener = await listen((arrival) => {
      taken++
      arrival.drop()
    })
    const calls = datagramCalls()
    const client = clientOf(calls, listener.port)
    t.after(async () => {
      calls.close(client)
      await pool.stop()
    })
    const datagram = new Uint8Array(40)
    const send = () => calls.sendOctets(client, datagram, datagram.length)
    send()
    // The worker runs.
    await until(() => taken === 1)
    const sent = 2_000
    for (let i = 1; i < sent; i++) {
      send()
      // The event loop does not turn meanwhile; the worker has its time, so that no socket overflows.
      if (i % 100 === 99) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
    await listener.stop(1_000)
    assert.equal(taken, sent)
  })
})
