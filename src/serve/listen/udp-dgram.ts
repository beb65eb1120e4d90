/** The plain UDP listener: node:dgram, one system call a datagram, all on the event loop. Works on any platform. */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv6 } from 'node:net'
import type { Family, Listener, QueryHandler } from '../query-handler.ts'
import { descriptorsOf } from './descriptor.ts'
import { familyOf, listenError, serverName } from './listen-address.ts'
import type { UdpCounts } from './listen-counts.ts'
import { untilQuiet } from './quiet.ts'
import { UDP_RECEIVE_BUFFER_BYTES, type UdpListenerOptions, type UdpListenerParts } from './udp-listener.ts'
import { type UdpPlace, UdpQuery, UnderWay } from './udp-query.ts'

/** Binds a UDP socket; rejects with a `ListenError` when it cannot. */
export async function openUdpListener(
  options: UdpListenerOptions,
  handler: QueryHandler,
  parts: UdpListenerParts,
): Promise<Listener> {
  const isV6 = isIPv6(options.address)
  const socket = createSocket({
    type: isV6 ? 'udp6' : 'udp4',
    ipv6Only: isV6,
    reusePort: options.reusePort,
    recvBufferSize: options.receiveBufferBytes ?? UDP_RECEIVE_BUFFER_BYTES,
    // Addresses are never names here; the default would cost a tick for every response.
    lookup: (address, _options, callback) => callback(null, address, isV6 ? 6 : 4),
  })
  try {
    // Before the bind: with a look-up that answers at once, so does the bind.
    const listening = once(socket, 'listening')
    socket.bind({ address: options.address, port: options.port, exclusive: true })
    await listening
  } catch (error) {
    socket.close()
    throw listenError('UDP', options, error instanceof Error ? error : new Error(String(error)))
  }
  return new DgramListener(socket, options.address, handler, parts.counts)
}

class DgramListener implements Listener, UdpPlace<RemoteInfo> {
  readonly address: string
  readonly port: number
  readonly server: string
  readonly family: Family
  readonly #socket: Socket
  readonly #counts: UdpCounts
  readonly #countSent: (error: Error | null) => void
  readonly #underWay = new UnderWay()
  #datagrams = 0
  #takesQueries = true
  #isClosed = false
  #stopped: Promise<void> | undefined

  constructor(socket: Socket, address: string, handler: QueryHandler, counts: UdpCounts) {
    this.address = address
    this.port = socket.address().port
    this.server = serverName(address, this.port)
    this.family = familyOf(address)
    this.#socket = socket
    this.#counts = counts
    this.#countSent = (error) => {
      if (error !== null) counts.sendFailed++
    }
    socket.on('error', () => counts.receiveFailed++)
    socket.on('message', (message, client) => this.#receive(message, client, handler))
  }

  stop(drainMs: number): Promise<void> {
    this.#stopped ??= this.#drainAndClose(drainMs)
    return this.#stopped
  }

  addressOf(client: RemoteInfo): string {
    return client.address
  }

  settle(response: Uint8Array | undefined, client: RemoteInfo): void {
    if (response !== undefined) {
      if (this.#isClosed) this.#counts.responsesLate++
      else this.#socket.send(response, client.port, client.address, this.#countSent)
    }
    this.#underWay.end()
  }

  #receive(message: Buffer, client: RemoteInfo, handler: QueryHandler): void {
    this.#datagrams++
    // Only forgers send from port 0, and the kernel takes no response to it.
    if (client.port === 0) {
      this.#counts.portZero++
      return
    }
    if (!this.#takesQueries) {
      this.#counts.stopping++
      return
    }
    this.#underWay.begin()
    handler(new UdpQuery(this, message, client))
  }

  get descriptors(): readonly number[] {
    return this.#isClosed ? [] : descriptorsOf(this.#socket)
  }

  clientEnds(): readonly never[] {
    return []
  }

  handOver(): number {
    return 0
  }

  adopt(): void {
    throw new Error('UDP has no connections')
  }

  async #drainAndClose(drainMs: number): Promise<void> {
    const deadline = performance.now() + drainMs
    // Whoever comes meanwhile is served as before: nobody has told the client yet to go elsewhere.
    await this.#underWay.untilIdle(
      () => this.#datagrams,
      () => deadline - performance.now(),
    )
    this.#takesQueries = false
    this.#isClosed = true
    // Closing waits for no send: those that the kernel has not taken yet are lost, hence one more turn.
    await untilQuiet(() => this.#datagrams)
    const closed = once(this.#socket, 'close')
    this.#socket.close()
    await closed
  }
}
