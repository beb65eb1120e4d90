/** An upstream of our own on loopback: UDP, TCP and TLS on one port of the kernel's choice, doing what a script says. */

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import * as dnsPacket from 'dns-packet'

/** A query that came, and the ways to treat it. */
export interface AskedQuery {
  readonly transport: 'udp' | 'tcp' | 'tls'
  readonly bytes: Buffer
  readonly id: number
  /** Without the last dot, letters as they came. */
  readonly name: string
  readonly type: string
  readonly withEdns: boolean
  readonly clientPort: number
  /** Which connection it came by, counted from 1; 0 over UDP. */
  readonly connection: number
  /** Sends bytes as a message of the transport. */
  send(message: Uint8Array): void
  /** Answers with one A record, or with what is given. */
  answer(response?: Partial<dnsPacket.Packet> & { rcode?: number; flagBits?: number }): void
  /** Sends raw octets over TCP, each piece in a segment of its own. */
  sendPieces(pieces: readonly Uint8Array[]): void
  /** Ends the connection in order (FIN), or without (RST). */
  end(): void
  reset(): void
}

export type Script = (query: AskedQuery) => void

export interface TestUpstream {
  readonly address: string
  readonly port: number
  readonly queries: AskedQuery[]
  readonly connectionsAccepted: number
  readonly connectionsOpen: number
  script: Script
  /** Sends a datagram to a port of loopback, from the upstream's own. */
  sendTo(port: number, message: Uint8Array, sent?: () => void): void
  stop(): Promise<void>
}

export interface TestUpstreamSettings {
  readonly script?: Script
  readonly address?: string
  readonly port?: number
  readonly withUdp?: boolean
  readonly withTcp?: boolean
  readonly tls?: { readonly key: string; readonly cert: string }
}

/** Answers every question with one A record. */
export const ANSWERS: Script = (query) => query.answer()

/** Says nothing at all. */
export const SILENT: Script = () => {}

/** Octets of a response to `query`. */
export function responseTo(
  query: AskedQuery,
  response: Partial<dnsPacket.Packet> & { rcode?: number; flagBits?: number } = {},
): Buffer {
  const { rcode = 0, flagBits = 0, ...packet } = response
  const question = { name: query.name, type: query.type as dnsPacket.RecordType }
  const answers: dnsPacket.Answer[] =
    rcode === 0 && query.type === 'A' ? [{ type: 'A', name: query.name, ttl: 30, data: '192.0.2.7' }] : []
  return dnsPacket.encode({
    type: 'response',
    id: query.id,
    flags: dnsPacket.RECURSION_AVAILABLE | dnsPacket.RECURSION_DESIRED | flagBits | rcode,
    questions: [question],
    answers,
    additionals: query.withEdns ? [OPT] : [],
    ...packet,
  })
}

export const OPT = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
} as unknown as dnsPacket.Answer

export async function startUpstream(settings: TestUpstreamSettings = {}): Promise<TestUpstream> {
  // Another process may have the UDP port that goes with the TCP port we got.
  for (let attempt = 0; ; attempt++) {
    try {
      return await listen(settings)
    } catch (error) {
      if (attempt === 20 || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
}

async function listen(settings: TestUpstreamSettings): Promise<TestUpstream> {
  const { address = '127.0.0.1', withUdp = true, withTcp = true, tls } = settings
  const queries: AskedQuery[] = []
  const sockets = new Set<Socket>()
  let accepted = 0
  let isStopped = false
  let port = settings.port ?? 0
  const arrived = (query: AskedQuery): void => {
    queries.push(query)
    upstream.script(query)
  }
  const serve = (socket: Socket): void => {
    const connection = ++accepted
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    let received = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0)
        const bytes = Buffer.from(received.subarray(2, end))
        received = received.subarray(end)
        arrived(
          askedQuery(bytes, tls === undefined ? 'tcp' : 'tls', socket.remotePort ?? 0, connection, {
            send: (message) => {
              const frame = Buffer.alloc(2 + message.length)
              frame.writeUInt16BE(message.length)
              frame.set(message, 2)
              if (socket.writable) socket.write(frame)
            },
            sendPieces: (pieces) => {
              socket.setNoDelay(true)
              for (const piece of pieces) socket.write(piece)
            },
            end: () => socket.end(),
            reset: () => socket.resetAndDestroy(),
          }),
        )
      }
    })
  }
  let server: Server | undefined
  if (withTcp) {
    server = tls === undefined ? createServer(serve) : createTlsServer(tls, serve)
    server.on('tlsClientError', () => {})
    server.listen(port, address)
    await once(server, 'listening')
    port = (server.address() as { port: number }).port
  }
  let datagrams: UdpSocket | undefined
  if (withUdp) {
    const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    datagrams = udp
    udp.on('message', (bytes: Buffer, from: RemoteInfo) =>
      arrived(
        askedQuery(bytes, 'udp', from.port, 0, {
          send: (message) => udp.send(message, from.port, from.address),
          sendPieces: () => {},
          end: () => {},
          reset: () => {},
        }),
      ),
    )
    try {
      udp.bind(port, address)
      await once(udp, 'listening')
    } catch (error) {
      server?.close()
      throw error
    }
    port = udp.address().port
  }
  const upstream: TestUpstream = {
    address,
    port,
    queries,
    get connectionsAccepted() {
      return accepted
    },
    get connectionsOpen() {
      return sockets.size
    },
    script: settings.script ?? ANSWERS,
    sendTo: (to, message, sent) => datagrams?.send(message, to, address, sent),
    async stop() {
      if (isStopped) return
      isStopped = true
      for (const socket of sockets) socket.destroy()
      const closing = [server, datagrams].flatMap((each) => (each === undefined ? [] : [once(each, 'close')]))
      server?.close()
      datagrams?.close()
      await Promise.all(closing)
    },
  }
  return upstream
}

function askedQuery(
  bytes: Buffer,
  transport: AskedQuery['transport'],
  clientPort: number,
  connection: number,
  ways: Pick<AskedQuery, 'send' | 'sendPieces' | 'end' | 'reset'>,
): AskedQuery {
  const packet = dnsPacket.decode(bytes)
  const query: AskedQuery = {
    transport,
    bytes,
    id: bytes.readUInt16BE(0),
    name: packet.questions![0]!.name,
    type: packet.questions![0]!.type,
    withEdns: (packet.additionals ?? []).some(({ type }) => type === 'OPT'),
    clientPort,
    connection,
    ...ways,
    answer: (response) => query.send(responseTo(query, response)),
  }
  return query
}
