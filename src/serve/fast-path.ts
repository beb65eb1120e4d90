/**
 * HOT. Answers what the packet cache can answer of a batch; the rest is left to the event loop.
 *
 * Runs on the workers for every datagram of the node. Allocates nothing, waits for nothing, throws nothing: what cannot be
 * settled here, malformed messages included, is a miss, and `dns/policy/accept` says what becomes of it.
 */

import { LOWER_OCTETS } from '../dns/wire/name.ts'
import type { MessageSlots } from '../host/message-slots.ts'
import type { TrafficCounters } from '../observe/counters.ts'
import { EntryFlag } from './cache/packet-cache.ts'
import {
  finishHash,
  hashOctet,
  PACKET_OCTETS_MAX,
  QuestionBit,
  questionWord,
  ZONE_LABELS_MAX,
} from './cache/packet-cache-layout.ts'
import type { AskedQuestion, PacketCacheReader } from './cache/packet-cache-reader.ts'

const HEADER_OCTETS = 12
const PAYLOAD_OCTETS_MIN = 512
const LABEL_OCTETS_MAX = 63
const NAME_OCTETS_MAX = 255
const CLASS_IN = 1
const TYPE_OPT = 41

/** Index of `SOURCE_LABELS`: see `observe/counters`. */
const SOURCE_CACHE = 1

/** Datagrams between two looks at the clock: what is told of durations is exact to the time that so many take. */
const SLOTS_PER_LOOK = 16

/** What becomes of a datagram that is no hit, and of one that is a hit and wants more. */
export interface MissTaker {
  miss(slot: number): void
  renew(slot: number): void
}

export interface FastPathParts {
  readonly reader: PacketCacheReader
  readonly seed: number
  readonly counters: TrafficCounters
  /** The counters' cell of a server and a zone label: `server * ZONE_LABELS_MAX + label`. Written by the event loop. */
  readonly cells: Int32Array
  readonly family: 0 | 1
  nowSeconds(): number
}

