/**
 * The packet cache's only writer: finished responses, for the workers to copy (`packet-cache-layout.ts` draws the memory).
 *
 * Entries lie in a ring in the order they came. Room for a new one is made at the oldest end; an entry that was asked for
 * since the hand last passed it goes to the new end instead, at most `SECOND_CHANCES_MAX` for one insertion, so that a
 * flood of random names sweeps itself out and the work of an insertion is bounded. What is forgotten keeps its octets
 * until the hand comes by.
 *
 * It knows nothing of DNS beyond what `PacketToKeep` says, and runs on the event loop alone.
 */

import type { Answer } from '../../dns/answer.ts'
import type { Name } from '../../dns/wire/name.ts'
import {
  CHAIN_SLOTS_MAX,
  ENTRY_FIXED_OCTETS,
  EntryDouble,
  EntryWord,
  finishHash,
  hashOctet,
  layoutOf,
  PACKET_OCTETS_MAX,
  type PacketCacheLayout,
  questionWord,
  SLOT_WORDS,
  SlotWord,
  TTLS_MAX,
} from './packet-cache-layout.ts'

/** What the workers need to answer one question. */
export interface PacketToKeep {
  readonly name: Name
  readonly type: number
  /** See `QuestionBit`. */
  readonly bits: number
  readonly answer: Answer
  /** TTLs are told within these bounds, less the seconds since `keptAtSeconds`; `countsDown` false: as they are. */
  readonly ttls: { readonly minSeconds: number; readonly maxSeconds: number; readonly countsDown: boolean }
  readonly keptAtSeconds: number
  readonly freshUntilSeconds: number
  /** From then on the first who asks has it renewed, if it was asked for often enough. Infinity: never. */
  readonly renewFromSeconds: number
  /** Index of `SOURCE_LABELS`. */
  readonly source: number
  /** A name error or no data. */
  readonly isDenial: boolean
  /** Counted as an answer of the search-suffix short cut. */
  readonly isShortCut: boolean
  readonly zoneLabel: number
  /** Options for the OPT of those who sent one. */
  readonly options: Uint8Array
  /** Which addresses take turns; undefined: none. */
  readonly rotation: { readonly firstTtl: number; readonly count: number; readonly octets: number } | undefined
}

/** What is told of a kept response; seconds on the clock of `keep`. */
export interface PeekedPacket {
  readonly keptAtSeconds: number
  readonly freshUntilSeconds: number
  /** Since it was kept, or was moved. */
  readonly hits: number
  readonly rcode: number
  /** Index of `SOURCE_LABELS`. */
  readonly source: number
  /** Of the message without OPT. */
  readonly octets: number
}

export interface PacketCacheStatus {
  readonly entries: number
  /** Octets of all entries that are or were there and whose room is not taken yet. */
  readonly bytes: number
  readonly bytesMax: number
  readonly evictions: number
  /** Answers that are too large for a packet, or have too many records. */
  readonly refusals: number
}

/** Entries that one insertion may move to the new end because they were asked for. */
const SECOND_CHANCES_MAX = 64

/** The slot of a gap at the end of the ring. */
const NO_SLOT = -1

/** Flags of an entry, above the sixteen of the header. */
export const EntryFlag = { CountsDown: 1 << 16, IsDenial: 1 << 17, IsShortCut: 1 << 18, SourceShift: 24 } as const

export class PacketCache {
  readonly memory: SharedArrayBuffer
  readonly seed: number
  readonly #layout: PacketCacheLayout
  readonly #heads: Int32Array
  readonly #slots: Int32Array
  readonly #words: Int32Array
  readonly #doubles: Float64Array
  readonly #octets: Uint8Array
  readonly #freeSlots: Int32Array
  #freeCount: number
  /** The oldest entry, and where the next goes; equal when the ring is empty or full. */
  #oldestAt = 0
  #nextAt = 0
  #bytes = 0
  #entries = 0
  #evictions = 0
  #refusals = 0

