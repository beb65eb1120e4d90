import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { suite, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { boundBuffers } from '../../../src/host/stream-calls.ts'
import { descriptorsOf } from '../../../src/serve/listen/descriptor.ts'
import { framed, MessageStream } from '../../../src/serve/listen/framing.ts'
import { type ListenCounts, newListenCounts } from '../../../src/serve/listen/listen-counts.ts'
import { openTcpListener, type TcpListenerOptions } from '../../../src/serve/listen/tcp.ts'
import { TCP_LIMITS } from '../../../src/serve/listen/tcp-limits.ts'
import { type Holder, TcpRoom } from '../../../src/serve/listen/tcp-room.ts'
import { type Arrival, Family, type Listener, type QueryHandler, Transport } from '../../../src/serve/query-handler.ts'
import { until } from '../../common/until.ts'

/** So long that it never comes in a test. */
const NEVER_MS = 600_000

suite('tcp listener', () => {
  for (const { address, family, server } of [
    { address: '127.0.0.1', family: Family.V4, server: (port: number) => `dns://127.0.0.1:${port}` },
    { address: '::1', family: Family.V6, server: (port: number) => `dns://[::1]:${port}` },
  ]) {
    test(`answers ${address} and says who asked whom`, async (t) => {
      const arrivals: Arrival[] = []
      const { listener, client } = await benchOf(t, (arrival) => (arrivals.push(arrival), echo(arrival)), { address })
      const asking = client()
      asking.ask('query')
      await until(() => asking.responses.length === 1)
      assert.deepEqual(asking.responses, ['query'])
      assert.equal(arrivals[0]?.transport, Transport.Tcp)
      assert.equal(arrivals[0].family, family)
      assert.equal(arrivals[0].server, server(listener.port))
      assert.equal(arrivals[0].clientAddress, address)
    })
  }

  test('takes all connections that wait in one turn of the event loop, and answers each', async (t) => {
    const { client, counts } = await benchOf(t, echo)
    const clients = Array.from({ length: 30 }, client)
    for (const [i, asking] of clients.entries()) asking.ask(`query ${i}`)
    while (counts.tcp.connectionsAccepted === 0) await new Promise((resolve) => void setImmediate(resolve))
    assert.equal(counts.tcp.connectionsAccepted, 30)
    await until(() => clients.every(({ responses }) => responses.length === 1))
    assert.deepEqual(
      clients.map(({ responses }) => responses[0]),
      clients.map((_, i) => `query ${i}`),
    )
  })

  test('takes a message that comes octet by octet', async (t) => {
    const { client } = await benchOf(t, echo)
    const asking = client()
    for (const octet of framed(Buffer.from('octet by octet'))) {
      await new Promise((resolve) => asking.socket.write(Buffer.of(octet), resolve))
    }
    await until(() => asking.responses.length === 1)
    assert.deepEqual(asking.responses, ['octet by octet'])
  })

  for (const { promise, handler } of [
    { promise: 'answers 1000 queries of one segment, answered at once', handler: echo },
    {
      promise: 'answers 1000 queries of one segment, answered later',
      handler: (arrival: Arrival) => {
        const response = Uint8Array.from(arrival.message)
        setImmediate(() => arrival.respond(response))
      },
    },
  ]) {
    test(promise, async (t) => {
      const { client, counts } = await benchOf(t, handler)
      const asking = client()
      const queries = Array.from({ length: 1000 }, (_, i) => `query ${i}`)
      asking.socket.write(Buffer.concat(queries.map((query) => framed(Buffer.from(query)))))
      await until(() => asking.responses.length === queries.length)
      assert.deepEqual(asking.responses, queries)
      assert.equal(counts.tcp.cut.slowReader, 0)
      assert.ok(counts.tcp.paused.queriesInFlight + counts.tcp.paused.messagesPerTurn > 0)
    })
  }

  test('sends responses in the order in which they are ready', async (t) => {
    const waiting: Arrival[] = []
    const { client } = await benchOf(t, (arrival) => waiting.push(arrival))
    const asking = client()
    asking.ask('first')
    asking.ask('second')
    await until(() => waiting.length === 2)
    waiting[1]!.respond(Buffer.from('second'))
    waiting[0]!.respond(Buffer.from('first'))
    await until(() => asking.responses.length === 2)
    assert.deepEqual(asking.responses, ['second', 'first'])
  })

  test('sends nothing for a dropped query and serves the next', async (t) => {
    const { client } = await benchOf(t, (arrival) => (textOf(arrival) === 'drop me' ? arrival.drop() : echo(arrival)))
    const asking = client()
    asking.ask('drop me')
    asking.ask('answer me')
    await until(() => asking.responses.length === 1)
    assert.deepEqual(asking.responses, ['answer me'])
  })

  test('has no more queries of a connection under way than it may', async (t) => {
    const waiting: Arrival[] = []
    const { client, counts } = await benchOf(t, (arrival) => waiting.push(arrival), {
      limits: { queriesInFlightMax: 3 },
    })
    const asking = client()
    for (let i = 0; i < 7; i++) asking.ask(`query ${i}`)
    await until(() => counts.tcp.paused.queriesInFlight > 0)
    let waitingMax = 0
    while (asking.responses.length < 7) {
      waitingMax = Math.max(waitingMax, waiting.length)
      const arrival = waiting.shift()
      arrival?.respond(Buffer.from('response'))
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.equal(waitingMax, 3)
  })

  test('answers what was asked before an empty message, then ends the connection', async (t) => {
    const { client, counts } = await benchOf(t, echo)
    const asking = client()
    asking.socket.write(Buffer.concat([framed(Buffer.from('query')), Buffer.alloc(2), framed(Buffer.from('more'))]))
    await until(() => asking.isClosed)
    assert.deepEqual(asking.responses, ['query'])
    assert.equal(counts.tcp.cut.emptyMessage, 1)
    assert.equal(asking.error, undefined)
  })

  test('cuts a client whose message is longer in word than in deed', async (t) => {
    const { client, counts } = await benchOf(t, echo, { limits: { partialMessageMs: 20 } })
    const asking = client()
    asking.ask('query')
    asking.socket.write(Buffer.from('ffff616263', 'hex'))
    await until(() => asking.isClosed)
    assert.deepEqual(asking.responses, ['query'])
    assert.equal(counts.tcp.cut.partialMessage, 1)
  })

  test('does not take a stream that always ends within a message for a stalled one', async (t) => {
    const { client, counts } = await benchOf(t, echo, { limits: { partialMessageMs: 500 } })
    const asking = client()
    const bytes = framed(Buffer.from('query'))
    asking.socket.write(bytes.subarray(0, 4))
    const started = performance.now()
    let asked = 0
    while (performance.now() - started < 1000) {
      asking.socket.write(Buffer.concat([bytes.subarray(4), bytes.subarray(0, 4)]))
      asked++
      await until(() => asking.responses.length === asked)
    }
    assert.equal(counts.tcp.cut.partialMessage, 0)
    assert.equal(asking.isClosed, false)
  })

  test('closes an idle connection, but not one whose query is under way', async (t) => {
    const waiting: Arrival[] = []
    const { client, counts } = await benchOf(t, (arrival) => waiting.push(arrival), { limits: { idleMs: 20 } })
    const busy = client()
    busy.ask('query')
    await until(() => waiting.length === 1)
    const idle = client()
    await until(() => idle.isClosed)
    assert.equal(busy.isClosed, false)
    waiting[0]!.respond(Buffer.from('response'))
    await until(() => busy.isClosed)
    assert.deepEqual(busy.responses, ['response'])
    assert.equal(counts.tcp.cut.idle, 2)
  })

  test('answers a client that has closed its half', async (t) => {
    const waiting: Arrival[] = []
    const { client, counts } = await benchOf(t, (arrival) => waiting.push(arrival))
    const asking = client()
    asking.ask('one')
    asking.ask('two')
    asking.socket.end()
    await until(() => waiting.length === 2)
    waiting[0]!.respond(Buffer.from('one'))
    await until(() => asking.responses.length === 1)
    waiting[1]!.respond(Buffer.from('two'))
    await until(() => asking.isClosed)
    assert.deepEqual(asking.responses, ['one', 'two'])
    await until(() => counts.tcp.connectionsOpen === 0)
    assert.deepEqual(counts.tcp.cut, newListenCounts().tcp.cut)
  })

  test('counts a FIN in the middle of a message', async (t) => {
    const { client, counts } = await benchOf(t, echo)
    const asking = client()
    asking.socket.end(Buffer.from('000561', 'hex'))
    await until(() => asking.isClosed)
    assert.equal(counts.tcp.cut.partialMessage, 1)
  })

  test('survives a reset, and counts the response that comes later', async (t) => {
    const waiting: Arrival[] = []
    const { client, counts } = await benchOf(t, (arrival) => waiting.push(arrival))
    const asking = client()
    asking.ask('query')
    await until(() => waiting.length === 1)
    asking.socket.resetAndDestroy()
    await until(() => counts.tcp.cut.reset === 1)
    waiting[0]!.respond(Buffer.from('response'))
    assert.equal(counts.tcp.responsesLate, 1)
    assert.equal(counts.tcp.connectionsOpen, 0)
  })

  test('reads no more from a client that does not take its responses, and goes on when it does', async (t) => {
    let taken = 0
    const response = Buffer.alloc(60_000)
    const { client, counts } = await benchOf(t, (arrival) => (taken++, arrival.respond(response)))
    const asking = client()
    asking.socket.pause()
    for (let i = 0; i < 500; i++) asking.ask(`query ${i}`)
    await until(() => counts.tcp.paused.pendingWrites > 0)
    assert.ok(taken < 500)
    asking.socket.resume()
    await until(() => asking.responses.length === 500)
    assert.equal(counts.tcp.cut.slowReader, 0)
  })

  test('cuts a client that leaves too much unread', async (t) => {
    const waiting: Arrival[] = []
    const { client, counts } = await benchOf(t, (arrival) => waiting.push(arrival), {
      limits: { pendingWriteBytesMax: 200_000 },
    })
    const asking = client()
    asking.socket.pause()
    for (let i = 0; i < 100; i++) asking.ask(`query ${i}`)
    await until(() => waiting.length === 100)
    for (const arrival of waiting) arrival.respond(Buffer.alloc(65_535))
    assert.equal(counts.tcp.cut.slowReader, 1)
    await until(() => counts.tcp.connectionsOpen === 0)
  })

  test('cuts a client that takes nothing for the idle time', async (t) => {
    const { client, counts } = await benchOf(t, (arrival) => arrival.respond(Buffer.alloc(60_000)), {
      limits: { idleMs: 30 },
    })
    const asking = client()
    asking.socket.pause()
    for (let i = 0; i < 500; i++) asking.ask(`query ${i}`)
    await until(() => counts.tcp.cut.slowReader === 1)
    await until(() => counts.tcp.connectionsOpen === 0)
  })

  for (const { promise, limits, reason } of [
    {
      promise: 'limits connections in all',
      limits: { connectionsMax: 2, connectionsReserved: 0 },
      reason: 'connections',
    },
    {
      promise: 'limits connections of one client',
      limits: { connectionsPerClientMax: 2, connectionsReserved: 0 },
      reason: 'connectionsPerClient',
    },
  ] as const) {
    test(promise, async (t) => {
      const { client, counts } = await benchOf(t, echo, { limits })
      const first = client()
      const second = client()
      await until(() => counts.tcp.connectionsOpen === 2)
      const third = client()
      await until(() => third.isClosed)
      assert.equal(counts.tcp.refused[reason], 1)
      first.socket.end()
      await until(() => counts.tcp.connectionsOpen === 1)
      const fourth = client()
      fourth.ask('query')
      second.ask('query')
      await until(() => fourth.responses.length === 1 && second.responses.length === 1)
    })
  }

  test('keeps connections for queries to ourselves, whoever holds all others', async (t) => {
    const { client, counts } = await benchOf(t, echo, { limits: { connectionsMax: 2, connectionsReserved: 1 } })
    client('127.0.0.2')
    client('127.0.0.3')
    await until(() => counts.tcp.connectionsOpen === 2)
    const pod = client('127.0.0.4')
    await until(() => pod.isClosed)
    const own = client()
    own.ask('query')
    await until(() => own.responses.length === 1)
    assert.equal(counts.tcp.refused.connections, 1)
  })

  test('keeps them for queries from loopback to another address, too', async (t) => {
    const { client, counts } = await benchOf(t, echo, {
      address: '127.0.0.9',
      limits: { connectionsMax: 1, connectionsReserved: 1 },
    })
    client('127.0.0.2')
    await until(() => counts.tcp.connectionsOpen === 1)
    const own = client('127.0.0.1')
    own.ask('query')
    await until(() => own.responses.length === 1)
    const another = client('127.0.0.1')
    await until(() => another.isClosed)
    own.socket.end()
    await until(() => counts.tcp.connectionsOpen === 1)
    const next = client('127.0.0.1')
    next.ask('query')
    await until(() => next.responses.length === 1)
  })

  for (const { promise, limits, reason, from } of [
    {
      promise: 'limits connections to all addresses together',
      limits: { connectionsMax: 2, connectionsPerClientMax: 2 },
      reason: 'connections',
      from: ['127.0.0.2', '127.0.0.3', '127.0.0.4'],
    },
    {
      promise: 'limits connections of one client to all addresses together',
      limits: { connectionsMax: 9, connectionsPerClientMax: 2 },
      reason: 'connectionsPerClient',
      from: ['127.0.0.2', '127.0.0.2', '127.0.0.2'],
    },
  ] as const) {
    test(promise, async (t) => {
      const room = new TcpRoom({ ...TCP_LIMITS, ...limits })
      const one = await benchOf(t, echo, { limits }, room)
      const other = await benchOf(t, echo, { limits, address: '127.0.0.9' }, room)
      const first = one.client(from[0])
      other.client(from[1])
      await until(() => one.counts.tcp.connectionsOpen + other.counts.tcp.connectionsOpen === 2)
      const third = other.client(from[2])
      await until(() => third.isClosed)
      assert.equal(other.counts.tcp.refused[reason], 1)
      first.socket.end()
      await until(() => one.counts.tcp.connectionsOpen === 0)
      const fourth = other.client(from[2])
      fourth.ask('query')
      await until(() => fourth.responses.length === 1)
    })
  }

  test('holds no more for all slow readers together than it may: whoever has most is cut, the others get everything', async (t) => {
    const limits = { heldOctetsMax: 1_500_000 }
    const room = new WatchedRoom({ ...TCP_LIMITS, ...limits })
    const waiting: Arrival[] = []
    const handler = (arrival: Arrival) => void waiting.push(arrival)
    const benches = [
      await benchOf(t, handler, { limits }, room),
      await benchOf(t, handler, { limits, address: '127.0.0.9' }, room),
    ]
    // The last one asks for twice as much as each other; all of them together for more than there is room for.
    const asked = [8, 8, 8, 8, 8, 16]
    const clients = asked.map((queries, i) => {
      const client = benches[i % 2]!.client(`127.0.0.${20 + i}`)
      client.socket.pause()
      client.socket.on('connect', () => boundBuffers(descriptorsOf(client.socket)[0]!, TCP_LIMITS.kernelOctets))
      for (let query = 0; query < queries; query++) client.ask(`query ${query}`)
      return client
    })
    await until(() => waiting.length === asked.reduce((sum, queries) => sum + queries, 0))
    for (const arrival of waiting) {
      arrival.respond(Buffer.alloc(60_000))
      // What a turn writes, the kernel gets at its end.
      await nextTurn()
      assert.ok(room.held <= limits.heldOctetsMax, `${room.held} octets held`)
    }
    const cut = () => benches.reduce((sum, { counts }) => sum + counts.tcp.cut.heldInAll, 0)
    assert.ok(cut() >= 1)
    for (const client of clients) client.socket.resume()
    await until(() => clients.every((client, i) => client.isClosed || client.responses.length === asked[i]))
    assert.equal(clients.filter(({ isClosed }) => isClosed).length, cut())
    assert.equal(clients.at(-1)!.isClosed, true)
    await until(() => room.held === 0)
  })

  test('forgets what it held when a client is gone', async (t) => {
    const room = new WatchedRoom(TCP_LIMITS)
    const { client, counts } = await benchOf(t, (arrival) => arrival.respond(Buffer.alloc(60_000)), {}, room)
    const asking = client()
    asking.socket.pause()
    for (let i = 0; i < 100; i++) asking.ask(`query ${i}`)
    const partial = client()
    partial.socket.write(Buffer.from('ffff616263', 'hex'))
    await until(() => room.holders === 2)
    asking.socket.resetAndDestroy()
    partial.socket.resetAndDestroy()
    await until(() => counts.tcp.connectionsOpen === 0)
    assert.equal(room.held, 0)
  })

  test('leaves no more to the kernel than it may', async (t) => {
    const room = new WatchedRoom(TCP_LIMITS)
    const waiting: Arrival[] = []
    const { client } = await benchOf(t, (arrival) => waiting.push(arrival), {}, room)
    const asking = client()
    asking.socket.pause()
    asking.socket.on('connect', () => boundBuffers(descriptorsOf(asking.socket)[0]!, TCP_LIMITS.kernelOctets))
    for (let i = 0; i < 40; i++) asking.ask(`query ${i}`)
    await until(() => waiting.length === 40)
    for (const arrival of waiting) arrival.respond(Buffer.alloc(60_000))
    await nextTurn()
    // In our kernel's buffer and in the client's, each of which may take twice the octets that it was told.
    const ofKernels = 40 * 60_002 - room.held
    assert.ok(
      ofKernels <= 2 * (TCP_LIMITS.kernelOctets.toSend + TCP_LIMITS.kernelOctets.received),
      `${ofKernels} octets are with the kernel`,
    )
  })

  test('says which address is in use and which is not of this machine', async (t) => {
    const { listener } = await benchOf(t, echo)
    await assert.rejects(benchOf(t, echo, { port: listener.port }), {
      code: 'ADDRESS_IN_USE',
      message: new RegExp(`127\\.0\\.0\\.1 port ${listener.port} `),
    })
    await assert.rejects(benchOf(t, echo, { address: '192.0.2.1' }), {
      code: 'ADDRESS_NOT_LOCAL',
      message: /192\.0\.2\.1 port 0 /,
    })
  })

  test('shares a port when told to', async (t) => {
    const first = await benchOf(t, echo, { reusePort: true })
    const second = await benchOf(t, echo, { reusePort: true, port: first.listener.port })
    await first.listener.stop(1000)
    const asking = second.client()
    asking.ask('query')
    await until(() => asking.responses.length === 1)
  })

  test('answers what is under way before it closes, and accepts nobody meanwhile', async (t) => {
    const waiting: Arrival[] = []
    const { listener, client, counts } = await benchOf(t, (arrival) => waiting.push(arrival))
    const asking = client()
    asking.ask('query')
    const idle = client()
    await until(() => waiting.length === 1 && counts.tcp.connectionsOpen === 2)
    const stopped = listener.stop(NEVER_MS)
    await until(() => idle.isClosed)
    const late = client()
    await until(() => late.isClosed)
    assert.equal(late.error, 'ECONNREFUSED')
    waiting[0]!.respond(Buffer.from('response'))
    await stopped
    await until(() => asking.isClosed)
    assert.deepEqual(asking.responses, ['response'])
    assert.equal(asking.error, undefined)
    assert.equal(idle.error, undefined)
    assert.equal(counts.tcp.cut.stopping, 0)
  })

  test('answers the queries that the kernel held when it was told to stop', async (t) => {
    const { listener, client } = await benchOf(t, echo)
    const asking = client()
    asking.ask('before')
    await until(() => asking.responses.length === 1)
    await new Promise((resolve) => asking.socket.write(framed(Buffer.from('just now')), resolve))
    await listener.stop(NEVER_MS)
    await until(() => asking.isClosed)
    assert.deepEqual(asking.responses, ['before', 'just now'])
  })

  test('cuts what is still under way when the time to stop is over', async (t) => {
    const waiting: Arrival[] = []
    const { listener, client, counts } = await benchOf(t, (arrival) => waiting.push(arrival))
    const asking = client()
    asking.ask('query')
    await until(() => waiting.length === 1)
    await Promise.all([listener.stop(1), listener.stop(1)])
    await until(() => asking.isClosed)
    assert.equal(counts.tcp.cut.stopping, 1)
    assert.equal(counts.tcp.connectionsOpen, 0)
  })
})

function echo(arrival: Arrival): void {
  arrival.respond(Uint8Array.from(arrival.message))
}

function textOf(arrival: Arrival): string {
  return Buffer.from(arrival.message).toString()
}

class Client {
  readonly socket: Socket
  readonly responses: string[] = []
  isClosed = false
  error: string | undefined

  constructor(listener: Listener, localAddress?: string) {
    const stream = new MessageStream()
    this.socket = connect({
      host: listener.address,
      port: listener.port,
      ...(localAddress === undefined ? {} : { localAddress }),
      allowHalfOpen: false,
      noDelay: true,
    })
    this.socket.on('data', (bytes: Buffer) => {
      stream.push(bytes)
      for (let message = stream.next(); message !== undefined; message = stream.next()) {
        this.responses.push(Buffer.from(message).toString())
      }
    })
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code
    })
    this.socket.on('close', () => {
      this.isClosed = true
    })
  }

  ask(text: string): void {
    this.socket.write(framed(Buffer.from(text)))
  }
}

