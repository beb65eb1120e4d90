/**
 * The way of a miss, gone before anybody waits for it: code that never ran has to be read and compiled first, and the first
 * clients after a start waited for that.
 *
 * The real parts ask an upstream of our own on loopback, and all that they count or keep is thrown away.
 */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { RouteTable } from '../dns/policy/route.ts'
import { OPT_FIXED_OCTETS } from '../dns/wire/edns.ts'
import {
  ANCOUNT_AT,
  ARCOUNT_AT,
  FLAGS_AT,
  Flag,
  HEADER_OCTETS,
  MESSAGE_OCTETS_MAX,
  readUint16,
  writeUint16,
} from '../dns/wire/header.ts'
import { nameFromText, ROOT } from '../dns/wire/name.ts'
import { RecordClass, RecordType } from '../dns/wire/record-type.ts'
import { upstreamQuery } from '../dns/wire/upstream-query.ts'
import { CounterLabels, TrafficCounters } from '../observe/counters.ts'
import { RecordCache } from '../serve/cache/record-cache.ts'
import { createUpstreamGroup } from '../serve/forward/forwarder.ts'
import type { UpstreamGroup } from '../serve/forward/forwarder-contract.ts'
import { Family, Transport } from '../serve/query-handler.ts'
import { Resolver } from '../serve/resolve.ts'
import type { Route } from '../serve/resolve-parts.ts'
import { SlowPath } from '../serve/slow-path.ts'
import { nowMs, nowSeconds, unpredictableUint16 } from './clock-and-chance.ts'

/** Names that are asked over each transport, each twice: a miss, and a hit. After eight the first miss took 9 ms, after forty 4. */
const NAMES = 40

/** Milliseconds after which the start goes on, whatever is left. */
const LASTS_MS_MAX = 200

const LOOPBACK = '127.0.0.1'
const LENGTH_OCTETS = 2

/** `192.0.2.1` for thirty seconds, owned by the name at the start of the question. */
const RECORD = Buffer.from('c00c000100010000001e0004c0000201', 'hex')

/** Asks over each transport once and again; resolves to how many questions were answered. Rejects where loopback cannot be used. */
export async function rehearse(
  transports: ReadonlySet<'udp' | 'tcp'>,
  lastsMsMax: number = LASTS_MS_MAX,
): Promise<number> {
  const upstream = await openUpstream()
  const recordCache = new RecordCache(1 << 20)
  const groups: UpstreamGroup[] = []
  let answered = 0
  try {
    const endMs = nowMs() + lastsMsMax
    for (const transport of transports) {
      const group = createUpstreamGroup(
        { upstreams: [{ address: LOOPBACK, port: upstream.port }], transport, maxInFlight: NAMES },
        {
          observer: { exchangeEnded() {}, healthcheckFailed() {}, connectionReused() {}, connectionOpened() {} },
          random: Math.random,
          randomId: unpredictableUint16,
          nowMs,
        },
      )
      groups.push(group)
      answered += await askAll(group, recordCache, endMs)
    }
  } finally {
    await Promise.all(groups.map((group) => group.stop(0)))
    recordCache.close()
    upstream.close()
  }
  return answered
}

async function askAll(upstreams: UpstreamGroup, recordCache: RecordCache, endMs: number): Promise<number> {
  const slowPath = slowPathTo(upstreams, recordCache)
  let answered = 0
  for (let ask = 0; ask < 2 * NAMES && nowMs() < endMs; ask++) {
    if (await isAnswered(slowPath, queryFor(`n${ask >> 1}.rehearsal.invalid`), endMs - nowMs())) answered++
  }
  return answered
}

function isAnswered(slowPath: SlowPath, message: Uint8Array, withinMs: number): Promise<boolean> {
  return new Promise((tell) => {
    const timer = setTimeout(() => tell(false), Math.max(0, withinMs))
    const end = (isResponse: boolean) => (): void => {
      clearTimeout(timer)
      tell(isResponse)
    }
    slowPath.handle({
      message,
      transport: Transport.Udp,
      family: Family.V4,
      server: 'dns://127.0.0.1:53',
      clientAddress: LOOPBACK,
      respond: end(true),
      drop: end(false),
    })
  })
}

function queryFor(name: string): Buffer {
  return upstreamQuery(
    {
      name: nameFromText(name)!,
      type: RecordType.A,
      class: RecordClass.IN,
      recursionDesired: true,
      checkingDisabled: false,
      dnssecOk: false,
    },
    unpredictableUint16(),
    true,
  )
}

function slowPathTo(upstreams: UpstreamGroup, recordCache: RecordCache): SlowPath {
  const panic = (error: unknown): never => {
    throw error
  }
  const route: Route = { kind: 'forward', label: '.', id: 0, upstreams }
  const resolver = new Resolver(new RouteTable<Route>([[ROOT, route]]), {
    recordCache,
    limits: { minTtlSeconds: 0, maxTtlSeconds: 30, maxNegativeTtlSeconds: 5 },
    serveStale: undefined,
    prefetch: false,
    zoneOfImpossibleSearchName: () => undefined,
    nowSeconds,
    onPanic: panic,
    after: () => () => {},
  })
  return new SlowPath({
    resolver: () => resolver,
    traffic: new TrafficCounters(new CounterLabels()),
    queryLog: () => ({ level: 'none', query() {} }),
    nowSeconds,
    onPanic: panic,
    rotates: () => false,
    keepaliveDeciseconds: () => 0,
  })
}

/** Answers every question of ours with one record. */
async function openUpstream(): Promise<{ readonly port: number; close(): void }> {
  const connections = new Set<Socket>()
  const server = createServer((socket) => {
    connections.add(socket)
    socket.on('data', (octets) => {
      // We write a query in one piece, and wait for its answer before the next.
      const octetsOfMessage = Math.min(readUint16(octets, 0), octets.length - LENGTH_OCTETS, MESSAGE_OCTETS_MAX)
      const answer = answerTo(octets.subarray(LENGTH_OCTETS, LENGTH_OCTETS + octetsOfMessage))
      const length = Buffer.alloc(LENGTH_OCTETS)
      writeUint16(length, 0, answer.length)
      socket.write(Buffer.concat([length, answer]))
    })
    // Told by the rehearsal, whose questions are not answered then.
    socket.on('error', () => socket.destroy())
  })
  const datagrams = createSocket('udp4')
  datagrams.on('message', (query, from) => {
    // Port 0 is a forger's, and nothing can be sent to it.
    if (from.port !== 0) datagrams.send(answerTo(query), from.port, from.address)
  })
  try {
    server.listen(0, LOOPBACK)
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    datagrams.bind(port, LOOPBACK)
    await once(datagrams, 'listening')
    // As above: an error of a rehearsal must not end the agent.
    for (const socket of [server, datagrams]) socket.on('error', () => undefined)
    return { port, close }
  } catch (error) {
    close()
    throw error
  }

  function close(): void {
    for (const socket of connections) socket.destroy()
    server.close()
    datagrams.close()
  }
}

/** To a query of ours: the question, and behind it nothing but the OPT. */
function answerTo(query: Buffer): Buffer {
  const answer = Buffer.concat([query.subarray(0, Math.max(HEADER_OCTETS, query.length - OPT_FIXED_OCTETS)), RECORD])
  writeUint16(answer, FLAGS_AT, readUint16(answer, FLAGS_AT) | Flag.Response | Flag.RecursionAvailable)
  writeUint16(answer, ANCOUNT_AT, 1)
  writeUint16(answer, ARCOUNT_AT, 0)
  return answer
}
