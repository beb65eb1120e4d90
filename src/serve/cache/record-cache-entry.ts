/** What the record cache keeps of an answer: as others see it, and how it is packed. */

import type { Answer } from '../../dns/answer.ts'
import type { Kept } from '../../dns/cache/freshness.ts'
import type { CacheKey } from '../../dns/cache/key.ts'
import type { AnswerKind } from '../../dns/cache/lifetime.ts'

/** What is known of an answer that is to be kept. */
export interface EntryToKeep extends Kept {
  readonly key: CacheKey
  /** Its bytes are copied. */
  readonly answer: Answer
  readonly kind: AnswerKind
  readonly upstream: string
  readonly route: number
}

/** What is kept, as it was when it was looked up. Reading `answer` makes a new one every time. */
export interface CacheEntry extends EntryToKeep {
  readonly rcode: number
  /** Octets of the answer's message. */
  readonly octets: number
  /** Hits since it was kept. */
  readonly hits: number
}

/** Filled and read within one call. */
let scratch = Buffer.allocUnsafeSlow(1_024)

/**
 * The answer's octets and, behind them, the offsets of its TTLs, two octets each, as a string of one byte a character: a
 * typed array of its own would cost about 400 bytes beside its octets, most of them outside the heap, and a slice of a pool
 * would keep the whole pool alive.
 */
export function packed({ message, ttlOffsets }: Answer): string {
  const octets = message.length + 2 * ttlOffsets.length
  if (octets > scratch.length) scratch = Buffer.allocUnsafeSlow(2 * octets)
  scratch.set(message)
  let at = message.length
  for (const offset of ttlOffsets) {
    scratch[at++] = offset >>> 8
    scratch[at++] = offset & 0xff
  }
  return scratch.toString('latin1', 0, octets)
}

/** The answer's octets and offsets, which are the caller's own. */
export function unpacked(text: string, ttlCount: number): Pick<Answer, 'message' | 'ttlOffsets'> {
  const octets = text.length - 2 * ttlCount
  const message = Buffer.allocUnsafe(octets)
  message.write(text, 0, octets, 'latin1')
  const ttlOffsets = new Uint16Array(ttlCount)
  for (let i = 0, at = octets; i < ttlCount; i++, at += 2) {
    ttlOffsets[i] = (text.charCodeAt(at) << 8) | text.charCodeAt(at + 1)
  }
  return { message, ttlOffsets }
}

/** What an entry costs beside its message and key: headers of two strings, its columns, node-cache's record, places in tables. */
const ENTRY_OVERHEAD_BYTES = 300

/** What an entry takes. Strings count two bytes a character: a type above 255 alone makes a key of such. */
export function bytesOf(key: CacheKey, answer: Answer): number {
  let characters = key.length
  for (const { text } of answer.extendedErrors) characters += text.length
  return ENTRY_OVERHEAD_BYTES + 2 * characters + answer.message.length + answer.ttlOffsets.byteLength
}
