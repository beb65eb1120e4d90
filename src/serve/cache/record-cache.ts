/**
 * The record cache: upstream answers with their lifetime, bounded in bytes whatever the names look like.
 *
 * node-cache holds the answers and forgets them when even their stale time is over; this file adds the bound. It knows an
 * answer by its place in a table (`record-cache-table.ts`) and not by its key: a new string as a key of an object costs
 * V8 several times what a number does, and 2,000 new names a second were a seventh of a miss.
 *
 * Eviction is SIEVE: entries stand in the order they came, a hand walks from the oldest to the newest, an entry that was
 * asked for since the hand last passed stays and loses its mark, the first one without a mark goes; one that the packet
 * cache answers for counts as asked for. A flood of random names therefore sweeps itself out and leaves the names the
 * node keeps asking for. One insertion moves the hand at most
 * `HAND_STEPS_MAX` entries on, then takes what it stands on: the work of an insertion is bounded too.
 */

import { randomInt } from 'node:crypto'
import NodeCache from 'node-cache'
import type { CacheKey } from '../../dns/cache/key.ts'
import { bytesOf, type CacheEntry, type EntryToKeep, packed } from './record-cache-entry.ts'
import { NOWHERE, RecordCacheTable } from './record-cache-table.ts'

/** What is counted; the scrape reads it. */
export interface RecordCacheStatus {
  readonly bytes: number
  readonly positiveEntries: number
  readonly negativeEntries: number
  readonly evictions: number
  /** Those among them that were denials or failures. */
  readonly negativeEvictions: number
  /** Answers larger than the whole cache may ever hold of one. */
  readonly refusals: number
}

/** Somebody goes through the entries and was let down between two turns. */
interface Walk {
  next: number
}

/** Entries that one insertion may pass over for the sake of their marks. */
const HAND_STEPS_MAX = 64

/** No single answer takes more than this part of the budget. */
const ENTRY_SHARE_MAX = 1 / 16

/** Milliseconds between two steps of the sweep for entries whose time is over. */
const SWEEP_MS = 1_000

/** Entries that one step of the sweep looks at: well under a millisecond, where a walk of everything could take hundreds. */
export const SWEEP_ENTRIES_MAX = 1_000

export class RecordCache {
  readonly #store: NodeCache
  readonly #bytesMax: number
  readonly #isAskedElsewhere: (key: CacheKey) => boolean
  #bytes = 0
  #positiveEntries = 0
  #entries = 0
  #evictions = 0
  #negativeEvictions = 0
  #refusals = 0
  readonly #table: RecordCacheTable
  #hand = NOWHERE
  /** Where the sweep goes on. */
  #broom = NOWHERE
  readonly #walks = new Set<Walk>()
  readonly #sweeping: NodeJS.Timeout

  /**
   * `bytesMax`: what keys, messages and bookkeeping may take together. `isAskedElsewhere`: whether somebody else has answered
   * of late with what we gave him of a key, so that it was asked for and we did not see it. `seed`: see `RecordCacheTable`.
   */
  constructor(bytesMax: number, isAskedElsewhere: (key: CacheKey) => boolean = () => false, seed = randomInt(2 ** 31)) {
    this.#bytesMax = bytesMax
    this.#table = new RecordCacheTable(seed)
    this.#isAskedElsewhere = isAskedElsewhere
    this.#store = new NodeCache({ useClones: false, checkperiod: 0, deleteOnExpire: true })
    this.#store.on('del', (place: number) => this.#isGone(place))
    this.#sweeping = setInterval(() => this.sweep(), SWEEP_MS).unref()
  }

  /** The entry of a key, whatever its age; marks it as asked for. */
  find(key: CacheKey): CacheEntry | undefined {
    const place = this.#table.placeOf(key)
    if (place === NOWHERE) return undefined
    const text = this.#store.get<string>(place)
    if (text === undefined) return undefined
    this.#table.hit(place)
    return this.#table.entryAt(place, text)
  }

  /** The entry of a key without leaving a trace: for tools that look. */
  peek(key: CacheKey): CacheEntry | undefined {
    const place = this.#table.placeOf(key)
    return place === NOWHERE ? undefined : this.#entryAt(place)
  }

