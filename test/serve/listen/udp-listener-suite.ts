/** What every UDP listener promises, whatever system calls it is made of. */

import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { suite, type TestContext, test } from 'node:test'
import { type ListenCounts, newListenCounts } from '../../../src/serve/listen/listen-counts.ts'
import type { OpenUdpListener, UdpListenerOptions } from '../../../src/serve/listen/udp-listener.ts'
import { type Arrival, Family, type Listener, type QueryHandler, Transport } from '../../../src/serve/query-handler.ts'
import { until } from '../../common/until.ts'

export interface UdpListenerUnderTest {
  readonly open: OpenUdpListener
  /** Promises that this implementation does not make, and why. */
  readonly except?: Readonly<Record<string, string>>
}

const LOOPBACK_V4 = '127.0.0.1'
const LOOPBACK_V6 = '::1'

/** What stays of a test: closed at its end. */
interface Bench {
  readonly counts: ListenCounts
  open(handler: QueryHandler, options?: Partial<UdpListenerOptions>): Promise<Listener>
  client(listener: Listener): UdpClient
}

interface UdpClient {
  send(text: string): void
  readonly received: string[]
}

export function behavesLikeAUdpListener(name: string, { open, except = {} }: UdpListenerUnderTest): void {
  suite(`${name} behaves like a UDP listener`, () => {
    const promise = (text: string, check: (bench: Bench) => Promise<void>) => {
      const exception = except[text]
      test(text, { skip: exception ?? false }, (t) => check(benchOf(t, open)))
    }

    for (const { address, family, server } of [
      { address: LOOPBACK_V4, family: Family.V4, server: (port: number) => `dns://127.0.0.1:${port}` },
      { address: LOOPBACK_V6, family: Family.V6, server: (port: number) => `dns://[::1]:${port}` },
    ]) {
      promise(`answers ${address} and says who asked whom`, async (bench) => {
        const arrivals: Arrival[] = []
        const listener = await bench.open(
          (arrival) => {
            arrivals.push(arrival)
            echo(arrival)
          },
          { address },
        )
        assert.equal(listener.address, address)
        assert.notEqual(listener.port, 0)
        const client = bench.client(listener)
        client.send('query')
        await until(() => client.received.length === 1)
        assert.deepEqual(client.received, ['query'])
        assert.equal(arrivals[0]?.transport, Transport.Udp)
        assert.equal(arrivals[0].family, family)
        assert.equal(arrivals[0].server, server(listener.port))
        assert.equal(arrivals[0].clientAddress, address)
      })
    }

    promise('answers many clients, each with its own responses', async (bench) => {
      const listener = await bench.open(echo)
      const clients = Array.from({ length: 8 }, () => bench.client(listener))
      for (let query = 0; query < 16; query++) {
        for (const [i, client] of clients.entries()) client.send(`client ${i} query ${query}`)
      }
      await until(() => clients.every((client) => client.received.length === 16))
      for (const [i, client] of clients.entries()) {
        assert.ok(client.received.every((response) => response.startsWith(`client ${i} `)))
      }
    })

    promise('sends responses in the order in which they are ready', async (bench) => {
      const waiting: Arrival[] = []
      const listener = await bench.open((arrival) => waiting.push(arrival))
      const client = bench.client(listener)
      client.send('first')
      client.send('second')
      await until(() => waiting.length === 2)
      waiting[1]!.respond(Buffer.from('second'))
      waiting[0]!.respond(Buffer.from('first'))
      await until(() => client.received.length === 2)
      assert.deepEqual(client.received, ['second', 'first'])
    })

    promise('sends nothing for a dropped query', async (bench) => {
      const listener = await bench.open((arrival) =>
        textOf(arrival) === 'drop me' ? arrival.drop() : arrival.respond(Buffer.from('answered')),
      )
      const client = bench.client(listener)
      client.send('drop me')
      client.send('answer me')
      await until(() => client.received.length === 1)
      assert.deepEqual(client.received, ['answered'])
    })

    promise('hands over an empty datagram and one of the largest size', async (bench) => {
      const lengths: number[] = []
      const listener = await bench.open((arrival) => {
        lengths.push(arrival.message.length)
        arrival.respond(Buffer.from('got it'))
      })
      const client = bench.client(listener)
      client.send('')
      client.send('x'.repeat(4096))
      await until(() => client.received.length === 2)
      assert.deepEqual(lengths, [0, 4096])
    })

    promise('refuses to settle a query twice', async (bench) => {
      let secondTime: unknown
      const listener = await bench.open((arrival) => {
        echo(arrival)
        try {
          arrival.drop()
        } catch (error) {
          secondTime = error
        }
      })
      const client = bench.client(listener)
      client.send('query')
      await until(() => client.received.length === 1)
      assert.ok(secondTime instanceof Error)
    })

    promise('counts a response that the kernel does not take', async (bench) => {
      const listener = await bench.open((arrival) => arrival.respond(Buffer.alloc(65_535)))
      const client = bench.client(listener)
      client.send('query')
      await until(() => bench.counts.udp.sendFailed === 1)
    })

    promise('says which address is in use', async (bench) => {
      const first = await bench.open(echo)
      await assert.rejects(bench.open(echo, { port: first.port }), {
        name: 'ListenError',
        code: 'ADDRESS_IN_USE',
        message: new RegExp(`127\\.0\\.0\\.1 port ${first.port} `),
      })
    })

    promise('says which address is not of this machine', async (bench) => {
      await assert.rejects(bench.open(echo, { address: '192.0.2.1' }), {
        name: 'ListenError',
        code: 'ADDRESS_NOT_LOCAL',
        message: /192\.0\.2\.1 port 0 /,
      })
    })

    promise('shares a port when told to', async (bench) => {
      const first = await bench.open(echo, { reusePort: true })
      const second = await bench.open(echo, { reusePort: true, port: first.port })
      await first.stop(1000)
      const client = bench.client(second)
      client.send('query')
      await until(() => client.received.length === 1)
    })

    promise('leaves IPv4 to others when it listens on IPv6', async (bench) => {
      const onV6 = await bench.open(echo, { address: '::' })
      const onV4 = await bench.open(echo, { address: '0.0.0.0', port: onV6.port })
      assert.equal(onV4.port, onV6.port)
    })

    promise('answers what is under way before it closes', async (bench) => {
      const waiting: Arrival[] = []
      const listener = await bench.open((arrival) => waiting.push(arrival))
      const client = bench.client(listener)
      client.send('query')
      await until(() => waiting.length === 1)
      const stopped = listener.stop(60_000)
      waiting[0]!.respond(Buffer.from('late but there'))
      await stopped
      await until(() => client.received.length === 1)
      assert.deepEqual(client.received, ['late but there'])
    })

    promise('answers what the kernel held when it was told to stop', async (bench) => {
      const listener = await bench.open(echo)
      const client = bench.client(listener)
      const sent = Array.from({ length: 50 }, (_, i) => `query ${i}`)
      for (const query of sent) client.send(query)
      // A connected loopback client has handed its datagrams over when the next turn begins.
      await new Promise((resolve) => setImmediate(resolve))
      await listener.stop(60_000)
      await until(() => client.received.length === sent.length)
    })

    promise('waits no longer than it was told, and counts the response that comes later', async (bench) => {
      const waiting: Arrival[] = []
      const listener = await bench.open((arrival) => waiting.push(arrival))
      bench.client(listener).send('query')
      await until(() => waiting.length === 1)
      await Promise.all([listener.stop(1), listener.stop(1)])
      waiting[0]!.respond(Buffer.from('too late'))
      assert.equal(bench.counts.udp.responsesLate, 1)
    })

    promise('receives many datagrams at once', async (bench) => {
      let taken = 0
      let takenInTurn = 0
      let takenInTurnMax = 0
      const listener = await bench.open((arrival) => {
        if (takenInTurn === 0) queueMicrotask(() => (takenInTurn = 0))
        taken++
        takenInTurn++
        takenInTurnMax = Math.max(takenInTurnMax, takenInTurn)
        echo(arrival)
      })
      const client = bench.client(listener)
      for (let query = 0; query < 32; query++) client.send('query')
      await until(() => taken === 32)
      assert.ok(takenInTurnMax > 1)
    })
  })
}

function echo(arrival: Arrival): void {
  arrival.respond(Uint8Array.from(arrival.message))
}

function textOf(arrival: Arrival): string {
  return Buffer.from(arrival.message).toString()
}

function benchOf(t: TestContext, open: OpenUdpListener): Bench {
  const counts = newListenCounts()
  return {
    counts,
    async open(handler, options = {}) {
      const listener = await open({ address: LOOPBACK_V4, port: 0, reusePort: false, ...options }, handler, {
        counts: counts.udp,
      })
      t.after(() => listener.stop(0))
      return listener
    },
    client(listener) {
      const socket = createSocket(listener.address.includes(':') ? 'udp6' : 'udp4')
      t.after(() => closed(socket))
      const received: string[] = []
      socket.on('message', (message) => received.push(message.toString()))
      return { received, send: (text) => socket.send(text, listener.port, listener.address) }
    },
  }
}

async function closed(socket: Socket): Promise<void> {
  const done = once(socket, 'close')
  socket.close()
  await done
}
