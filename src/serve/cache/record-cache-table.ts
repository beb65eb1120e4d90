/**
 * What is known of the record cache's entries beside their answers, and the order in which they came: columns of numbers
 * instead of an object for each, so that a collection of garbage has next to nothing to walk and to move.
 *
 *    place          0     1     2     3   ...       an entry's number as long as it is kept, then another's
 *    older, newer   links of the entries that are kept, from the oldest to the newest; NOWHERE at the ends
 *    heads, nexts   chains of the places whose keys have the same hash, as far as that counts; one more, so that 0 is none
 *
 * The chains stand in for a `Map`, which makes itself anew in a single step once in a while: with one, a hundred new answers
 * took up to 31 ms of the event loop (docs/performance.md).
 */

import type { CacheKey } from '../../dns/cache/key.ts'
import type { AnswerKind } from '../../dns/cache/lifetime.ts'
import type { ExtendedError } from '../../dns/wire/edns.ts'
import { finishHash, hashOctet } from './packet-cache-layout.ts'
import { type CacheEntry, type EntryToKeep, unpacked } from './record-cache-entry.ts'

export const NOWHERE = -1

/** A power of two. */
const PLACES_AT_FIRST = 1_024
const KINDS: readonly AnswerKind[] = ['positive', 'negative', 'failure']
const NO_ERRORS: readonly ExtendedError[] = []

export class RecordCacheTable {
  oldest = NOWHERE
  newest = NOWHERE
  readonly #seed: number
  #heads = new Int32Array(PLACES_AT_FIRST)
  #nexts = new Int32Array(PLACES_AT_FIRST)
  #hashes = new Int32Array(PLACES_AT_FIRST)
  #older = new Int32Array(PLACES_AT_FIRST)
  #newer = new Int32Array(PLACES_AT_FIRST)
  #bytes = new Int32Array(PLACES_AT_FIRST)
  #hits = new Uint32Array(PLACES_AT_FIRST)
  #flags = new Uint16Array(PLACES_AT_FIRST)
  #rcodes = new Uint16Array(PLACES_AT_FIRST)
  #ttlCounts = new Uint16Array(PLACES_AT_FIRST)
  #kinds = new Uint8Array(PLACES_AT_FIRST)
  #marks = new Uint8Array(PLACES_AT_FIRST)
  #routes = new Int32Array(PLACES_AT_FIRST)
  #keptAtSeconds = new Float64Array(PLACES_AT_FIRST)
  #lifetimeSeconds = new Float64Array(PLACES_AT_FIRST)
  /** Undefined where no entry is. */
  readonly #keys: (CacheKey | undefined)[] = []
  readonly #upstreams: string[] = []
  /** Few answers have any. */
  readonly #errors = new Map<number, readonly ExtendedError[]>()
  readonly #free: number[] = []

  /** `seed` is a number that nobody can guess: names are chosen by strangers. */
  constructor(seed: number) {
    this.#seed = seed | 0
  }

