/**
 * The batched UDP listener: sockets that workers serve with `recvmmsg` and `sendmmsg`. Misses come to the event loop, which
 * sends their responses itself, together with all others of the same turn, on the descriptor that the query came by.
 */

import { isIPv6 } from 'node:net'
import { MessageSlots, SENT_OCTETS_MAX } from '../../host/message-slots.ts'
import { socketAddress } from '../../host/shared-port.ts'
import type { DatagramCalls } from '../../host/syscalls.ts'
import { MissKind } from '../miss-queue.ts'
import type { Family, Listener, QueryHandler } from '../query-handler.ts'
import type { ServedSocket, WorkerPool } from '../worker-pool.ts'
import { familyOf, listenError, serverName } from './listen-address.ts'
import type { UdpCounts } from './listen-counts.ts'
import {
  type OpenUdpListener,
  UDP_RECEIVE_BUFFER_BYTES,
  type UdpListenerOptions,
  type UdpListenerParts,
} from './udp-listener.ts'
import { type UdpPlace, UdpQuery, UnderWay } from './udp-query.ts'

export interface MmsgParts {
  readonly calls: DatagramCalls
  readonly pool: WorkerPool
  /** A server's number, for the counters' cells. */
  serverNumber(server: string): number
  /** A worker answered so often from an entry that it should be renewed before its end; the message asks for it. */
  onRenewal(message: Uint8Array, server: string): void
}

const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_REUSEPORT = 15
const SO_RCVBUFFORCE = 33
const IPPROTO_IPV6 = 41
const IPV6_V6ONLY = 26
const AF_INET = 2
const AF_INET6 = 10

/** Responses of the event loop that are sent with one system call. */
const RESPONSES_PER_CALL = 64

/** Opens listeners whose sockets the pool's workers serve. */
export function mmsgListeners(parts: MmsgParts): OpenUdpListener {
  const sender = new ResponseSender(parts.calls)
  const open = (options: UdpListenerOptions, handler: QueryHandler, { counts }: UdpListenerParts): Listener => {
    const sockets = openSockets(options, parts)
    return new MmsgListener(sockets, options.address, handler, counts, sender, parts)
  }
  return (...args) => new Promise((resolve) => resolve(open(...args)))
}

/** One bound socket for each worker. */
function openSockets(options: UdpListenerOptions, { calls, pool }: MmsgParts): BoundSocket[] {
  const sockets: BoundSocket[] = []
  try {
    let { port } = options
    for (let worker = 0; worker < pool.threads; worker++) {
      const socket = openSocket({ ...options, port, reusePort: options.reusePort || pool.threads > 1 }, calls)
      sockets.push(socket)
      port = socket.port
    }
    return sockets
  } catch (error) {
    for (const { descriptor } of sockets) calls.close(descriptor)
    throw error
  }
}

interface BoundSocket {
  readonly descriptor: number
  readonly port: number
}

function openSocket(options: UdpListenerOptions, calls: DatagramCalls): BoundSocket {
  const isV6 = isIPv6(options.address)
  const attempt = (call: string, result: number): number => {
    if (result >= 0) return result
    const code = calls.errorName(-result)
    throw listenError('UDP', options, Object.assign(new Error(`${call}: ${code}`), { code }))
  }
  const descriptor = attempt('socket', calls.socket(isV6 ? AF_INET6 : AF_INET))
  try {
    const set = (level: number, option: number, value: number) => {
      const bytes = new Uint8Array(new Int32Array([value]).buffer)
      return calls.setOption(descriptor, level, option, bytes)
    }
    if (isV6) attempt('IPV6_V6ONLY', set(IPPROTO_IPV6, IPV6_V6ONLY, 1))
    if (options.reusePort) attempt('SO_REUSEPORT', set(SOL_SOCKET, SO_REUSEPORT, 1))
    const bufferBytes = options.receiveBufferBytes ?? UDP_RECEIVE_BUFFER_BYTES
    // With CAP_NET_ADMIN the system's maximum does not bind us.
    if (set(SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes) < 0) set(SOL_SOCKET, SO_RCVBUF, bufferBytes)
    attempt('bind', calls.bind(descriptor, socketAddress(options.address, options.port)))
    const bound = new Uint8Array(28)
    attempt('getsockname', calls.localAddress(descriptor, bound))
    return { descriptor, port: (bound[2]! << 8) | bound[3]! }
  } catch (error) {
    calls.close(descriptor)
    throw error
  }
}

class MmsgListener implements Listener {
  readonly address: string
  readonly port: number
  readonly server: string
  readonly family: Family
  readonly #sockets: readonly BoundSocket[]
  readonly #places: readonly UdpPlace<Uint8Array>[]
  readonly #served: readonly ServedSocket[]
  readonly #counts: UdpCounts
  readonly #sender: ResponseSender
  readonly #calls: DatagramCalls
  readonly #handler: QueryHandler
  readonly #underWay = new UnderWay()
  #isClosed = false
  #stopped: Promise<void> | undefined

