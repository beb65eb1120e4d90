/** DNS over TCP (RFC 7766, RFC 9210): who may connect, and how it ends. What a connection does is `tcp-connection`. */

import { once } from 'node:events'
import { createServer, isIPv6, type Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { acceptNow, boundBuffers, closeNow } from '../../host/stream-calls.ts'
import type { Listener, QueryHandler } from '../query-handler.ts'
import { descriptorsOf } from './descriptor.ts'
import { familyOf, type ListenAddress, listenError, serverName } from './listen-address.ts'
import type { TcpCounts } from './listen-counts.ts'
import { untilQuiet } from './quiet.ts'
import { TcpConnection } from './tcp-connection.ts'
import { TCP_LIMITS, type TcpLimits } from './tcp-limits.ts'
import { TcpRoom } from './tcp-room.ts'

export interface TcpListenerOptions extends ListenAddress {
  /** Those of `TCP_LIMITS` that shall differ. */
  readonly limits?: Partial<TcpLimits>
}

export interface TcpListenerParts {
  readonly counts: TcpCounts
  /** What it shares with the listeners of other addresses; its own when left out. */
  readonly room?: TcpRoom
}

/** Connections that the kernel may hold for us to accept; it cuts this to net.core.somaxconn. */
const BACKLOG = 1024

/** Connections taken in one turn of the event loop; the rest in the next. */
const ACCEPTS_MAX = 128

/** The part of the time to stop that a connection has for a good moment to end; the rest is for its last responses. */
const FINISH_PART = 0.7

/** Milliseconds between the ends of two connections at a stop, if there is time for all of them. */
const FINISH_PAUSE_MS = 5

/** Listens on a TCP address; rejects with a `ListenError` when it cannot. */
export async function openTcpListener(
  options: TcpListenerOptions,
  handler: QueryHandler,
  parts: TcpListenerParts,
): Promise<Listener> {
  // A client may close its half after the last query and still wants the responses.
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen({
    host: options.address,
    port: options.port,
    ipv6Only: isIPv6(options.address),
    reusePort: options.reusePort,
    backlog: BACKLOG,
    exclusive: true,
  })
  try {
    await once(server, 'listening')
  } catch (error) {
    throw listenError('TCP', options, error instanceof Error ? error : new Error(String(error)))
  }
  return new TcpListener(server, options, handler, parts)
}

class TcpListener implements Listener {
  readonly address: string
  readonly port: number
  readonly #server: Server
  readonly #serverName: string
  readonly #handler: QueryHandler
  readonly #limits: TcpLimits
  readonly #counts: TcpCounts
  readonly #room: TcpRoom
  readonly #connections = new Set<TcpConnection>()
  /** Of `connectionsReserved`. */
  #reservedInUse = 0
  /** Grows with every connection and every octet read from one that is closed. */
  #arrivals = 0
  #isStopping = false
  #stopped: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(server: Server, options: TcpListenerOptions, handler: QueryHandler, { counts, room }: TcpListenerParts) {
    const bound = server.address()
    this.address = options.address
    this.port = bound !== null && typeof bound === 'object' ? bound.port : options.port
    this.#server = server
    this.#serverName = serverName(this.address, this.port)
    this.#handler = handler
    this.#limits = { ...TCP_LIMITS, ...options.limits }
    this.#counts = counts
    this.#room = room ?? new TcpRoom(this.#limits)
    // Connections have the buffers of the socket that accepted them.
    for (const descriptor of descriptorsOf(server)) boundBuffers(descriptor, this.#limits.kernelOctets)
    server.on('error', () => counts.refused.acceptFailed++)
    server.on('connection', (socket) => {
      this.#admit(socket)
      this.#acceptMore()
    })
  }

  stop(drainMs: number): Promise<void> {
    this.#stopped ??= this.#drainAndClose(drainMs)
    return this.#stopped
  }

  /**
   * libuv takes one connection a turn. Where others have the cores a turn takes long, and the queries of the last of twenty clients
   * waited for seconds.
   */
  #acceptMore(): void {
    const [listening] = this.descriptors
    if (listening === undefined) return
    for (let accepted = 1; accepted < ACCEPTS_MAX; accepted++) {
      const descriptor = acceptNow(listening)
      // Nobody waits; or there is no room for descriptors, which the next turn says as an error of the server.
      if (descriptor < 0) return
      let socket: Socket
      try {
        socket = socketOf(descriptor)
      } catch {
        closeNow(descriptor)
        this.#counts.refused.acceptFailed++
        continue
      }
      this.#admit(socket)
    }
  }

  #admit(socket: Socket): void {
    const clientAddress = socket.remoteAddress
    // The client is gone already.
    if (clientAddress === undefined) {
      socket.destroy()
      return
    }
    const lacking = this.#room.lacks(clientAddress)
    if (lacking === undefined) {
      this.#room.enter(clientAddress)
      this.#serve(socket, clientAddress, () => this.#room.leave(clientAddress))
    } else if (this.#isOwn(socket, clientAddress) && this.#reservedInUse < this.#limits.connectionsReserved) {
      this.#reservedInUse++
      this.#serve(socket, clientAddress, () => this.#reservedInUse--)
    } else {
      this.#counts.refused[lacking]++
      refuse(socket)
    }
  }

  /** Whether a connection comes from where our own queries come from, and a Pod's cannot. */
  #isOwn(socket: Socket, clientAddress: string): boolean {
    return clientAddress === socket.localAddress || clientAddress === '127.0.0.1' || clientAddress === '::1'
  }

  /** `leave`: gives the place back. */
  #serve(socket: Socket, clientAddress: string, leave: () => void): void {
    const connection = new TcpConnection(socket, {
      handler: this.#handler,
      limits: this.#limits,
      counts: this.#counts,
      room: this.#room,
      server: this.#serverName,
      family: familyOf(this.address),
      clientAddress,
    })
    this.#arrivals++
    this.#connections.add(connection)
    this.#counts.connectionsAccepted++
    this.#counts.connectionsOpen++
    socket.on('close', () => {
      leave()
      this.#forget(connection)
    })
    if (this.#isStopping) connection.finish(0)
  }

  #forget(connection: TcpConnection): void {
    this.#connections.delete(connection)
    this.#arrivals += connection.octetsRead
    this.#counts.connectionsOpen--
    if (this.#connections.size === 0) this.#onEmpty?.()
  }

  get descriptors(): readonly number[] {
    return this.#server.listening ? descriptorsOf(this.#server) : []
  }

  clientEnds(): readonly { readonly address: string; readonly port: number }[] {
    return [...this.#connections].flatMap((connection) => connection.clientEnd ?? [])
  }

  handOver(pass: (descriptor: number) => boolean): number {
    let left = 0
    for (const connection of this.#connections) if (!connection.handOver(pass)) left++
    return left
  }

  adopt(descriptor: number): void {
    this.#admit(socketOf(descriptor))
  }

  async #drainAndClose(drainMs: number): Promise<void> {
    const deadline = performance.now() + drainMs
    // Connections that the kernel has accepted for us would be reset by closing before they are taken.
    await untilQuiet(() => this.#octetsAndConnections())
    const closed = once(this.#server, 'close')
    this.#server.close()
    await untilQuiet(() => this.#octetsAndConnections())
    this.#isStopping = true
    const timeToFinish = (): number => Math.max(0, (deadline - performance.now()) * FINISH_PART)
    // One after another: a client that loses all its connections at once is slow to see it, and asks on those that are ended.
    const pauseMs = Math.min(FINISH_PAUSE_MS, (deadline - performance.now()) / 2 / (this.#connections.size + 1))
    for (const connection of this.#connections) {
      connection.finish(timeToFinish())
      if (pauseMs > 0) await sleep(pauseMs)
    }
    if (this.#connections.size > 0) {
      const empty = Promise.withResolvers<void>()
      this.#onEmpty = empty.resolve
      const timer = setTimeout(empty.resolve, Math.max(0, deadline - performance.now()))
      await empty.promise
      clearTimeout(timer)
    }
    for (const connection of this.#connections) connection.cut('stopping')
    await closed
  }

  #octetsAndConnections(): number {
    let sum = this.#arrivals
    for (const connection of this.#connections) sum += connection.octetsRead
    return sum
  }
}

/** Node's socket for a connection that Node has not accepted. */
function socketOf(descriptor: number): Socket {
  return new Socket({ fd: descriptor, allowHalfOpen: true }).setNoDelay(true)
}

/** Closes at once, with a reset: the client's kernel shall not keep the connection half open. */
function refuse(socket: Socket): void {
  // A reset that crosses ours is nothing to report; the refusal is counted.
  socket.on('error', () => socket.destroy())
  socket.resetAndDestroy()
}
