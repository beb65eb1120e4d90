/**
 * An answer: what a zone, a cache or an upstream says to a question, before it is a message to one client.
 *
 * It is one wire message without OPT, so that an upstream's bytes need no decoding: header (id and flags without
 * meaning, counts right), the one question, records. Compression pointers count from its first octet; the question's
 * length is the same whatever the case of its letters, so any client's spelling can be laid over it.
 */

import type { ExtendedError } from './wire/edns.ts'

export interface Answer {
  /** Never written to after it was made: many responses and two caches share it. */
  readonly message: Uint8Array
  /** 0 to 4095 (RFC 6891 section 6.1.3). */
  readonly rcode: number
  /** Of the flags word: AA, TC and AD as whoever answered set them; see `Flag`. */
  readonly flags: number
  /** Where the TTL fields of all records stand in `message`, ascending. */
  readonly ttlOffsets: Uint16Array
  readonly extendedErrors: readonly ExtendedError[]
}