export class FastPath {
  readonly #parts: FastPathParts
  readonly #asked: AskedQuestion = {
    nameAt: 0,
    nameOctets: 0,
    hash: 0,
    word: 0,
    octetsMax: 0,
    hasOpt: false,
    dnssecOk: false,
    wantsAuthenticData: false,
  }

  constructor(parts: FastPathParts) {
    this.#parts = parts
  }

  /** Queues a response for each hit among the `received` datagrams of one socket; every other one goes to `misses`. */
  answerHits(slots: MessageSlots, received: number, server: number, misses: MissTaker): void {
    const { reader, counters, cells, family } = this.#parts
    const startedAt = this.#parts.nowSeconds()
    let now = startedAt
    for (let slot = 0; slot < received; slot++) {
      if (slot % SLOTS_PER_LOOK === SLOTS_PER_LOOK - 1) now = this.#parts.nowSeconds()
      const queryAt = slots.receivedAt(slot)
      const queryOctets = slots.receivedOctets(slot)
      const type = this.#readQuestion(slots.bytes, queryAt, queryAt + queryOctets)
      const octets =
        type === -1 ? 0 : reader.copyResponse(this.#asked, slots.bytes, slots.words, queryAt, slots.nextSentAt, now)
      if (octets === 0) {
        misses.miss(slot)
        continue
      }
      slots.queue(slot, octets)
      const { flags } = reader
      const cell = cells[server * ZONE_LABELS_MAX + reader.zoneLabel]!
      const source = flags >>> EntryFlag.SourceShift
      counters.request(cell, 0, family, type, queryOctets, this.#asked.dnssecOk)
      counters.responseOf(cell, flags & 0xf, source, now - startedAt, octets, 0)
      if (source === SOURCE_CACHE) counters.cacheHit(cell, (flags & EntryFlag.IsDenial) === 0 ? 'success' : 'denial')
      if ((flags & EntryFlag.IsShortCut) !== 0) counters.shortCut()
      if (reader.wantsRenewal) misses.renew(slot)
    }
  }

  /** Reads a query into `#asked` and returns its type; -1 when it is anything but a plain question of class IN. */
  #readQuestion(bytes: Uint8Array, queryAt: number, end: number): number {
    if (end - queryAt < HEADER_OCTETS + 5) return -1
    // QR and opcode zero; one question, nothing else but perhaps an OPT.
    if ((bytes[queryAt + 2]! & 0xf8) !== 0) return -1
    if (bytes[queryAt + 4] !== 0 || bytes[queryAt + 5] !== 1) return -1
    if ((bytes[queryAt + 6]! | bytes[queryAt + 7]! | bytes[queryAt + 8]! | bytes[queryAt + 9]!) !== 0) return -1
    if (bytes[queryAt + 10] !== 0 || bytes[queryAt + 11]! > 1) return -1

    const asked = this.#asked
    const nameAt = queryAt + HEADER_OCTETS
    let at = nameAt
    let hash = this.#parts.seed
    for (;;) {
      const label = bytes[at]!
      hash = hashOctet(hash, label)
      if (label === 0) break
      if (label > LABEL_OCTETS_MAX || at + label + 2 > end) return -1
      for (const labelEnd = at + label; at < labelEnd; ) hash = hashOctet(hash, LOWER_OCTETS[bytes[++at]!]!)
      at++
    }
    at++
    const nameOctets = at - nameAt
    if (nameOctets > NAME_OCTETS_MAX || at + 4 > end) return -1
    const type = (bytes[at]! << 8) | bytes[at + 1]!
    if (((bytes[at + 2]! << 8) | bytes[at + 3]!) !== CLASS_IN) return -1
    at += 4
    asked.nameAt = nameAt
    asked.nameOctets = nameOctets
    asked.hash = finishHash(hash)
    asked.hasOpt = false
    asked.dnssecOk = false
    asked.octetsMax = PAYLOAD_OCTETS_MIN
    if (bytes[queryAt + 11] === 1 && !this.#readOpt(bytes, at, end)) return -1
    const bits =
      ((bytes[queryAt + 2]! & 0x01) !== 0 ? QuestionBit.RecursionDesired : 0) |
      ((bytes[queryAt + 3]! & 0x10) !== 0 ? QuestionBit.CheckingDisabled : 0) |
      (asked.dnssecOk ? QuestionBit.DnssecOk : 0)
    asked.word = questionWord(type, bits)
    asked.wantsAuthenticData = asked.dnssecOk || (bytes[queryAt + 3]! & 0x20) !== 0
    return type
  }

  /** Reads the OPT; false when the record is anything else, malformed, or of a version that we do not speak. */
  #readOpt(bytes: Uint8Array, at: number, end: number): boolean {
    if (at + 11 > end || bytes[at] !== 0) return false
    if (((bytes[at + 1]! << 8) | bytes[at + 2]!) !== TYPE_OPT || bytes[at + 6] !== 0) return false
    const optionsEnd = at + 11 + ((bytes[at + 9]! << 8) | bytes[at + 10]!)
    if (optionsEnd > end) return false
    for (let option = at + 11; option < optionsEnd; ) {
      if (option + 4 > optionsEnd) return false
      option += 4 + ((bytes[option + 2]! << 8) | bytes[option + 3]!)
      if (option > optionsEnd) return false
    }
    const asked = this.#asked
    asked.hasOpt = true
    asked.dnssecOk = (bytes[at + 7]! & 0x80) !== 0
    const payload = (bytes[at + 3]! << 8) | bytes[at + 4]!
    asked.octetsMax =
      payload < PAYLOAD_OCTETS_MIN ? PAYLOAD_OCTETS_MIN : payload > PACKET_OCTETS_MAX ? PACKET_OCTETS_MAX : payload
    return true
  }
}
