/** An upstream of our own on loopback, over UDP and TCP on one port, that does what a test tells it. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'

export interface UpstreamQuery {
  readonly message: Buffer
  readonly transport: 'udp' | 'tcp'
  reply(message: Uint8Array): void
  /** Over TCP: resets the connection. */
  reset(): void
}

export interface ScriptedUpstream {
  readonly port: number
  readonly queries: UpstreamQuery[]
  /** What to do with a query from now on. */
  script(onQuery: (query: UpstreamQuery) => void): void
  close(): void
}

export async function startScriptedUpstream(): Promise<ScriptedUpstream> {
  const queries: UpstreamQuery[] = []
  let onQuery: (query: UpstreamQuery) => void = () => undefined
  const take = (query: UpstreamQuery): void => {
    queries.push(query)
    onQuery(query)
  }
  const sockets = new Set<Socket>()
  const tcp = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    let buffered: Buffer = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      buffered = Buffer.concat([buffered, chunk])
      while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
        const end = 2 + buffered.readUInt16BE(0)
        const message = Buffer.from(buffered.subarray(2, end))
        buffered = buffered.subarray(end)
        take({
          message,
          transport: 'tcp',
          reply: (answer) => {
            const length = Buffer.alloc(2)
            length.writeUInt16BE(answer.length)
            socket.write(Buffer.concat([length, answer]))
          },
          reset: () => socket.resetAndDestroy(),
        })
      }
    })
  })
  tcp.listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  const { port } = tcp.address() as AddressInfo
  const udp = createSocket('udp4')
  udp.on('message', (message, from) => {
    take({
      message: Buffer.from(message),
      transport: 'udp',
      reply: (answer) => udp.send(answer, from.port, from.address),
      reset: () => undefined,
    })
  })
  udp.bind(port, '127.0.0.1')
  await once(udp, 'listening')
  return {
    port,
    queries,
    script: (next) => {
      onQuery = next
    },
    close: () => {
      udp.close()
      tcp.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** A response to a query: its question echoed, with an A record or an rcode. */
export function answerTo(
  query: Buffer,
  parts: { rcode?: number; truncated?: boolean; address?: string; id?: number },
): Buffer {
  let end = 12
  while (query[end] !== 0) end += query[end]! + 1
  end += 5
  const records =
    parts.address === undefined
      ? Buffer.alloc(0)
      : Buffer.concat([
          Buffer.from('c00c000100010000003c0004', 'hex'),
          Buffer.from(parts.address.split('.').map(Number)),
        ])
  const response = Buffer.concat([query.subarray(0, end), records])
  if (parts.id !== undefined) response.writeUInt16BE(parts.id, 0)
  response.writeUInt16BE(0x8180 | (parts.truncated === true ? 0x0200 : 0) | (parts.rcode ?? 0), 2)
  response.writeUInt16BE(parts.address === undefined ? 0 : 1, 6)
  response.writeUInt16BE(0, 8)
  response.writeUInt16BE(0, 10)
  return response
}