  constructor(
    sockets: readonly BoundSocket[],
    address: string,
    handler: QueryHandler,
    counts: UdpCounts,
    sender: ResponseSender,
    parts: MmsgParts,
  ) {
    this.address = address
    this.port = sockets[0]!.port
    this.server = serverName(address, this.port)
    this.family = familyOf(address)
    this.#sockets = sockets
    this.#counts = counts
    this.#sender = sender
    this.#calls = parts.calls
    this.#handler = handler
    const server = parts.serverNumber(this.server)
    this.#places = sockets.map(({ descriptor }) => ({
      family: this.family,
      server: this.server,
      addressOf: textOfPeer,
      settle: (response, peer) => this.#settle(response, peer, descriptor),
    }))
    this.#served = sockets.map(({ descriptor }, worker) =>
      parts.pool.serve(worker, { descriptor, server, family: this.family }, (miss) => {
        if (miss.kind === MissKind.Renewal) parts.onRenewal(miss.query, this.server)
        else this.#take(miss.query, miss.peer, this.#places[worker]!)
      }),
    )
  }

  get descriptors(): readonly number[] {
    return this.#isClosed ? [] : this.#sockets.map(({ descriptor }) => descriptor)
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

  stop(drainMs: number): Promise<void> {
    this.#stopped ??= this.#drainAndClose(drainMs)
    return this.#stopped
  }

  #settle(response: Uint8Array | undefined, peer: Uint8Array, descriptor: number): void {
    if (response !== undefined) {
      if (this.#isClosed) this.#counts.responsesLate++
      else this.#sender.send(descriptor, peer, response, this.#counts)
    }
    this.#underWay.end()
  }

  #take(query: Uint8Array, peer: Uint8Array, place: UdpPlace<Uint8Array>): void {
    // Only forgers send from port 0, and the kernel takes no response to it.
    if (peer[2] === 0 && peer[3] === 0) {
      this.#counts.portZero++
      return
    }
    this.#underWay.begin()
    this.#handler(new UdpQuery(place, query, peer))
  }

  async #drainAndClose(drainMs: number): Promise<void> {
    const deadline = performance.now() + drainMs
    const leftMs = () => deadline - performance.now()
    const datagrams = () => this.#served.reduce((sum, served) => sum + served.datagrams(), 0)
    // Whoever comes meanwhile is served as before: nobody has told the client yet to go elsewhere.
    await this.#underWay.untilIdle(datagrams, leftMs)
    await Promise.all(this.#served.map((served) => served.takeBack()))
    await this.#underWay.untilIdle(datagrams, leftMs)
    // Nothing may come between the last look, which finds nothing, and the end of the socket.
    while (this.#takeTheRest() > 0 && leftMs() > 0) await this.#underWay.untilIdle(datagrams, leftMs)
    this.#sender.flush()
    this.#isClosed = true
    for (const { descriptor } of this.#sockets) this.#calls.close(descriptor)
  }

  /** Takes what came since anybody looked last; returns how many datagrams these were. */
  #takeTheRest(): number {
    let taken = 0
    const slots = new MessageSlots(RESPONSES_PER_CALL, PEER_OCTETS, this.#calls)
    for (const [worker, { descriptor }] of this.#sockets.entries()) {
      for (let batch = 0; batch < LAST_BATCHES_MAX; batch++) {
        const received = slots.receive(descriptor)
        taken += Math.max(0, received)
        for (let slot = 0; slot < received; slot++) {
          const at = slots.receivedAt(slot)
          const query = Buffer.from(slots.bytes.subarray(at, at + slots.receivedOctets(slot)))
          const peerAt = slots.peerAt(slot)
          this.#take(query, slots.bytes.slice(peerAt, peerAt + PEER_OCTETS), this.#places[worker]!)
        }
        if (received < slots.count) break
      }
    }
    return taken
  }
}

/** Octets of a `struct sockaddr` that are kept of a peer. */
const PEER_OCTETS = 28

/** Batches that are taken from a socket at its end; more is a flood that will not end by itself. */
const LAST_BATCHES_MAX = 64

/** Collects the responses of one turn of the event loop, so that they leave together. */
class ResponseSender {
  readonly #slots: MessageSlots
  #descriptor = -1
  #counts: UdpCounts | undefined
  #isDue = false

  constructor(calls: DatagramCalls) {
    this.#slots = new MessageSlots(RESPONSES_PER_CALL, PEER_OCTETS, calls)
  }

  send(descriptor: number, peer: Uint8Array, response: Uint8Array, counts: UdpCounts): void {
    if (response.length > SENT_OCTETS_MAX) {
      // None of ours is: UDP never carries more than 1232 octets.
      counts.sendFailed++
      return
    }
    if (descriptor !== this.#descriptor || this.#slots.queued === this.#slots.count) this.flush()
    this.#descriptor = descriptor
    this.#counts = counts
    const place = this.#slots.queued
    this.#slots.setPeer(place, peer)
    this.#slots.bytes.set(response, this.#slots.nextSentAt)
    this.#slots.queue(place, response.length)
    if (this.#isDue) return
    this.#isDue = true
    // After everything that this turn has read from upstreams and workers.
    setImmediate(() => this.flush())
  }

  flush(): void {
    this.#isDue = false
    if (this.#slots.queued === 0) return
    this.#counts!.sendFailed += this.#slots.send(this.#descriptor)
  }
}

/** The address in a `struct sockaddr_in` or `sockaddr_in6`, without port. */
function textOfPeer(peer: Uint8Array): string {
  const family = peer[0]! | (peer[1]! << 8)
  if (family === AF_INET) return peer.subarray(4, 8).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => ((peer[8 + i * 2]! << 8) | peer[9 + i * 2]!).toString(16))
  return compressed(groups)
}

/** RFC 5952 section 4.2: the longest run of zero groups, two at least, is `::`. */
function compressed(groups: readonly string[]): string {
  let [best, bestLength] = [-1, 1]
  for (let from = 0; from < groups.length; from++) {
    let length = 0
    while (groups[from + length] === '0') length++
    if (length > bestLength) [best, bestLength] = [from, length]
  }
  if (best === -1) return groups.join(':')
  return `${groups.slice(0, best).join(':')}::${groups.slice(best + bestLength).join(':')}`
}