  /** `seed` is a number that nobody can guess: names are chosen by strangers. */
  constructor(bytes: number, seed: number) {
    this.memory = new SharedArrayBuffer(bytes)
    this.seed = seed | 0
    this.#layout = layoutOf(bytes)
    const { headCount, slotCount, slotsAt, dataAt, dataOctets } = this.#layout
    this.#heads = new Int32Array(this.memory, 0, headCount)
    this.#slots = new Int32Array(this.memory, slotsAt, slotCount * SLOT_WORDS)
    this.#words = new Int32Array(this.memory, dataAt, dataOctets / 4)
    this.#doubles = new Float64Array(this.memory, dataAt, dataOctets / 8)
    this.#octets = new Uint8Array(this.memory, dataAt, dataOctets)
    this.#freeSlots = new Int32Array(slotCount)
    this.#freeCount = slotCount
    for (let slot = 0; slot < slotCount; slot++) {
      this.#freeSlots[slot] = slot
      this.#slots[slot * SLOT_WORDS + SlotWord.Version] = 1
    }
  }

  /** Keeps a response in the place of a former one to the same question; false when it is not of a kind that is kept. */
  keep(packet: PacketToKeep, nowSeconds: number): boolean {
    const { answer, name } = packet
    const octets = octetsOf(packet)
    if (
      answer.message.length + packet.options.length > PACKET_OCTETS_MAX ||
      answer.ttlOffsets.length > TTLS_MAX ||
      octets > this.#layout.dataOctets / 4
    ) {
      this.#refusals++
      return false
    }
    const hash = this.#hashOf(name)
    const question = questionWord(packet.type, packet.bits)
    this.#forgetWhere(hash, (slot) => this.#slots[slot + SlotWord.Question] === question && this.#isOf(slot, name))
    const moved = this.#makeRoom(octets, nowSeconds)
    const at = this.#reserve(octets)
    this.#write(at, octets, packet)
    this.#publish(at, hash, question)
    for (const entry of moved) this.#moveToEnd(entry, nowSeconds)
    return true
  }

