/**
 * HOT. Memory for one `recvmmsg` and one `sendmmsg`: the kernel's structures and the payloads, in one piece that never moves.
 *
 * A slot holds one datagram that came and one that goes. What goes is queued in the order in which it is to be sent; its
 * peer is that of the datagram it answers, so peers are written by the kernel alone, or by `setPeer`.
 *
 * The structures are the same on x86-64 and arm64 (LP64, little endian):
 *
 *    struct mmsghdr, 64 octets:                                   struct iovec, 16 octets:
 *    | 0 name *8 | 8 namelen 4, 4 unused | 16 iov *8 | 24 iovlen 8 |   | 0 base *8 | 8 len 8 |
 *    | 32 control *8 | 40 controllen 8 | 48 flags 4, 4 unused | 56 len 4, 4 unused |
 */

import type { DatagramCalls } from './syscalls.ts'

/** Octets of a datagram that are received; a query needs less, and what is longer is cut. */
export const RECEIVED_OCTETS_MAX = 4096

/** Octets of a response that a slot holds. */
export const SENT_OCTETS_MAX = 1280

/** Octets of the largest `struct sockaddr` that we meet: `sockaddr_in6`. */
export const PEER_OCTETS_MAX = 28

const HEADER_OCTETS = 64
const IOVEC_OCTETS = 16
const PEER_OCTETS = 32

const NAME_AT = 0
const NAME_LENGTH_AT = 8
const IOVEC_AT = 16
const IOVEC_COUNT_AT = 24
const LENGTH_AT = 56

export class MessageSlots {
  readonly count: number
  /** The payloads of all slots; `receivedAt` and `sentAt` tell where those of a slot begin. */
  readonly bytes: Uint8Array
  /** The same octets, four at a time: payloads to be sent begin at a multiple of eight. */
  readonly words: Int32Array
  readonly #calls: DatagramCalls
  readonly #receivedHeaders: Uint8Array
  readonly #sentHeaders: Uint8Array
  readonly #receivedHeadersWord: number
  readonly #sentHeadersWord: number
  readonly #sentVectorsWord: number
  readonly #peersAt: number
  readonly #receivedAt: number
  readonly #sentAt: number
  readonly #peerOctets: number
  /** Of each slot's peer, as the two halves of a pointer. */
  readonly #peerPointers: Int32Array
  #queued = 0

