/**
 * Open sockets from one process to another: a Unix datagram carries one descriptor (SCM_RIGHTS) and a note about it.
 *
 * The receiver's descriptor is the same socket, with whatever is unread in it; the sender closes his own, which ends nothing.
 *
 *    struct msghdr   name 8 | name length 4, pad 4 | iovec 8 | iovecs 8 | control 8 | control length 8 | flags 4, pad 4
 *    struct iovec    base 8 | length 8
 *    struct cmsghdr  length 8 | level 4 | type 4 | descriptor 4, pad 4
 */

import { rmSync } from 'node:fs'
import {
  addressOf,
  bindSocket,
  closeDescriptor,
  datagramCalls,
  type EventLoopWatch,
  openSocket,
  receiveMessage,
  SyscallError,
  sendMessage,
} from './syscalls.ts'

const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_DONTWAIT = 0x40
const MSG_CMSG_CLOEXEC = 0x4000_0000
/** The control data was cut: for a descriptor, that this process may have no more of them. */
const MSG_CTRUNC = 8

const MSGHDR_OCTETS = 56
const IOVEC_OCTETS = 16
const CONTROL_OCTETS = 24
const CONTROL_LENGTH = 20
const CONTROL_HEADER_OCTETS = 16
const CONTROL_LENGTH_AT = 40
const FLAGS_AT = 48

/** Octets of a note. */
const NOTE_OCTETS_MAX = 256

export interface PassedDescriptor {
  readonly descriptor: number
  readonly note: string
}

export class DescriptorReceiver {
  readonly #path: string
  readonly #socket: number
  readonly #message = new DescriptorMessage()
  #watch: EventLoopWatch | undefined
  #isClosed = false

  /** Throws where the path cannot be bound, or without the native library. */
  constructor(path: string) {
    this.#path = path
    this.#socket = openSocket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    rmSync(path, { force: true })
    bindSocket(this.#socket, unixAddress(path))
  }

  /** Has the event loop call `ready` as often as it turns while there is something to receive. Once. Throws where it cannot. */
  watch(ready: () => void): void {
    this.#watch = datagramCalls().watchOnEventLoop(this.#socket, ready)
  }

  /** The next that was sent; undefined when there is none now. Throws for one that came without its descriptor. */
  receive(): PassedDescriptor | undefined {
    if (this.#isClosed) return undefined
    try {
      return this.#message.receiveFrom(this.#socket)
    } catch (error) {
      if (error instanceof SyscallError && error.code === 'EAGAIN') return undefined
      throw error
    }
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#watch?.end()
    closeDescriptor(this.#socket)
    rmSync(this.#path, { force: true })
  }
}

export class DescriptorSender {
  readonly #address: Buffer
  readonly #socket = openSocket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
  readonly #message = new DescriptorMessage()

  constructor(path: string) {
    this.#address = unixAddress(path)
  }

  /** false while the receiver has too many waiting; throws when there is no receiver. */
  send({ descriptor, note }: PassedDescriptor): boolean {
    try {
      this.#message.sendTo(this.#socket, this.#address, descriptor, note)
      return true
    } catch (error) {
      if (error instanceof SyscallError && error.code === 'EAGAIN') return false
      throw error
    }
  }

  close(): void {
    closeDescriptor(this.#socket)
  }
}

/** The structures of one message, made once. */
class DescriptorMessage {
  readonly #header = Buffer.allocUnsafeSlow(MSGHDR_OCTETS).fill(0)
  readonly #iovec = Buffer.allocUnsafeSlow(IOVEC_OCTETS).fill(0)
  readonly #control = Buffer.allocUnsafeSlow(CONTROL_OCTETS).fill(0)
  readonly #note = Buffer.allocUnsafeSlow(NOTE_OCTETS_MAX)

  constructor() {
    this.#iovec.writeBigUInt64LE(addressOf(this.#note), 0)
    this.#header.writeBigUInt64LE(addressOf(this.#iovec), 16)
    this.#header.writeBigUInt64LE(1n, 24)
    this.#header.writeBigUInt64LE(addressOf(this.#control), 32)
  }

  sendTo(socket: number, address: Buffer, descriptor: number, note: string): void {
    const length = this.#note.write(note, 'utf8')
    this.#header.writeBigUInt64LE(addressOf(address), 0)
    this.#header.writeUInt32LE(address.length, 8)
    this.#header.writeBigUInt64LE(BigInt(CONTROL_OCTETS), CONTROL_LENGTH_AT)
    this.#iovec.writeBigUInt64LE(BigInt(length), 8)
    this.#control.writeBigUInt64LE(BigInt(CONTROL_LENGTH), 0)
    this.#control.writeUInt32LE(SOL_SOCKET, 8)
    this.#control.writeUInt32LE(SCM_RIGHTS, 12)
    this.#control.writeInt32LE(descriptor, CONTROL_HEADER_OCTETS)
    sendMessage(socket, this.#header, MSG_DONTWAIT)
  }

  receiveFrom(socket: number): PassedDescriptor {
    this.#header.writeBigUInt64LE(BigInt(CONTROL_OCTETS), CONTROL_LENGTH_AT)
    this.#iovec.writeBigUInt64LE(BigInt(NOTE_OCTETS_MAX), 8)
    const length = receiveMessage(socket, this.#header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
    const isPassed =
      this.#header.readBigUInt64LE(CONTROL_LENGTH_AT) >= BigInt(CONTROL_LENGTH) &&
      this.#control.readUInt32LE(8) === SOL_SOCKET &&
      this.#control.readUInt32LE(12) === SCM_RIGHTS
    if (!isPassed) {
      const isCut = (this.#header.readUInt32LE(FLAGS_AT) & MSG_CTRUNC) !== 0
      throw new Error(isCut ? 'no descriptor is left for a connection that came' : 'a message without a descriptor')
    }
    return {
      descriptor: this.#control.readInt32LE(CONTROL_HEADER_OCTETS),
      note: this.#note.toString('utf8', 0, length),
    }
  }
}

/** `struct sockaddr_un`. */
function unixAddress(path: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(2 + Buffer.byteLength(path) + 1).fill(0)
  bytes.writeUInt16LE(AF_UNIX, 0)
  bytes.write(path, 2)
  return bytes
}
