/**
 * Messages in a TCP stream (RFC 1035 section 4.2.2, RFC 7766 section 8), apart from any socket.
 *
 *    +--------+--------+---------------------------+--------+--------+----
 *    |     length      |  message, length octets   |     length      |  ...
 *    +--------+--------+---------------------------+--------+--------+----
 */

import { readUint16, writeUint16 } from '../../dns/wire/header.ts'

const LENGTH_OCTETS = 2

const NO_BYTES = new Uint8Array(0)

/** Takes a stream in pieces of any size and gives whole messages. Holds what was pushed and not yet taken, no more. */
export class MessageStream {
  #bytes: Uint8Array = NO_BYTES
  /** What is not taken yet: [start, end) of `#bytes`. */
  #start = 0
  #end = 0
  /** Whether `#bytes` is ours to write to, with room behind `#end`. */
  #isOurs = false

  /** Adds what the socket gave; the bytes belong to the stream from then on. */
  push(bytes: Uint8Array): void {
    const held = this.#end - this.#start
    if (held === 0) {
      this.#bytes = bytes
      this.#start = 0
      this.#end = bytes.length
      this.#isOurs = false
      return
    }
    if (!this.#isOurs || this.#end + bytes.length > this.#bytes.length) {
      // Twice what is held, so that a message that comes octet by octet is not copied for each of them.
      const roomier = new Uint8Array(Math.max(held + bytes.length, 2 * held))
      roomier.set(this.#bytes.subarray(this.#start, this.#end))
      this.#bytes = roomier
      this.#start = 0
      this.#end = held
      this.#isOurs = true
    }
    this.#bytes.set(bytes, this.#end)
    this.#end += bytes.length
  }

  /** The next whole message, which may be empty; undefined when there is none. A view, valid until the next `push`. */
  next(): Uint8Array | undefined {
    const held = this.#end - this.#start
    if (held < LENGTH_OCTETS) return undefined
    const length = readUint16(this.#bytes, this.#start)
    if (held < LENGTH_OCTETS + length) return undefined
    const from = this.#start + LENGTH_OCTETS
    this.#start = from + length
    const message = this.#bytes.subarray(from, this.#start)
    if (this.#start === this.#end) this.clear()
    return message
  }

  /** Forgets what is held. */
  clear(): void {
    this.#bytes = NO_BYTES
    this.#start = 0
    this.#end = 0
    this.#isOurs = false
  }

  /** Octets that were pushed and not taken. */
  get heldOctets(): number {
    return this.#end - this.#start
  }
}

/** A copy of a message of at most 65,535 octets with its length before it, to be written at once (RFC 7766 section 8). */
export function framed(message: Uint8Array): Buffer {
  if (message.length > 0xffff) throw new RangeError(`a message of ${message.length} octets does not fit into TCP`)
  const bytes = Buffer.allocUnsafe(LENGTH_OCTETS + message.length)
  writeUint16(bytes, 0, message.length)
  bytes.set(message, LENGTH_OCTETS)
  return bytes
}