  /** Keeps an answer in the place of an older one for `keepSeconds`, stale time included; false when it is too large. */
  keep(entry: EntryToKeep, keepSeconds: number): boolean {
    const { key } = entry
    const bytes = bytesOf(key, entry.answer)
    const former = this.#table.placeOf(key)
    if (bytes > this.#bytesMax * ENTRY_SHARE_MAX) {
      this.#refusals++
      if (former !== NOWHERE) this.#store.del(former)
      return false
    }
    // A renewed answer keeps the mark of the old one: it is the same name that is asked for.
    const isMarked = former !== NOWHERE && this.#table.isMarked(former)
    if (former !== NOWHERE) this.#unlink(former)
    let place = former
    while (this.#bytes + bytes > this.#bytesMax) {
      const evicted = this.#evict()
      if (evicted === NOWHERE) break
      // What is kept now is put over the first that had to go for it: one step for node-cache instead of two.
      if (place === NOWHERE) place = evicted
      else this.#empty(evicted)
    }
    if (place === NOWHERE) place = this.#table.freePlace()
    this.#table.put(place, entry, bytes, isMarked)
    this.#bytes += bytes
    this.#entries++
    if (this.#table.isPositive(place)) this.#positiveEntries++
    this.#store.set(place, packed(entry.answer), keepSeconds)
    return true
  }

  /** Forgets the entry of a key, if there is one. */
  forget(key: CacheKey): void {
    const place = this.#table.placeOf(key)
    if (place !== NOWHERE) this.#store.del(place)
  }

  /** Forgets everything, in one step however much that is; returns how many entries it was. */
  flush(): number {
    const flushed = this.#entries
    this.#table.clear()
    this.#hand = NOWHERE
    this.#broom = NOWHERE
    for (const walk of this.#walks) walk.next = NOWHERE
    this.#bytes = 0
    this.#entries = 0
    this.#positiveEntries = 0
    this.#store.flushAll()
    return flushed
  }

  /** Forgets the entries that `isWanted` picks; returns how many. */
  async flushIf(isWanted: (entry: CacheEntry) => boolean): Promise<number> {
    let flushed = 0
    await this.#walk((place, entry) => {
      if (!isWanted(entry)) return
      this.#store.del(place)
      flushed++
    })
    return flushed
  }

  /** The entries that `isWanted` picks, oldest first, at most `countMax`: for tools that look. */
  async entries(isWanted: (entry: CacheEntry) => boolean, countMax: number): Promise<CacheEntry[]> {
    const found: CacheEntry[] = []
    await this.#walk((_place, entry) => {
      if (found.length < countMax && isWanted(entry)) found.push(entry)
    })
    return found
  }

  /** Visits every entry, `SWEEP_ENTRIES_MAX` in a turn of the event loop. What comes or goes meanwhile is seen or not. */
  async #walk(visit: (place: number, entry: CacheEntry) => void): Promise<void> {
    const walk: Walk = { next: this.#table.oldest }
    this.#walks.add(walk)
    try {
      for (let visited = 1; walk.next !== NOWHERE; visited++) {
        const place = walk.next
        walk.next = this.#table.newerThan(place)
        const entry = this.#entryAt(place)
        if (entry !== undefined) visit(place, entry)
        if (visited % SWEEP_ENTRIES_MAX === 0) await new Promise((resolve) => void setImmediate(resolve))
      }
    } finally {
      this.#walks.delete(walk)
    }
  }

  status(): RecordCacheStatus {
    return {
      bytes: this.#bytes,
      positiveEntries: this.#positiveEntries,
      negativeEntries: this.#entries - this.#positiveEntries,
      evictions: this.#evictions,
      negativeEvictions: this.#negativeEvictions,
      refusals: this.#refusals,
    }
  }

  /** Forgets those of the next `SWEEP_ENTRIES_MAX` entries whose time is over: their bytes are free before others need them. */
  sweep(): void {
    let place = this.#broom === NOWHERE ? this.#table.oldest : this.#broom
    for (let step = 0; step < SWEEP_ENTRIES_MAX && place !== NOWHERE; step++) {
      const next = this.#table.newerThan(place)
      // To look is enough: node-cache deletes what it finds to be over.
      this.#store.has(place)
      place = next
    }
    this.#broom = place
  }

  /** Ends the sweep. */
  close(): void {
    clearInterval(this.#sweeping)
    this.#store.close()
  }

  /** Takes an entry out for the sake of others; its place is the caller's. NOWHERE: there is none. */
  #evict(): number {
    const table = this.#table
    let place = this.#hand === NOWHERE ? table.oldest : this.#hand
    if (place === NOWHERE) return NOWHERE
    for (let step = 0; step < HAND_STEPS_MAX && this.#isAskedFor(place); step++) {
      table.unmark(place)
      const newer = table.newerThan(place)
      place = newer === NOWHERE ? table.oldest : newer
    }
    this.#hand = table.newerThan(place)
    this.#evictions++
    if (!table.isPositive(place)) this.#negativeEvictions++
    this.#unlink(place)
    return place
  }

  #isAskedFor(place: number): boolean {
    return this.#table.isMarked(place) || this.#isAskedElsewhere(this.#table.keyAt(place)!)
  }

  #entryAt(place: number): CacheEntry | undefined {
    const text = this.#store.get<string>(place)
    return text === undefined ? undefined : this.#table.entryAt(place, text)
  }

  /** The entry of a place has been taken out already; its answer goes too. */
  #empty(place: number): void {
    this.#store.del(place)
    this.#table.giveBack(place)
  }

  /** node-cache has forgotten an answer: because it was told to, or because its time was over. */
  #isGone(place: number): void {
    // Taken out before.
    if (this.#table.keyAt(place) === undefined) return
    this.#unlink(place)
    this.#table.giveBack(place)
  }

  #unlink(place: number): void {
    const table = this.#table
    const newer = table.newerThan(place)
    if (this.#hand === place) this.#hand = newer
    if (this.#broom === place) this.#broom = newer
    for (const walk of this.#walks) if (walk.next === place) walk.next = newer
    this.#bytes -= table.bytesAt(place)
    this.#entries--
    if (table.isPositive(place)) this.#positiveEntries--
    table.takeOut(place)
  }
}