/** Shows what is held. */
class WatchedRoom extends TcpRoom {
  readonly #seen = new Set<Holder>()

  get held(): number {
    return [...this.#seen].reduce((sum, { heldOctets }) => sum + heldOctets, 0)
  }

  get holders(): number {
    return [...this.#seen].filter(({ heldOctets }) => heldOctets > 0).length
  }

  override hold(holder: Holder, octets: number): void {
    this.#seen.add(holder)
    super.hold(holder, octets)
  }
}

interface Bench {
  readonly listener: Listener
  readonly counts: ListenCounts
  /** `localAddress`: where it comes from; left out: the address it connects to. */
  client(localAddress?: string): Client
}

async function benchOf(
  t: TestContext,
  handler: QueryHandler,
  options: Partial<TcpListenerOptions> = {},
  room?: TcpRoom,
): Promise<Bench> {
  const counts = newListenCounts()
  const listener = await openTcpListener({ address: '127.0.0.1', port: 0, reusePort: false, ...options }, handler, {
    counts: counts.tcp,
    ...(room === undefined ? {} : { room }),
  })
  t.after(() => listener.stop(0))
  return {
    listener,
    counts,
    client(localAddress) {
      const client = new Client(listener, localAddress)
      t.after(() => client.socket.destroy())
      return client
    },
  }
}
