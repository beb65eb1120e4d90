/** What the record cache keeps of an answer: as others see it, and as it lies in memory. */

import type { Answer } from '../../dns/answer.ts'
import type { Kept } from '../../dns/cache/freshness.ts'
import type { CacheKey } from '../../dns/cache/key.ts'
import type { AnswerKind } from '../../dns/cache/lifetime.ts'
import type { ExtendedError } from '../../dns/wire/edns.ts'

/** What is known of an answer that is to be kept. */
export interface EntryToKeep extends Kept {
  readonly key: CacheKey
  /** Its bytes are copied. */
  readonly answer: Answer
  readonly kind: AnswerKind
  readonly upstream: string
  readonly route: number
}

/** What is kept. Reading `answer` makes a new one every time. */
export interface CacheEntry extends EntryToKeep {
  readonly rcode: number
  /** Octets of the answer's message. */
  readonly octets: number
  /** Hits since it was kept. */
  readonly hits: number
}

/**
 * An entry as it lies in memory. The answer is packed into strings: a typed array of its own would cost about 400 bytes
 * beside its octets, most of them outside the heap, and a slice of a pool would keep the whole pool alive.
 *
 * Everything is private, for node-cache counts the keys that an object shows whenever it is put in or taken out.
 */
export class Slot implements CacheEntry {
  readonly #key: CacheKey
  readonly #octets: string
  /** One character for each offset. */
  readonly #ttlOffsets: string
  readonly #rcode: number
  readonly #flags: number
  readonly #extendedErrors: readonly ExtendedError[]
  readonly #kind: AnswerKind
  readonly #upstream: string
  readonly #route: number
  readonly #keptAtSeconds: number
  readonly #lifetimeSeconds: number
  readonly #bytes: number
  #hits = 0
  #isMarked: boolean
  #older: Slot | undefined
  #newer: Slot | undefined

  constructor(entry: EntryToKeep, bytes: number, isMarked: boolean, older: Slot | undefined) {
    const { answer } = entry
    this.#key = entry.key
    this.#octets = latin1Of(answer.message)
    this.#ttlOffsets = String.fromCharCode.apply(undefined, answer.ttlOffsets as unknown as number[])
    this.#rcode = answer.rcode
    this.#flags = answer.flags
    this.#extendedErrors = answer.extendedErrors.length === 0 ? NO_ERRORS : answer.extendedErrors
    this.#kind = entry.kind
    this.#upstream = entry.upstream
    this.#route = entry.route
    this.#keptAtSeconds = entry.keptAtSeconds
    this.#lifetimeSeconds = entry.lifetimeSeconds
    this.#bytes = bytes
    this.#isMarked = isMarked
    this.#older = older
    this.#newer = undefined
  }

  get key(): CacheKey {
    return this.#key
  }

  /** Unpacked, and the caller's own. */
  get answer(): Answer {
    const octets = this.#octets
    const message = Buffer.allocUnsafe(octets.length)
    message.write(octets, 0, 'latin1')
    const offsets = this.#ttlOffsets
    const ttlOffsets = new Uint16Array(offsets.length)
    for (let i = 0; i < offsets.length; i++) ttlOffsets[i] = offsets.charCodeAt(i)
    return { message, rcode: this.#rcode, flags: this.#flags, ttlOffsets, extendedErrors: this.#extendedErrors }
  }

  get rcode(): number {
    return this.#rcode
  }

  get octets(): number {
    return this.#octets.length
  }

  get kind(): AnswerKind {
    return this.#kind
  }

  get upstream(): string {
    return this.#upstream
  }

  get route(): number {
    return this.#route
  }

  get keptAtSeconds(): number {
    return this.#keptAtSeconds
  }

  get lifetimeSeconds(): number {
    return this.#lifetimeSeconds
  }

  get bytes(): number {
    return this.#bytes
  }

  get hits(): number {
    return this.#hits
  }

  get isMarked(): boolean {
    return this.#isMarked
  }

  set isMarked(isMarked: boolean) {
    this.#isMarked = isMarked
  }

  get older(): Slot | undefined {
    return this.#older
  }

  set older(older: Slot | undefined) {
    this.#older = older
  }

  get newer(): Slot | undefined {
    return this.#newer
  }

  set newer(newer: Slot | undefined) {
    this.#newer = newer
  }

  /** Somebody asked for it. */
  hit(): void {
    this.#isMarked = true
    this.#hits++
  }
}

const NO_ERRORS: readonly ExtendedError[] = []

/** Octets as a string of one byte each. */
function latin1Of(octets: Uint8Array): string {
  return Buffer.prototype.latin1Slice.call(octets, 0, octets.length)
}

/** What an entry costs beside its message and key: the slot, string headers, node-cache's record and its place in the table. */
const ENTRY_OVERHEAD_BYTES = 400

/** What an entry takes. Strings count two bytes a character: a type above 255 alone makes a key of such. */
export function bytesOf(key: CacheKey, answer: Answer): number {
  let characters = key.length
  for (const { text } of answer.extendedErrors) characters += text.length
  return ENTRY_OVERHEAD_BYTES + 2 * characters + answer.message.length + answer.ttlOffsets.byteLength
}