  /** The place of a key; NOWHERE when there is none. */
  placeOf(key: CacheKey): number {
    const hash = this.#hashOf(key)
    const hashes = this.#hashes
    let link = this.#heads[hash & (this.#heads.length - 1)]!
    while (link !== 0) {
      const place = link - 1
      if (hashes[place] === hash && this.#keys[place] === key) return place
      link = this.#nexts[place]!
    }
    return NOWHERE
  }

  /** A place that no entry has. */
  freePlace(): number {
    const free = this.#free.pop()
    if (free !== undefined) return free
    const place = this.#keys.length
    if (place === this.#older.length) this.#grow()
    this.#keys.push(undefined)
    this.#upstreams.push('')
    return place
  }

  /** Gives back a place whose entry was taken out, or that never had one. */
  giveBack(place: number): void {
    this.#free.push(place)
  }

  /** Puts an entry in a place, as the newest; there is none of the same key. */
  put(place: number, entry: EntryToKeep, bytes: number, isMarked: boolean): void {
    const { answer } = entry
    this.#chain(place, this.#hashOf(entry.key))
    this.#bytes[place] = bytes
    this.#hits[place] = 0
    this.#flags[place] = answer.flags
    this.#rcodes[place] = answer.rcode
    this.#ttlCounts[place] = answer.ttlOffsets.length
    this.#kinds[place] = KINDS.indexOf(entry.kind)
    this.#marks[place] = isMarked ? 1 : 0
    this.#routes[place] = entry.route
    this.#keptAtSeconds[place] = entry.keptAtSeconds
    this.#lifetimeSeconds[place] = entry.lifetimeSeconds
    this.#keys[place] = entry.key
    this.#upstreams[place] = entry.upstream
    if (answer.extendedErrors.length > 0) this.#errors.set(place, answer.extendedErrors)
    this.#older[place] = this.newest
    this.#newer[place] = NOWHERE
    if (this.newest === NOWHERE) this.oldest = place
    else this.#newer[this.newest] = place
    this.newest = place
  }

  /** Takes the entry out of a place; what was known of it can still be read until another comes. */
  takeOut(place: number): void {
    const [older, newer] = [this.#older[place]!, this.#newer[place]!]
    if (older === NOWHERE) this.oldest = newer
    else this.#newer[older] = newer
    if (newer === NOWHERE) this.newest = older
    else this.#older[newer] = older
    this.#unchain(place)
    this.#keys[place] = undefined
    if (this.#errors.size > 0) this.#errors.delete(place)
  }

  /** Takes everything out. */
  clear(): void {
    this.oldest = NOWHERE
    this.newest = NOWHERE
    this.#heads.fill(0)
    this.#keys.length = 0
    this.#upstreams.length = 0
    this.#free.length = 0
    this.#errors.clear()
  }

  keyAt(place: number): CacheKey | undefined {
    return this.#keys[place]
  }

  bytesAt(place: number): number {
    return this.#bytes[place]!
  }

  isPositive(place: number): boolean {
    return this.#kinds[place] === 0
  }

  newerThan(place: number): number {
    return this.#newer[place]!
  }

  isMarked(place: number): boolean {
    return this.#marks[place] === 1
  }

  unmark(place: number): void {
    this.#marks[place] = 0
  }

  /** Somebody asked for it. */
  hit(place: number): void {
    this.#marks[place] = 1
    this.#hits[place]!++
  }

  /** The entry of a place, with its packed answer. */
  entryAt(place: number, text: string): CacheEntry {
    return new KeptEntry(
      this.#keys[place]!,
      text,
      this.#ttlCounts[place]!,
      this.#flags[place]!,
      this.#errors.get(place) ?? NO_ERRORS,
      this.#rcodes[place]!,
      KINDS[this.#kinds[place]!]!,
      this.#upstreams[place]!,
      this.#routes[place]!,
      this.#keptAtSeconds[place]!,
      this.#lifetimeSeconds[place]!,
      this.#hits[place]!,
    )
  }

  #hashOf(key: CacheKey): number {
    let hash = this.#seed
    for (let i = 0; i < key.length; i++) hash = hashOctet(hash, key.charCodeAt(i))
    return finishHash(hash)
  }

  #chain(place: number, hash: number): void {
    const head = hash & (this.#heads.length - 1)
    this.#hashes[place] = hash
    this.#nexts[place] = this.#heads[head]!
    this.#heads[head] = place + 1
  }

  #unchain(place: number): void {
    const nexts = this.#nexts
    const head = this.#hashes[place]! & (this.#heads.length - 1)
    let before = NOWHERE
    for (let link = this.#heads[head]!; link !== place + 1; link = nexts[before]!) {
      if (link === 0) throw new Error('an entry of the record cache is in no chain')
      before = link - 1
    }
    if (before === NOWHERE) this.#heads[head] = nexts[place]!
    else nexts[before] = nexts[place]!
  }

  /** Twice the places: some numbers are copied for each there was, and every chain is made anew. */
  #grow(): void {
    const places = this.#older.length
    this.#heads = new Int32Array(2 * places)
    this.#nexts = grown(this.#nexts, Int32Array)
    this.#hashes = grown(this.#hashes, Int32Array)
    for (let place = 0; place < places; place++) {
      if (this.#keys[place] !== undefined) this.#chain(place, this.#hashes[place]!)
    }
    this.#older = grown(this.#older, Int32Array)
    this.#newer = grown(this.#newer, Int32Array)
    this.#bytes = grown(this.#bytes, Int32Array)
    this.#hits = grown(this.#hits, Uint32Array)
    this.#flags = grown(this.#flags, Uint16Array)
    this.#rcodes = grown(this.#rcodes, Uint16Array)
    this.#ttlCounts = grown(this.#ttlCounts, Uint16Array)
    this.#kinds = grown(this.#kinds, Uint8Array)
    this.#marks = grown(this.#marks, Uint8Array)
    this.#routes = grown(this.#routes, Int32Array)
    this.#keptAtSeconds = grown(this.#keptAtSeconds, Float64Array)
    this.#lifetimeSeconds = grown(this.#lifetimeSeconds, Float64Array)
  }
}

type Numbers = Int32Array | Uint32Array | Uint16Array | Uint8Array | Float64Array

function grown<Column extends Numbers>(column: Column, Columns: new (places: number) => Column): Column {
  const larger = new Columns(2 * column.length)
  larger.set(column)
  return larger
}

/** An entry as it was when it was looked up. */
class KeptEntry implements CacheEntry {
  readonly key: CacheKey
  readonly rcode: number
  readonly kind: AnswerKind
  readonly upstream: string
  readonly route: number
  readonly keptAtSeconds: number
  readonly lifetimeSeconds: number
  readonly hits: number
  readonly #text: string
  readonly #ttlCount: number
  readonly #flags: number
  readonly #extendedErrors: readonly ExtendedError[]

  constructor(
    key: CacheKey,
    text: string,
    ttlCount: number,
    flags: number,
    extendedErrors: readonly ExtendedError[],
    rcode: number,
    kind: AnswerKind,
    upstream: string,
    route: number,
    keptAtSeconds: number,
    lifetimeSeconds: number,
    hits: number,
  ) {
    this.key = key
    this.#text = text
    this.#ttlCount = ttlCount
    this.#flags = flags
    this.#extendedErrors = extendedErrors
    this.rcode = rcode
    this.kind = kind
    this.upstream = upstream
    this.route = route
    this.keptAtSeconds = keptAtSeconds
    this.lifetimeSeconds = lifetimeSeconds
    this.hits = hits
  }

  get octets(): number {
    return this.#text.length - 2 * this.#ttlCount
  }

  get answer(): CacheEntry['answer'] {
    const { message, ttlOffsets } = unpacked(this.#text, this.#ttlCount)
    return { message, rcode: this.rcode, flags: this.#flags, ttlOffsets, extendedErrors: this.#extendedErrors }
  }
}
