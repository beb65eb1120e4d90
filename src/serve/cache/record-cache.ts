/**
 * The record cache: upstream answers with their lifetime, bounded in bytes whatever the names look like.
 *
 * node-cache holds the values and forgets them when even their stale time is over; this file adds the bound. Eviction
 * is SIEVE: entries stand in the order they came, a hand walks from the oldest to the newest, an entry that was asked
 * for since the hand last passed stays and loses its mark, the first one without a mark goes; one that the packet cache
 * answers for counts as asked for. A flood of random names
 * therefore sweeps itself out and leaves the names the node keeps asking for. One insertion moves the hand at most
 * `HAND_STEPS_MAX` entries on, then takes what it stands on: the work of an insertion is bounded too.
 */

import NodeCache from 'node-cache'
import type { CacheKey } from '../../dns/cache/key.ts'
import { bytesOf, type CacheEntry, type EntryToKeep, Slot } from './record-cache-slot.ts'

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
  next: Slot | undefined
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
  #oldest: Slot | undefined
  #newest: Slot | undefined
  #hand: Slot | undefined
  /** Where the sweep goes on. */
  #broom: Slot | undefined
  readonly #walks = new Set<Walk>()
  readonly #sweeping: NodeJS.Timeout

  /**
   * `bytesMax`: what keys, messages and bookkeeping may take together. `isAskedElsewhere`: whether somebody else has answered
   * of late with what we gave him of a key, so that it was asked for and we did not see it.
   */
  constructor(bytesMax: number, isAskedElsewhere: (key: CacheKey) => boolean = () => false) {
    this.#bytesMax = bytesMax
    this.#isAskedElsewhere = isAskedElsewhere
    this.#store = new NodeCache({ useClones: false, checkperiod: 0, deleteOnExpire: true })
    this.#store.on('del', (_key: string, slot: Slot) => this.#unlink(slot))
    this.#sweeping = setInterval(() => this.sweep(), SWEEP_MS).unref()
  }

  /** The entry of a key, whatever its age; marks it as asked for. */
  find(key: CacheKey): CacheEntry | undefined {
    const slot = this.#store.get<Slot>(key)
    if (slot === undefined) return undefined
    slot.hit()
    return slot
  }

  /** The entry of a key without leaving a trace: for tools that look. */
  peek(key: CacheKey): CacheEntry | undefined {
    return this.#store.get<Slot>(key)
  }

  /** Keeps an answer in the place of an older one for `keepSeconds`, stale time included; false when it is too large. */
  keep(entry: EntryToKeep, keepSeconds: number): boolean {
    const bytes = bytesOf(entry.key, entry.answer)
    if (bytes > this.#bytesMax * ENTRY_SHARE_MAX) {
      this.#refusals++
      this.#store.del(entry.key)
      return false
    }
    // A renewed answer keeps the mark of the old one: it is the same name that is asked for.
    const former = this.#store.get<Slot>(entry.key)
    const isMarked = former?.isMarked ?? false
    if (former !== undefined) this.#store.del(entry.key)
    while (this.#bytes + bytes > this.#bytesMax) this.#evict()
    const slot = new Slot(entry, bytes, isMarked, this.#newest)
    this.#store.set(entry.key, slot, keepSeconds)
    if (this.#newest === undefined) this.#oldest = slot
    else this.#newest.newer = slot
    this.#newest = slot
    this.#bytes += bytes
    this.#entries++
    if (slot.kind === 'positive') this.#positiveEntries++
    return true
  }

  /** Forgets the entry of a key, if there is one. */
  forget(key: CacheKey): void {
    this.#store.del(key)
  }

  /** Forgets everything, in one step however much that is; returns how many entries it was. */
  flush(): number {
    const flushed = this.#entries
    this.#oldest = undefined
    this.#newest = undefined
    this.#hand = undefined
    this.#broom = undefined
    for (const walk of this.#walks) walk.next = undefined
    this.#bytes = 0
    this.#entries = 0
    this.#positiveEntries = 0
    this.#store.flushAll()
    return flushed
  }

  /** Forgets the entries that `isWanted` picks; returns how many. */
  async flushIf(isWanted: (entry: CacheEntry) => boolean): Promise<number> {
    let flushed = 0
    await this.#walk((slot) => {
      if (!isWanted(slot)) return
      this.#store.del(slot.key)
      flushed++
    })
    return flushed
  }

  /** The entries that `isWanted` picks, oldest first, at most `countMax`: for tools that look. */
  async entries(isWanted: (entry: CacheEntry) => boolean, countMax: number): Promise<CacheEntry[]> {
    const found: CacheEntry[] = []
    await this.#walk((slot) => {
      if (found.length < countMax && isWanted(slot)) found.push(slot)
    })
    return found
  }

  /** Visits every entry, `SWEEP_ENTRIES_MAX` in a turn of the event loop. What comes or goes meanwhile is seen or not. */
  async #walk(visit: (slot: Slot) => void): Promise<void> {
    const walk: Walk = { next: this.#oldest }
    this.#walks.add(walk)
    try {
      for (let visited = 1; walk.next !== undefined; visited++) {
        const slot: Slot = walk.next
        walk.next = slot.newer
        visit(slot)
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
    let slot = this.#broom ?? this.#oldest
    for (let step = 0; step < SWEEP_ENTRIES_MAX && slot !== undefined; step++) {
      const next = slot.newer
      // To look is enough: node-cache deletes what it finds to be over.
      this.#store.has(slot.key)
      slot = next
    }
    this.#broom = slot
  }

  /** Ends the sweep. */
  close(): void {
    clearInterval(this.#sweeping)
    this.#store.close()
  }

  #evict(): void {
    let slot = this.#hand ?? this.#oldest
    for (let step = 0; step < HAND_STEPS_MAX && slot !== undefined && this.#isAskedFor(slot); step++) {
      slot.isMarked = false
      slot = slot.newer ?? this.#oldest
    }
    if (slot === undefined) return
    this.#hand = slot.newer
    this.#evictions++
    if (slot.kind !== 'positive') this.#negativeEvictions++
    this.#store.del(slot.key)
  }

  #isAskedFor(slot: Slot): boolean {
    return slot.isMarked || this.#isAskedElsewhere(slot.key)
  }

  #unlink(slot: Slot): void {
    if (slot.older === undefined) this.#oldest = slot.newer
    else slot.older.newer = slot.newer
    if (slot.newer === undefined) this.#newest = slot.older
    else slot.newer.older = slot.older
    if (this.#hand === slot) this.#hand = slot.newer
    if (this.#broom === slot) this.#broom = slot.newer
    for (const walk of this.#walks) if (walk.next === slot) walk.next = slot.newer
    this.#bytes -= slot.bytes
    this.#entries--
    if (slot.kind === 'positive') this.#positiveEntries--
  }
}
