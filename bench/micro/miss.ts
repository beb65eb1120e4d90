// Question: what does one forwarded miss cost on the event loop, from the client's bytes to the response's bytes, with
// the upstream's socket but no client's? Batches of one are what a quiet node sees, of 64 a busy one.
//
//   node bench/micro/miss.ts [tcp | udp | udp-node]      udp-node: by Node's sockets instead of system calls
//
// The upstream is a small server on a thread of its own, so its share is not in the figures. CPU is the event loop's
// thread, user and system; the lowest tenth of the batches counts, which a neighbour's turn does not disturb.

import { Worker } from 'node:worker_threads'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { ROOT } from '../../src/dns/wire/name.ts'
import { CounterLabels, TrafficCounters } from '../../src/observe/counters.ts'
import { ExchangeCounters } from '../../src/observe/exchange-counters.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import { createUpstreamGroup } from '../../src/serve/forward/forwarder.ts'
import { openNodeSocket } from '../../src/serve/forward/udp-socket.ts'
import type { Arrival } from '../../src/serve/query-handler.ts'
import { Resolver } from '../../src/serve/resolve.ts'
import type { Route } from '../../src/serve/resolve-parts.ts'
import { SlowPath } from '../../src/serve/slow-path.ts'
import { queryBytes } from '../../test/common/zone-server.ts'

/** Answers every query with one A record, in the order they came. */
const UPSTREAM = `
const { createServer } = require('node:net')
const { createSocket } = require('node:dgram')
const { parentPort } = require('node:worker_threads')
const record = Buffer.from('c00c000100010000012c0004c0000201', 'hex')
const server = createServer({ noDelay: true }, (socket) => {
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const out = []
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
      const end = 2 + rest.readUInt16BE(0)
      let at = 14
      while (rest[at] !== 0) at += rest[at] + 1
      const head = Buffer.from(rest.subarray(0, at + 5))
      head.writeUInt16BE(head.length - 2 + record.length, 0)
      head.writeUInt16BE(0x8180, 4)
      head.writeUInt16BE(1, 8)
      head.writeUInt16BE(0, 12)
      out.push(head, record)
      rest = rest.subarray(end)
    }
    socket.write(Buffer.concat(out))
  })
  socket.on('error', () => {})
})
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address()
  const socket = createSocket({ type: 'udp4', lookup: (address, _options, tell) => tell(null, address, 4) })
  socket.on('message', (query, { port, address }) => {
    let at = 12
    while (query[at] !== 0) at += query[at] + 1
    const response = Buffer.concat([query.subarray(0, at + 5), record])
    response.writeUInt16BE(0x8180, 2)
    response.writeUInt16BE(1, 6)
    response.writeUInt16BE(0, 10)
    socket.send(response, port, address)
  })
  socket.bind(port, '127.0.0.1', () => parentPort.postMessage(port))
})
`
const [way = 'tcp'] = process.argv.slice(2)

const worker = new Worker(UPSTREAM, { eval: true })
const port = await new Promise<number>((tell) => worker.once('message', tell))
const traffic = new TrafficCounters(new CounterLabels())
const recordCache = new RecordCache(16 * 1024 * 1024)
let nextId = 0
const group = createUpstreamGroup(
  {
    upstreams: [{ address: '127.0.0.1', port }],
    transport: way === 'tcp' ? 'tcp' : 'udp',
    maxInFlight: 1_000,
    loopZone: ROOT,
  },
  {
    observer: new ExchangeCounters(),
    random: Math.random,
    randomId: () => (nextId = (nextId + 40_503) & 0xffff),
    nowMs: () => performance.now(),
    ...(way === 'udp-node' ? { openUdpSocket: openNodeSocket } : {}),
  },
)
const route: Route = { kind: 'forward', label: '.', id: 1, upstreams: group }
const resolver = new Resolver(new RouteTable<Route>([[ROOT, route]]), {
  recordCache,
  limits: { minTtlSeconds: 0, maxTtlSeconds: 30, maxNegativeTtlSeconds: 5 },
  serveStale: { maxStaleSeconds: 3600, clientTimeoutMs: 1800 },
  prefetch: true,
  zoneOfImpossibleSearchName: () => undefined,
  nowSeconds: () => performance.now() / 1000,
  onPanic: (error) => {
    throw error
  },
  after: (delayMs, call) => {
    const timer = setTimeout(call, delayMs)
    return () => clearTimeout(timer)
  },
})
const slowPath = new SlowPath({
  resolver: () => resolver,
  traffic,
  queryLog: () => ({ level: 'none', query() {} }),
  nowSeconds: () => performance.now() / 1000,
  onPanic: (error) => {
    throw error
  },
  rotates: () => false,
  keepaliveDeciseconds: () => 100,
})

let number = 0

/** Asks `size` new names in one turn and waits for all responses. */
function batchOf(size: number): Promise<void> {
  return new Promise((done) => {
    let left = size
    const arrival = (message: Uint8Array): Arrival => ({
      message,
      transport: 0,
      family: 0,
      server: 'dns://127.0.0.1:53',
      clientAddress: '127.0.0.1',
      respond: () => {
        if (--left === 0) done()
      },
      drop: () => {
        throw new Error('the bench asks nonsense')
      },
    })
    for (let i = 0; i < size; i++) {
      slowPath.handle(arrival(queryBytes({ name: `m${number++}.bench.example.`, type: 1, class: 1 })))
    }
  })
}

console.log('| misses in a batch | CPU µs a miss, lowest tenth | median |\n| --- | --- | --- |')
for (const size of [1, 8, 64]) {
  for (let i = 0; i < 30_000 / size; i++) await batchOf(size)
  const micros: number[] = []
  for (let sample = 0; sample < 150; sample++) {
    const batches = Math.ceil(256 / size)
    const before = process.threadCpuUsage()
    for (let i = 0; i < batches; i++) await batchOf(size)
    const { user, system } = process.threadCpuUsage(before)
    micros.push((user + system) / batches / size)
  }
  micros.sort((one, other) => one - other)
  console.log(`| ${size} | ${micros[15]!.toFixed(1)} | ${micros[75]!.toFixed(1)} |`)
}
await group.stop(0)
recordCache.close()
await worker.terminate()
