/**
 * The sockets of UDP exchanges: connected, so that the kernel drops datagrams from any other address or port and tells when
 * nobody listens there; each with a port that the kernel draws.
 *
 * Made by system calls where those are to be had: a socket of Node's for every query cost more than all else that is done for
 * one. All of them are in one epoll set, which the event loop watches like a single descriptor.
 */

import { createSocket } from 'node:dgram'
import { MESSAGE_OCTETS_MAX } from '../../dns/wire/header.ts'
import { interfaceOfScope } from '../../host/interface-scope.ts'
import { socketAddress } from '../../host/shared-port.ts'
import { type DatagramCalls, datagramCalls, EPOLL_DATA_AT, EPOLL_EVENT_OCTETS } from '../../host/syscalls.ts'
import { scopeOf, type UpstreamAddress } from './exchange.ts'

/** Told what happens on a socket, until it is closed; never from within `open` or `send`. */
export interface UdpSocketListener {
  /** The bytes are valid until this returns. */
  received(message: Uint8Array): void
  /** The kernel refused, or nobody listens there. */
  failed(code: string): void
}

export interface UdpSocket {
  send(octets: Uint8Array): void
  /** Once; nothing is told any more. */
  close(): void
}

export type OpenUdpSocket = (upstream: UpstreamAddress, listener: UdpSocketListener) => UdpSocket

/** Sockets that one look at the epoll set tells of. */
const EVENTS_MAX = 64

/** The errno of nothing to receive, and of an interface that is not there. */
const EAGAIN = 11
const ENODEV = 19

const AF_INET = 2
const AF_INET6 = 10

let systemSockets: SystemSockets | undefined
let hasSystemCalls = true

/** Opens a socket by system calls, or Node's where the native library is missing. */
export const openUdpSocket: OpenUdpSocket = (upstream, listener) => {
  systemSockets ??= hasSystemCalls ? newSystemSockets() : undefined
  return systemSockets?.open(upstream, listener) ?? openNodeSocket(upstream, listener)
}

function newSystemSockets(): SystemSockets | undefined {
  try {
    return new SystemSockets(datagramCalls())
  } catch {
    // Said at the start: `udp-implementation` tells why the library is not there.
    hasSystemCalls = false
    return undefined
  }
}

/** All sockets by system calls, and the set that they are in. */
class SystemSockets {
  readonly calls: DatagramCalls
  readonly #poll: number
  readonly #events = new Uint8Array(EVENTS_MAX * EPOLL_EVENT_OCTETS)
  readonly #eventFields = new DataView(this.#events.buffer)
  /** By the tag under which they are in the set. */
  readonly #sockets: (SystemSocket | undefined)[] = []
  readonly #freeTags: number[] = []
  /** A message and its handling are one synchronous step. */
  readonly #buffer = Buffer.allocUnsafeSlow(MESSAGE_OCTETS_MAX)
  readonly #addresses = new Map<UpstreamAddress, Uint8Array>()