  /** What the workers have for a question; `bits`: see `QuestionBit`. Leaves no trace: for operators who look. */
  peek(name: Name, type: number, bits: number): PeekedPacket | undefined {
    const hash = this.#hashOf(name)
    const question = questionWord(type, bits)
    let next = this.#heads[hash & (this.#layout.headCount - 1)]!
    for (let step = 0; step < CHAIN_SLOTS_MAX && next !== 0; step++) {
      const slot = (next - 1) * SLOT_WORDS
      next = this.#slots[slot + SlotWord.Next]!
      const isIt = this.#slots[slot + SlotWord.Hash] === hash && this.#slots[slot + SlotWord.Question] === question
      if (!isIt || !this.#isOf(slot, name)) continue
      const at = this.#slots[slot + SlotWord.EntryAt]!
      return {
        keptAtSeconds: this.#doubles[at / 8 + EntryDouble.KeptAt]!,
        freshUntilSeconds: this.#doubles[at / 8 + EntryDouble.FreshUntil]!,
        hits: Atomics.load(this.#slots, slot + SlotWord.Hits),
        rcode: this.#words[at / 4 + EntryWord.Flags]! & 0xf,
        source: this.#words[at / 4 + EntryWord.Flags]! >>> EntryFlag.SourceShift,
        octets: this.#words[at / 4 + EntryWord.Lengths]! >>> 16,
      }
    }
    return undefined
  }

  /** Forgets all responses to questions about a name, which may be in two parts. */
  forgetName(name: Name, apex: Name = ''): void {
    this.#forgetWhere(this.#hashOf(name, apex), (slot) => this.#isOf(slot, name, apex))
  }

  /** Forgets all responses about names that `isWanted` picks; walks everything: for operators, not for queries. */
  forgetIf(isWanted: (name: Name) => boolean): void {
    this.#walk((slot) => {
      if (isWanted(this.#nameAt(this.#slots[slot * SLOT_WORDS + SlotWord.EntryAt]!))) this.#free(slot)
    })
  }

  /** Forgets everything. */
  forgetAll(): void {
    this.#walk((slot) => this.#free(slot))
    this.#oldestAt = 0
    this.#nextAt = 0
    this.#bytes = 0
  }

  status(): PacketCacheStatus {
    return {
      entries: this.#entries,
      bytes: this.#bytes,
      bytesMax: this.memory.byteLength,
      evictions: this.#evictions,
      refusals: this.#refusals,
    }
  }

  #walk(visit: (slot: number) => void): void {
    for (let slot = 0; slot < this.#layout.slotCount; slot++) {
      if ((this.#slots[slot * SLOT_WORDS + SlotWord.Version]! & 1) === 0) visit(slot)
    }
  }

  #hashOf(name: Name, apex: Name = ''): number {
    let hash = this.seed
    for (let i = 0; i < name.length; i++) hash = hashOctet(hash, name.charCodeAt(i))
    for (let i = 0; i < apex.length; i++) hash = hashOctet(hash, apex.charCodeAt(i))
    return finishHash(hash)
  }

  /** Whether the slot at a word holds a response about this name. */
  #isOf(slotWord: number, name: Name, apex: Name = ''): boolean {
    const at = this.#slots[slotWord + SlotWord.EntryAt]!
    if ((this.#words[at / 4 + EntryWord.Lengths]! & 0xffff) !== name.length + apex.length) return false
    const nameAt = at + ENTRY_FIXED_OCTETS
    return this.#standsAt(nameAt, name) && this.#standsAt(nameAt + name.length, apex)
  }

  #standsAt(at: number, text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.#octets[at + i] !== text.charCodeAt(i)) return false
    return true
  }

  #nameAt(entryAt: number): Name {
    const length = this.#words[entryAt / 4 + EntryWord.Lengths]! & 0xffff
    let name = ''
    for (let i = 0; i < length; i++) name += String.fromCharCode(this.#octets[entryAt + ENTRY_FIXED_OCTETS + i]!)
    return name
  }

  /** Forgets what `isWanted` picks of a chain, and its end beyond `CHAIN_SLOTS_MAX`; it is given the slot's first word. */
  #forgetWhere(hash: number, isWanted: (slotWord: number) => boolean): void {
    let steps = 0
    let next = this.#heads[hash & (this.#layout.headCount - 1)]!
    while (next !== 0) {
      const slot = next - 1
      const word = slot * SLOT_WORDS
      next = this.#slots[word + SlotWord.Next]!
      steps++
      // One less than readers look through: the next one is put before all of them.
      if (steps >= CHAIN_SLOTS_MAX || (this.#slots[word + SlotWord.Hash] === hash && isWanted(word))) this.#free(slot)
    }
  }

  /** Takes a slot out of its chain; readers that are in it will know. */
  #free(slot: number): void {
    const word = slot * SLOT_WORDS
    Atomics.add(this.#slots, word + SlotWord.Version, 1)
    const head = this.#slots[word + SlotWord.Hash]! & (this.#layout.headCount - 1)
    const next = this.#slots[word + SlotWord.Next]!
    if (this.#heads[head] === slot + 1) {
      Atomics.store(this.#heads, head, next)
    } else {
      let before = this.#heads[head]!
      while (before !== 0 && this.#slots[(before - 1) * SLOT_WORDS + SlotWord.Next] !== slot + 1) {
        before = this.#slots[(before - 1) * SLOT_WORDS + SlotWord.Next]!
      }
      if (before === 0) throw new Error('the packet cache lost a slot')
      Atomics.store(this.#slots, (before - 1) * SLOT_WORDS + SlotWord.Next, next)
    }
    const at = this.#slots[word + SlotWord.EntryAt]!
    this.#words[at / 4 + EntryWord.Slot] = NO_SLOT
    this.#freeSlots[this.#freeCount++] = slot
    this.#entries--
  }

  /** Frees room for `octets` in one piece at the new end, and a slot. Returns the entries that deserve to stay, copied. */
  #makeRoom(octets: number, nowSeconds: number): Uint8Array[] {
    const moved: Uint8Array[] = []
    let wanted = octets
    while (this.#freeCount <= moved.length || !this.#hasRoom(wanted)) {
      const entry = this.#dropOldest(nowSeconds, moved.length < SECOND_CHANCES_MAX)
      if (entry === undefined) continue
      moved.push(entry)
      // Room for all of them, so that none is put back at the cost of the next.
      wanted += entry.length
    }
    return moved
  }

  #hasRoom(octets: number): boolean {
    const { dataOctets } = this.#layout
    if (this.#bytes === 0) return true
    if (this.#nextAt > this.#oldestAt) {
      return dataOctets - this.#nextAt >= octets || this.#oldestAt >= octets
    }
    return this.#oldestAt - this.#nextAt >= octets
  }

  /** Gives up the oldest octets; a copy of them when somebody asks for what they hold. */
  #dropOldest(nowSeconds: number, mayStay: boolean): Uint8Array | undefined {
    if (this.#bytes === 0) throw new Error('the packet cache has slots for nobody')
    const at = this.#oldestAt
    const octets = this.#words[at / 4 + EntryWord.Octets]!
    const slot = this.#words[at / 4 + EntryWord.Slot]!
    let kept: Uint8Array | undefined
    if (slot !== NO_SLOT) {
      const word = slot * SLOT_WORDS
      const isAskedFor = Atomics.load(this.#slots, word + SlotWord.Hits) !== 0
      if (mayStay && isAskedFor && this.#doubles[at / 8 + EntryDouble.FreshUntil]! > nowSeconds) {
        kept = this.#octets.slice(at, at + octets)
      } else {
        this.#evictions++
      }
      this.#free(slot)
    }
    this.#bytes -= octets
    this.#oldestAt = at + octets === this.#layout.dataOctets ? 0 : at + octets
    if (this.#bytes === 0) {
      this.#oldestAt = 0
      this.#nextAt = 0
    }
    return kept
  }

  /** Where the next entry goes; the caller made room. */
  #reserve(octets: number): number {
    const { dataOctets } = this.#layout
    const left = dataOctets - this.#nextAt
    if (left < octets && this.#nextAt >= this.#oldestAt) {
      this.#words[this.#nextAt / 4 + EntryWord.Octets] = left
      this.#words[this.#nextAt / 4 + EntryWord.Slot] = NO_SLOT
      this.#bytes += left
      this.#nextAt = 0
    }
    const at = this.#nextAt
    this.#nextAt = at + octets === dataOctets ? 0 : at + octets
    this.#bytes += octets
    return at
  }

  #moveToEnd(entry: Uint8Array, nowSeconds: number): void {
    const octets = entry.length
    const lengths = entry[8]! | (entry[9]! << 8)
    let hash = this.seed
    for (let i = 0; i < lengths; i++) hash = hashOctet(hash, entry[ENTRY_FIXED_OCTETS + i]!)
    while (this.#freeCount === 0 || !this.#hasRoom(octets)) this.#dropOldest(nowSeconds, false)
    const at = this.#reserve(octets)
    this.#octets.set(entry, at)
    this.#publish(at, finishHash(hash), this.#words[at / 4 + EntryWord.Question]!)
  }

  #write(at: number, octets: number, packet: PacketToKeep): void {
    const { name, answer, options, rotation, ttls } = packet
    const word = at / 4
    const words = this.#words
    words[word + EntryWord.Octets] = octets
    words[word + EntryWord.Lengths] = name.length | (answer.message.length << 16)
    words[word + EntryWord.Flags] =
      (answer.flags & 0xfff0) |
      (answer.rcode & 0xf) |
      (ttls.countsDown ? EntryFlag.CountsDown : 0) |
      (packet.isDenial ? EntryFlag.IsDenial : 0) |
      (packet.isShortCut ? EntryFlag.IsShortCut : 0) |
      (packet.source << EntryFlag.SourceShift)
    words[word + EntryWord.Counts] = answer.ttlOffsets.length | (options.length << 16)
    words[word + EntryWord.Rotation] =
      rotation === undefined ? 0 : (rotation.firstTtl << 16) | (rotation.count << 8) | rotation.octets
    this.#doubles[at / 8 + EntryDouble.KeptAt] = packet.keptAtSeconds
    this.#doubles[at / 8 + EntryDouble.FreshUntil] = packet.freshUntilSeconds
    this.#doubles[at / 8 + EntryDouble.RenewFrom] = packet.renewFromSeconds
    words[word + EntryWord.ZoneLabel] = packet.zoneLabel
    words[word + EntryWord.Question] = questionWord(packet.type, packet.bits)
    let part = at + ENTRY_FIXED_OCTETS
    for (let i = 0; i < name.length; i++) this.#octets[part + i] = name.charCodeAt(i)
    part = aligned(part + name.length)
    const offsets = new Uint16Array(this.memory, this.#layout.dataAt + part, answer.ttlOffsets.length)
    offsets.set(answer.ttlOffsets)
    part = aligned(part + answer.ttlOffsets.length * 2)
    this.#octets.set(options, part)
    part = aligned(part + options.length)
    this.#octets.set(answer.message, part)
    if (!ttls.countsDown) return
    for (const offset of answer.ttlOffsets) {
      const ttlAt = part + offset
      const told = readTtl(this.#octets, ttlAt)
      writeTtl(this.#octets, ttlAt, Math.min(Math.max(told, ttls.minSeconds), ttls.maxSeconds))
    }
  }

  /** Puts an entry at the front of its chain: from now on readers find it. */
  #publish(at: number, hash: number, question: number): void {
    const slot = this.#freeSlots[--this.#freeCount]!
    const word = slot * SLOT_WORDS
    const head = hash & (this.#layout.headCount - 1)
    this.#words[at / 4 + EntryWord.Slot] = slot
    this.#slots[word + SlotWord.Hash] = hash
    this.#slots[word + SlotWord.Question] = question
    this.#slots[word + SlotWord.Next] = this.#heads[head]!
    this.#slots[word + SlotWord.EntryAt] = at
    this.#slots[word + SlotWord.Hits] = 0
    this.#slots[word + SlotWord.IsAskedToRenew] = 0
    Atomics.add(this.#slots, word + SlotWord.Version, 1)
    Atomics.store(this.#heads, head, slot + 1)
    this.#entries++
  }
}

function octetsOf({ name, answer, options }: PacketToKeep): number {
  const parts = aligned(name.length) + aligned(answer.ttlOffsets.length * 2) + aligned(options.length)
  return Math.ceil((ENTRY_FIXED_OCTETS + parts + answer.message.length) / 8) * 8
}

function aligned(octets: number): number {
  return (octets + 3) & ~3
}

/** RFC 2181 section 8: with the top bit set it means zero. */
function readTtl(octets: Uint8Array, at: number): number {
  const ttl = (octets[at]! << 24) | (octets[at + 1]! << 16) | (octets[at + 2]! << 8) | octets[at + 3]!
  return ttl < 0 ? 0 : ttl
}

function writeTtl(octets: Uint8Array, at: number, ttl: number): void {
  octets[at] = ttl >>> 24
  octets[at + 1] = ttl >>> 16
  octets[at + 2] = ttl >>> 8
  octets[at + 3] = ttl
}
