/**
 * HOT. Reads the packet cache from a worker: finds the response to a question and copies it, patched for one client.
 *
 * Allocates nothing, waits for nothing, throws nothing. Everything it reads may change under it: lengths are bounded before
 * they are used, and what was copied counts only when the slot's version is still the same (`packet-cache-layout.ts`).
 */

import { LOWER_OCTETS } from '../../dns/wire/name.ts'
import { EntryFlag } from './packet-cache.ts'
import {
  CHAIN_SLOTS_MAX,
  ENTRY_FIXED_OCTETS,
  EntryDouble,
  EntryWord,
  layoutOf,
  PACKET_OCTETS_MAX,
  SLOT_WORDS,
  SlotWord,
  TTLS_MAX,
} from './packet-cache-layout.ts'

/** Hits that make an entry worth renewing before its end; the same as `PREFETCH_HITS_MIN`, the first of them having filled it. */
const RENEW_HITS_MIN = 2

/** The golden ratio's fraction: see `dns/zone/answer`. */
const GOLDEN_FRACTION = 0.618_033_988_749_894_9

/** What was asked, as the fast path read it; one object for all queries. */
export interface AskedQuestion {
  /** Where the name stands in the query, and its octets. */
  nameAt: number
  nameOctets: number
  hash: number
  /** Type and bits; see `questionWord`. */
  word: number
  /** Octets that the response may have, OPT included. */
  octetsMax: number
  hasOpt: boolean
  dnssecOk: boolean
  wantsAuthenticData: boolean
}

/** Octets of type and class. */
const QUESTION_FIXED_OCTETS = 4

/** Octets of an OPT without options. */
const OPT_FIXED_OCTETS = 11

export class PacketCacheReader {
  readonly #heads: Int32Array
  readonly #headMask: number
  readonly #slots: Int32Array
  readonly #words: Int32Array
  readonly #doubles: Float64Array
  readonly #octets: Uint8Array
  #rotation = 0
  // What is told of the last hit.
  flags = 0
  zoneLabel = 0
  wantsRenewal = false

  constructor(memory: SharedArrayBuffer) {
    const { headCount, slotCount, slotsAt, dataAt, dataOctets } = layoutOf(memory.byteLength)
    this.#heads = new Int32Array(memory, 0, headCount)
    this.#headMask = headCount - 1
    this.#slots = new Int32Array(memory, slotsAt, slotCount * SLOT_WORDS)
    this.#words = new Int32Array(memory, dataAt, dataOctets / 4)
    this.#doubles = new Float64Array(memory, dataAt, dataOctets / 8)
    this.#octets = new Uint8Array(memory, dataAt, dataOctets)
  }