  constructor(calls: DatagramCalls) {
    this.calls = calls
    this.#poll = calls.createPoll()
    if (this.#poll < 0) throw new Error(`epoll_create1: ${calls.errorName(-this.#poll)}`)
    calls.watchOnEventLoop(this.#poll, () => this.#look())
  }

  open(upstream: UpstreamAddress, listener: UdpSocketListener): UdpSocket {
    const { calls } = this
    const tag = this.#freeTags.pop() ?? this.#sockets.length
    const descriptor = calls.socket(upstream.address.includes(':') ? AF_INET6 : AF_INET)
    const socket = new SystemSocket(this, descriptor, tag, listener)
    this.#sockets[tag] = socket
    if (descriptor < 0) {
      socket.failsSoon(-descriptor)
      return socket
    }
    const address = this.#addressOf(upstream)
    if (address === undefined) {
      socket.failsSoon(ENODEV)
      return socket
    }
    let result = calls.connect(descriptor, address)
    if (result >= 0) result = calls.watch(this.#poll, descriptor, tag)
    if (result < 0) socket.failsSoon(-result)
    return socket
  }

  /** For a socket that is closed: it leaves the set with its descriptor. */
  closed(tag: number, descriptor: number): void {
    this.#sockets[tag] = undefined
    this.#freeTags.push(tag)
    if (descriptor >= 0) this.calls.close(descriptor)
  }

  #look(): void {
    const ready = this.calls.poll(this.#poll, this.#events, EVENTS_MAX, 0)
    for (let i = 0; i < ready; i++) {
      const tag = this.#eventFields.getInt32(i * EPOLL_EVENT_OCTETS + EPOLL_DATA_AT, true)
      // One that was closed since has left its tag empty, or to one that has nothing to receive.
      this.#sockets[tag]?.isReadable(this.#buffer)
    }
  }

  /** Undefined where the address has a scope that there is no interface for: it may come yet. */
  #addressOf(upstream: UpstreamAddress): Uint8Array | undefined {
    const kept = this.#addresses.get(upstream)
    if (kept !== undefined) return kept
    const scope = scopeOf(upstream.address)
    if (scope !== undefined && interfaceOfScope(scope) === undefined) return undefined
    const address = socketAddress(upstream.address, upstream.port)
    // An interface that goes and comes again has another index: what depends on it is looked up for every socket.
    if (scope !== undefined) return address
    // Upstreams are few and change with the configuration; what they were is not worth more than this.
    if (this.#addresses.size >= ADDRESSES_KEPT_MAX) this.#addresses.clear()
    this.#addresses.set(upstream, address)
    return address
  }
}

/** Addresses that are kept in the kernel's form. */
const ADDRESSES_KEPT_MAX = 256

class SystemSocket implements UdpSocket {
  readonly #all: SystemSockets
  readonly #descriptor: number
  readonly #tag: number
  #listener: UdpSocketListener | undefined

  constructor(all: SystemSockets, descriptor: number, tag: number, listener: UdpSocketListener) {
    this.#all = all
    this.#descriptor = descriptor
    this.#tag = tag
    this.#listener = listener
  }

  send(octets: Uint8Array): void {
    if (this.#descriptor < 0) return
    const sent = this.#all.calls.sendOctets(this.#descriptor, octets, octets.length)
    if (sent < 0) this.failsSoon(-sent)
  }

  close(): void {
    if (this.#listener === undefined) return
    this.#listener = undefined
    this.#all.closed(this.#tag, this.#descriptor)
  }

  isReadable(buffer: Buffer): void {
    const octets = this.#all.calls.receiveOctets(this.#descriptor, buffer)
    if (octets >= 0) this.#listener?.received(buffer.subarray(0, octets))
    else if (octets !== -EAGAIN) this.#listener?.failed(this.#all.calls.errorName(-octets))
  }

  failsSoon(errno: number): void {
    setImmediate(() => this.#listener?.failed(this.#all.calls.errorName(errno)))
  }
}

type Lookup = (
  hostname: string,
  options: unknown,
  callback: (error: Error | null, address: string, family: number) => void,
) => void

/** Addresses only, so there is nothing to look up, and nothing to wait for. */
const asItIs: Lookup = (address, _options, callback) => callback(null, address, address.includes(':') ? 6 : 4)

/** A socket of Node's: works everywhere. */
export const openNodeSocket: OpenUdpSocket = (upstream, listener) => {
  let isOpen = true
  const socket = createSocket({ type: upstream.address.includes(':') ? 'udp6' : 'udp4', lookup: asItIs })
  const failed = (error: NodeJS.ErrnoException): void => {
    if (isOpen) listener.failed(error.code ?? 'UDP')
  }
  socket.on('error', failed)
  socket.on('message', (message) => {
    if (isOpen) listener.received(message)
  })
  const connected = Promise.withResolvers<void>()
  socket.connect(upstream.port, upstream.address, () => connected.resolve())
  return {
    send: (octets) => {
      void connected.promise.then(() => {
        if (isOpen) socket.send(octets, (error) => error !== null && failed(error))
      })
    },
    close: () => {
      isOpen = false
      socket.close()
    },
  }
}