  /** `peerOctets`: of the sockets' `struct sockaddr`, 16 or 28. */
  constructor(count: number, peerOctets: number, calls: DatagramCalls) {
    this.count = count
    this.#calls = calls
    this.#peerOctets = peerOctets
    const receivedHeadersAt = 0
    const sentHeadersAt = receivedHeadersAt + count * HEADER_OCTETS
    const receivedVectorsAt = sentHeadersAt + count * HEADER_OCTETS
    const sentVectorsAt = receivedVectorsAt + count * IOVEC_OCTETS
    this.#peersAt = sentVectorsAt + count * IOVEC_OCTETS
    this.#receivedAt = this.#peersAt + count * PEER_OCTETS
    this.#sentAt = this.#receivedAt + count * RECEIVED_OCTETS_MAX
    const memory = new ArrayBuffer(this.#sentAt + count * SENT_OCTETS_MAX)
    this.bytes = new Uint8Array(memory)
    this.words = new Int32Array(memory)
    this.#receivedHeaders = this.bytes.subarray(receivedHeadersAt, sentHeadersAt)
    this.#sentHeaders = this.bytes.subarray(sentHeadersAt, receivedVectorsAt)
    this.#receivedHeadersWord = receivedHeadersAt / 4
    this.#sentHeadersWord = sentHeadersAt / 4
    this.#sentVectorsWord = sentVectorsAt / 4
    this.#peerPointers = new Int32Array(count * 2)
    const base = calls.addressOf(this.bytes)
    const fields = new DataView(memory)
    for (let slot = 0; slot < count; slot++) {
      const peer = base + BigInt(this.#peersAt + slot * PEER_OCTETS)
      this.#peerPointers[slot * 2] = Number(BigInt.asIntN(32, peer))
      this.#peerPointers[slot * 2 + 1] = Number(BigInt.asIntN(32, peer >> 32n))
      for (const [headersAt, vectorsAt, payload, octets] of [
        [receivedHeadersAt, receivedVectorsAt, this.receivedAt(slot), RECEIVED_OCTETS_MAX],
        [sentHeadersAt, sentVectorsAt, this.sentAt(slot), SENT_OCTETS_MAX],
      ] as const) {
        const header = headersAt + slot * HEADER_OCTETS
        const vector = vectorsAt + slot * IOVEC_OCTETS
        fields.setBigUint64(header + NAME_AT, peer, true)
        fields.setUint32(header + NAME_LENGTH_AT, peerOctets, true)
        fields.setBigUint64(header + IOVEC_AT, base + BigInt(vector), true)
        fields.setBigUint64(header + IOVEC_COUNT_AT, 1n, true)
        fields.setBigUint64(vector, base + BigInt(payload), true)
        fields.setBigUint64(vector + 8, BigInt(octets), true)
      }
    }
  }

  /** Responses that wait to be sent. */
  get queued(): number {
    return this.#queued
  }

  /** Where the datagram that came in a slot begins in `bytes`. */
  receivedAt(slot: number): number {
    return this.#receivedAt + slot * RECEIVED_OCTETS_MAX
  }

  /** Where the next response is to be written in `bytes`. */
  get nextSentAt(): number {
    return this.sentAt(this.#queued)
  }

  /** Where what goes from the `place`th place begins in `bytes`. */
  sentAt(place: number): number {
    return this.#sentAt + place * SENT_OCTETS_MAX
  }

  /** Octets of the datagram that came in a slot. */
  receivedOctets(slot: number): number {
    return this.words[this.#receivedHeadersWord + (slot * HEADER_OCTETS + LENGTH_AT) / 4]!
  }

  /** The `struct sockaddr` of a slot begins here in `bytes`. */
  peerAt(slot: number): number {
    return this.#peersAt + slot * PEER_OCTETS
  }

  /** The port of a slot's peer; 0 is a forger's. */
  peerPort(slot: number): number {
    const at = this.peerAt(slot) + 2
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!
  }

  /** Puts a datagram in a slot as if it had come: for what is tried without a socket. */
  place(slot: number, datagram: Uint8Array): void {
    this.bytes.set(datagram, this.receivedAt(slot))
    this.words[this.#receivedHeadersWord + (slot * HEADER_OCTETS + LENGTH_AT) / 4] = datagram.length
  }

  /** What was queued at a place: for what is tried without a socket. */
  queuedAt(place: number): Uint8Array {
    const octets = this.words[this.#sentVectorsWord + (place * IOVEC_OCTETS + 8) / 4]!
    return this.bytes.slice(this.sentAt(place), this.sentAt(place) + octets)
  }

  /** Throws away what is queued. */
  clear(): void {
    this.#queued = 0
  }

  /** Makes somebody a slot's peer: for responses to datagrams that came elsewhere. */
  setPeer(slot: number, peer: Uint8Array): void {
    this.bytes.set(peer, this.peerAt(slot))
  }

  /** Receives what is there, without waiting; the number of datagrams, or an errno, negated. */
  receive(descriptor: number): number {
    const word = this.#receivedHeadersWord + NAME_LENGTH_AT / 4
    for (let slot = 0; slot < this.count; slot++) this.words[word + (slot * HEADER_OCTETS) / 4] = this.#peerOctets
    return this.#calls.receiveMessages(descriptor, this.#receivedHeaders, this.count)
  }

  /** Queues what was written at `nextSentAt` for the peer of a slot. */
  queue(slot: number, octets: number): void {
    const place = this.#queued++
    const header = this.#sentHeadersWord + (place * HEADER_OCTETS) / 4
    this.words[header] = this.#peerPointers[slot * 2]!
    this.words[header + 1] = this.#peerPointers[slot * 2 + 1]!
    this.words[this.#sentVectorsWord + (place * IOVEC_OCTETS + 8) / 4] = octets
  }

  /** Sends what is queued; returns how many responses the kernel did not take. */
  send(descriptor: number): number {
    const queued = this.#queued
    this.#queued = 0
    let sent = queued === 0 ? 0 : this.#calls.sendMessages(descriptor, this.#sentHeaders, queued)
    if (sent === queued) return 0
    // One that cannot be sent must not keep those behind it.
    let failed = 0
    for (let done = 0; ; ) {
      if (sent < 0) {
        failed++
        done++
      } else {
        done += sent
      }
      if (done >= queued) return failed
      const rest = this.#sentHeaders.subarray(done * HEADER_OCTETS)
      sent = this.#calls.sendMessages(descriptor, rest, queued - done)
    }
  }
}