  /**
   * Copies the response to `asked`, whose query stands in `bytes` at `queryAt`, to `responseAt`, a multiple of 4; `words` are the
   * same octets. Returns its octets, or 0: a miss.
   */
  copyResponse(
    asked: AskedQuestion,
    bytes: Uint8Array,
    words: Int32Array,
    queryAt: number,
    responseAt: number,
    nowSeconds: number,
  ): number {
    const slots = this.#slots
    let next = Atomics.load(this.#heads, asked.hash & this.#headMask)
    for (let step = 0; step < CHAIN_SLOTS_MAX && next !== 0; step++) {
      const slot = (next - 1) * SLOT_WORDS
      const version = Atomics.load(slots, slot + SlotWord.Version)
      next = slots[slot + SlotWord.Next]!
      if (slots[slot + SlotWord.Hash] !== asked.hash || slots[slot + SlotWord.Question] !== asked.word) continue
      if ((version & 1) !== 0) continue
      const at = slots[slot + SlotWord.EntryAt]!
      if (!this.#isName(at, asked, bytes)) continue
      const octets = this.#copy(at, asked, bytes, words, queryAt, responseAt, nowSeconds)
      if (octets === 0) return 0
      // Counts the hit; and orders all that was read before it in front of the version that is read now.
      const hits = Atomics.add(slots, slot + SlotWord.Hits, 1)
      if (Atomics.load(slots, slot + SlotWord.Version) !== version) return 0
      this.wantsRenewal =
        hits >= RENEW_HITS_MIN &&
        nowSeconds >= this.#doubles[at / 8 + EntryDouble.RenewFrom]! &&
        Atomics.exchange(slots, slot + SlotWord.IsAskedToRenew, 1) === 0
      return octets
    }
    return 0
  }

  #isName(at: number, asked: AskedQuestion, bytes: Uint8Array): boolean {
    if ((this.#words[at / 4 + EntryWord.Lengths]! & 0xffff) !== asked.nameOctets) return false
    const nameAt = at + ENTRY_FIXED_OCTETS
    for (let i = 0; i < asked.nameOctets; i++) {
      if (this.#octets[nameAt + i] !== LOWER_OCTETS[bytes[asked.nameAt + i]!]) return false
    }
    return true
  }

  #copy(
    at: number,
    asked: AskedQuestion,
    bytes: Uint8Array,
    words: Int32Array,
    queryAt: number,
    responseAt: number,
    nowSeconds: number,
  ): number {
    const entry = at / 4
    const freshUntil = this.#doubles[at / 8 + EntryDouble.FreshUntil]!
    if (!(nowSeconds < freshUntil)) return 0
    const lengths = this.#words[entry + EntryWord.Lengths]!
    const counts = this.#words[entry + EntryWord.Counts]!
    const flags = this.#words[entry + EntryWord.Flags]!
    const messageOctets = lengths >>> 16
    const ttlCount = counts & 0xffff
    const optionOctets = counts >>> 16
    const optOctets = asked.hasOpt ? OPT_FIXED_OCTETS + optionOctets : 0
    if (messageOctets + optOctets > asked.octetsMax || messageOctets + optionOctets > PACKET_OCTETS_MAX) return 0
    if (ttlCount > TTLS_MAX) return 0
    const ttlsAt = aligned(at + ENTRY_FIXED_OCTETS + asked.nameOctets)
    const optionsAt = aligned(ttlsAt + ttlCount * 2)
    const messageAt = aligned(optionsAt + optionOctets)

    const toWord = responseAt >> 2
    const fromWord = messageAt >> 2
    for (let i = (messageOctets + 3) >> 2; i-- > 0; ) words[toWord + i] = this.#words[fromWord + i]!
    // The question as the client spelled it, whatever ours is; type and class with it.
    const spelled = responseAt + (asked.nameAt - queryAt)
    for (let i = asked.nameOctets + QUESTION_FIXED_OCTETS; i-- > 0; ) bytes[spelled + i] = bytes[asked.nameAt + i]!
    bytes[responseAt] = bytes[queryAt]!
    bytes[responseAt + 1] = bytes[queryAt + 1]!
    // QR, RA; RD and CD as they came; AA, AD and the rcode as they were kept.
    bytes[responseAt + 2] = 0x80 | ((flags >>> 8) & 0x04) | (bytes[queryAt + 2]! & 0x01)
    bytes[responseAt + 3] =
      0x80 | (flags & 0x0f) | (bytes[queryAt + 3]! & 0x10) | (asked.wantsAuthenticData ? flags & 0x20 : 0)
    if ((flags & EntryFlag.CountsDown) !== 0) {
      const age = Math.max(0, Math.floor(nowSeconds - this.#doubles[at / 8 + EntryDouble.KeptAt]!))
      if (age > 0) this.#countDown(age, ttlsAt, ttlCount, bytes, responseAt, messageOctets)
    }
    const rotation = this.#words[entry + EntryWord.Rotation]!
    if (rotation !== 0) this.#rotate(rotation, ttlsAt, ttlCount, messageAt, bytes, responseAt, messageOctets)
    let end = responseAt + messageOctets
    if (asked.hasOpt) {
      end = this.#writeOpt(bytes, end, optionsAt, optionOctets, asked.dnssecOk)
      const additional = ((bytes[responseAt + 10]! << 8) | bytes[responseAt + 11]!) + 1
      bytes[responseAt + 10] = additional >>> 8
      bytes[responseAt + 11] = additional
    }
    this.flags = flags
    this.zoneLabel = this.#words[entry + EntryWord.ZoneLabel]!
    return end - responseAt
  }

  #ttlOffset(ttlsAt: number, index: number): number {
    return this.#octets[ttlsAt + index * 2]! | (this.#octets[ttlsAt + index * 2 + 1]! << 8)
  }

  #countDown(
    age: number,
    ttlsAt: number,
    ttlCount: number,
    bytes: Uint8Array,
    responseAt: number,
    messageOctets: number,
  ): void {
    for (let i = 0; i < ttlCount; i++) {
      const offset = this.#ttlOffset(ttlsAt, i)
      if (offset + 4 > messageOctets) return
      const to = responseAt + offset
      const kept = (bytes[to]! << 24) | (bytes[to + 1]! << 16) | (bytes[to + 2]! << 8) | bytes[to + 3]!
      const ttl = kept > age ? kept - age : 0
      bytes[to] = ttl >>> 24
      bytes[to + 1] = ttl >>> 16
      bytes[to + 2] = ttl >>> 8
      bytes[to + 3] = ttl
    }
  }

  /** Another address first than the last time; the first one follows a Weyl sequence (see `dns/zone/answer`). */
  #rotate(
    rotation: number,
    ttlsAt: number,
    ttlCount: number,
    messageAt: number,
    bytes: Uint8Array,
    responseAt: number,
    messageOctets: number,
  ): void {
    const firstTtl = rotation >>> 16
    const count = (rotation >>> 8) & 0xff
    const octets = rotation & 0xff
    if (firstTtl + count > ttlCount || count < 2 || octets > 16) return
    this.#rotation = (this.#rotation + GOLDEN_FRACTION) % 1
    let from = Math.floor(this.#rotation * count)
    if (from === 0) return
    for (let place = 0; place < count; place++) {
      // Behind the TTL: two octets of length.
      const toAt = this.#ttlOffset(ttlsAt, firstTtl + place) + 6
      const fromAt = this.#ttlOffset(ttlsAt, firstTtl + from) + 6
      if (toAt + octets > messageOctets || fromAt + octets > messageOctets) return
      for (let i = 0; i < octets; i++) bytes[responseAt + toAt + i] = this.#octets[messageAt + fromAt + i]!
      from = from + 1 === count ? 0 : from + 1
    }
  }

  #writeOpt(bytes: Uint8Array, at: number, optionsAt: number, optionOctets: number, dnssecOk: boolean): number {
    bytes[at] = 0
    bytes[at + 1] = 0
    bytes[at + 2] = 41
    bytes[at + 3] = PACKET_OCTETS_MAX >>> 8
    bytes[at + 4] = PACKET_OCTETS_MAX & 0xff
    bytes[at + 5] = 0
    bytes[at + 6] = 0
    bytes[at + 7] = dnssecOk ? 0x80 : 0
    bytes[at + 8] = 0
    bytes[at + 9] = optionOctets >>> 8
    bytes[at + 10] = optionOctets
    for (let i = 0; i < optionOctets; i++) bytes[at + OPT_FIXED_OCTETS + i] = this.#octets[optionsAt + i]!
    return at + OPT_FIXED_OCTETS + optionOctets
  }
}

function aligned(octets: number): number {
  return (octets + 3) & ~3
}
