/**
 * How the packet cache lies in shared memory. One writer (`packet-cache.ts`, on the event loop), any number of readers
 * (`packet-cache-reader.ts`, on the workers).
 *
 *    | heads, 4 octets each | slots, 32 octets each | data: a ring of entries of any size, each at a multiple of 8 |
 *
 * A head is the first slot of a chain of names with the same hash, plus one; 0 is none. A slot, in words of 4 octets:
 *
 *    | 0 version | 1 hash | 2 question: type, bits | 3 next slot + 1 | 4 entry at, in data | 5 hits | 6 asked to renew | 7 spare |
 *
 * The version is odd while the slot has no entry or is being changed. A reader notes it before it looks and compares it
 * when it has copied: every change of the slot, and of the octets that it points to, lies between two versions. What does
 * not compare equal is a miss. Slots are never used for anything else, so that no octet of a message is ever taken for one.
 *
 * An entry, in words of 4 octets:
 *
 *    | 0 octets in all | 1 slot | 2 name octets, message octets | 3 flags, source, kind | 4 ttl count, option octets |
 *    | 5 rotation: first ttl, count, width | 6, 7 kept at | 8, 9 fresh until | 10, 11 to be renewed from | 12 zone label | 13 question |
 *    | name | ttl offsets, 2 octets each | options of the OPT | message |           each part at a multiple of 4
 */

export const SLOT_WORDS = 8
export const SLOT_OCTETS = SLOT_WORDS * 4

export const SlotWord = {
  Version: 0,
  Hash: 1,
  Question: 2,
  Next: 3,
  EntryAt: 4,
  Hits: 5,
  IsAskedToRenew: 6,
} as const

export const EntryWord = {
  Octets: 0,
  Slot: 1,
  Lengths: 2,
  Flags: 3,
  Counts: 4,
  Rotation: 5,
  ZoneLabel: 12,
  /** The slot's, for the day the entry moves to another one. */
  Question: 13,
} as const

/** Words of eight octets, from the beginning of an entry. */
export const EntryDouble = { KeptAt: 3, FreshUntil: 4, RenewFrom: 5 } as const

export const ENTRY_FIXED_OCTETS = 56

/** Octets of memory for one slot: as much as a small response with its name takes. Fewer slots would waste data, more slots. */
const OCTETS_PER_SLOT = 320

/** Chains are looked through this far; a longer one loses its end. Bounds the work that a hostile choice of names can make. */
export const CHAIN_SLOTS_MAX = 32

/** A response that UDP may carry (RFC 9715: 1232 octets with its OPT). */
export const PACKET_OCTETS_MAX = 1232

/** TTLs in a response of that size: a record has eleven octets at least. */
export const TTLS_MAX = 112

/** Zones that have a name in the counters; see `CounterLabels`. */
export const ZONE_LABELS_MAX = 128

/** The bits of a query that may change what is answered, beside its question. */
export const QuestionBit = { RecursionDesired: 1, CheckingDisabled: 2, DnssecOk: 4 } as const

/** Where the parts of the memory begin; derived from its size alone. */
export interface PacketCacheLayout {
  readonly headCount: number
  readonly slotCount: number
  readonly slotsAt: number
  readonly dataAt: number
  readonly dataOctets: number
}

export function layoutOf(bytes: number): PacketCacheLayout {
  const slotCount = Math.max(16, Math.floor(bytes / OCTETS_PER_SLOT))
  // A power of two, so that a hash finds its head by a mask.
  const headCount = 2 ** Math.ceil(Math.log2(slotCount))
  const slotsAt = headCount * 4
  const dataAt = Math.ceil((slotsAt + slotCount * SLOT_OCTETS) / 8) * 8
  return { headCount, slotCount, slotsAt, dataAt, dataOctets: Math.floor((bytes - dataAt) / 8) * 8 }
}

/** HOT. One step of the hash of a name; begins with the cache's seed. */
export function hashOctet(hash: number, octet: number): number {
  return Math.imul(hash ^ octet, 0x0100_0193)
}

/** HOT. The last step: spreads what the name's end changed over all bits. */
export function finishHash(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d)
  return mixed ^ (mixed >>> 12)
}

/** HOT. Type and bits of a question in one word. */
export function questionWord(type: number, bits: number): number {
  return (type << 8) | bits
}
