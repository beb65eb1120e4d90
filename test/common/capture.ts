/** What went over the wire, and whose loss a query is that was never answered: tcpdump says. */

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from './agent-process.ts'
import type { TestNode } from './test-node.ts'

export interface TcpLosses {
  readonly queries: number
  /** Sent after the server's end of the connection had arrived in the client's kernel: the client could have known. */
  readonly afterEnd: number
  /** Sent before it, and not answered: ours, or one that crossed the end on its way. Microseconds between the two. */
  readonly beforeEndUs: readonly number[]
  /** Packets that the capture missed; then the rest says nothing. */
  readonly missed: number
}

/** Begins to capture DNS over TCP and IPv4 on the pod's link, as its kernel sees it; the result ends it. */
export async function captureTcp(node: TestNode): Promise<() => Promise<TcpLosses>> {
  const path = join(node.directory, 'tcp.pcap')
  const link = (await node.shell('pod', 'basename /sys/class/net/v1i*')).trim()
  const child = node.spawn('pod', 'tcpdump', ['-Z', 'root', '-i', link, '-w', path, '-B', '65536', 'tcp port 53'])
  let said = ''
  child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await until(
    () => said.includes('listening on'),
    10_000,
    () => said,
  )
  return async () => {
    const ended = once(child, 'close')
    child.kill('SIGINT')
    await ended
    const missed = Number(/(\d+) packets? dropped by kernel/.exec(said)?.[1] ?? Number.NaN)
    return { ...lossesIn(await readFile(path)), missed }
  }
}

const DNS_PORT = 53
const ETHERNET_OCTETS = 14
const FIN = 0x01
const SYN = 0x02

/** One direction of a connection, as far as it is put together. */
class Direction {
  #next: number | undefined
  #held = Buffer.alloc(0)

  /** The ids of the messages that this segment completes. */
  take(sequence: number, flags: number, payload: Buffer): number[] {
    if ((flags & SYN) !== 0) this.#next = (sequence + 1) >>> 0
    if (this.#next === undefined || payload.length === 0) return []
    const known = (this.#next - sequence) >>> 0
    // Sent a second time; on a link that loses nothing there are no gaps.
    if (known >= payload.length) return []
    this.#held = Buffer.concat([this.#held, payload.subarray(known)])
    this.#next = (sequence + payload.length) >>> 0
    const ids: number[] = []
    while (this.#held.length >= 2 && this.#held.length >= 2 + this.#held.readUInt16BE(0)) {
      ids.push(this.#held.readUInt16BE(2))
      this.#held = this.#held.subarray(2 + this.#held.readUInt16BE(0))
    }
    return ids
  }
}

interface Connection {
  readonly queries: Direction
  readonly responses: Direction
  /** Ids without an answer, with when they were asked, in microseconds. */
  readonly waiting: Map<number, number>
  endedAtUs: number | undefined
}

function lossesIn(pcap: Buffer): Omit<TcpLosses, 'missed'> {
  const connections: Connection[] = []
  const open = new Map<string, Connection>()
  let queries = 0
  for (let at = 24; at + 16 <= pcap.length; ) {
    const atUs = pcap.readUInt32LE(at) * 1e6 + pcap.readUInt32LE(at + 4)
    const octets = pcap.readUInt32LE(at + 8)
    const ip = pcap.subarray(at + 16 + ETHERNET_OCTETS, at + 16 + octets)
    at += 16 + octets
    const tcp = ip.subarray((ip[0]! & 0x0f) * 4, ip.readUInt16BE(2))
    const [from, to, sequence, flags] = [tcp.readUInt16BE(0), tcp.readUInt16BE(2), tcp.readUInt32BE(4), tcp[13]!]
    const payload = tcp.subarray((tcp[12]! >> 4) * 4)
    const isQuery = to === DNS_PORT
    const client = String(isQuery ? from : to)
    if (isQuery && (flags & SYN) !== 0) {
      const begun = { queries: new Direction(), responses: new Direction(), waiting: new Map(), endedAtUs: undefined }
      connections.push(begun)
      open.set(client, begun)
    }
    const connection = open.get(client)
    if (connection === undefined) continue
    if (isQuery) {
      for (const id of connection.queries.take(sequence, flags, payload)) {
        queries++
        connection.waiting.set(id, atUs)
      }
    } else {
      for (const id of connection.responses.take(sequence, flags, payload)) connection.waiting.delete(id)
      if ((flags & FIN) !== 0) connection.endedAtUs ??= atUs
    }
  }
  // Of connections that the client ended, nobody is to blame; dnsperf ends its own with queries under way.
  const untilEndUs = connections.flatMap(({ waiting, endedAtUs }) =>
    endedAtUs === undefined ? [] : [...waiting.values()].map((askedAtUs) => endedAtUs - askedAtUs),
  )
  const beforeEndUs = untilEndUs.filter((us) => us > 0)
  return { queries, afterEnd: untilEndUs.length - beforeEndUs.length, beforeEndUs }
}
