/**
 * Turns a stream of object changes into publications: each touched service once per turn, and no turn longer than
 * its budget, so that a burst of a thousand services never holds up a query.
 */

import type { RelativeName } from '../dns/wire/name.ts'
import type { ServiceKey, ServiceRecords } from '../dns/zone/rrset.ts'
import type { Zone } from '../dns/zone/zone.ts'

/** Milliseconds one turn may spend on publications; what is left waits for the next turn, queries go in between. */
export const TURN_BUDGET_MS = 4

export interface PublisherParts {
  readonly zone: Zone
  /** A service's records as its objects are now; undefined when it has none. */
  recordsOf(service: ServiceKey): ServiceRecords | undefined
  /** Names whose answers changed in this turn: the packet cache forgets them. Called in the turn of the change. */
  onNamesChanged(names: readonly RelativeName[]): void
  /** A service whose names changed: milliseconds of the monotonic clock at its first touch and now. */
  onPublished?(service: ServiceKey, touchedAtMs: number, publishedAtMs: number): void
  /** A calculation that threw: our own mistake, told and never allowed to stop the other services. */
  onFailure(service: ServiceKey, failure: unknown): void
  /** Runs the work in a later turn of the event loop. */
  soon(work: () => void): void
  /** Milliseconds of a monotonic clock. */
  nowMs(): number
}

interface Touch {
  readonly number: number
  readonly atMs: number
}

interface Waiter {
  readonly lastTouch: number
  readonly published: () => void
}

export class Publisher {
  readonly #parts: PublisherParts
  /** In the order of their first touch: a service that is touched again keeps its place. */
  readonly #touched = new Map<ServiceKey, Touch>()
  #waiters: Waiter[] = []
  #touches = 0
  #isPlanned = false
  #publications = 0
  #turns = 0
  #turnsCut = 0

  constructor(parts: PublisherParts) {
    this.#parts = parts
  }

  /** Services waiting for their publication. */
  get waitingCount(): number {
    return this.#touched.size
  }

  get counts(): { readonly publications: number; readonly turns: number; readonly turnsCut: number } {
    return { publications: this.#publications, turns: this.#turns, turnsCut: this.#turnsCut }
  }

  /** Called for every object that changed; cheap, so that a thousand slices of one service cost one publication. */
  touch(service: ServiceKey): void {
    if (this.#touched.has(service)) return
    this.#touched.set(service, { number: ++this.#touches, atMs: this.#parts.nowMs() })
    this.#plan()
  }

  /** Calls back when everything touched so far is published: at once when nothing waits. */
  afterPublication(published: () => void): void {
    if (this.#touched.size === 0) return published()
    this.#waiters.push({ lastTouch: this.#touches, published })
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    this.#parts.soon(() => this.#publish())
  }

  #publish(): void {
    this.#isPlanned = false
    this.#turns++
    const endMs = this.#parts.nowMs() + TURN_BUDGET_MS
    const changed: RelativeName[] = []
    for (const [service, touch] of this.#touched) {
      this.#touched.delete(service)
      this.#publishOne(service, touch, changed)
      if (this.#parts.nowMs() >= endMs) break
    }
    if (changed.length > 0) this.#parts.onNamesChanged(changed)
    if (this.#touched.size > 0) {
      this.#turnsCut++
      this.#plan()
    }
    this.#tellWaiters()
  }

  #publishOne(service: ServiceKey, touch: Touch, changed: RelativeName[]): void {
    try {
      const names = this.#parts.zone.replace(service, this.#parts.recordsOf(service))
      if (names.length === 0) return
      for (const name of names) changed.push(name)
      this.#publications++
      this.#parts.onPublished?.(service, touch.atMs, this.#parts.nowMs())
    } catch (failure) {
      this.#parts.onFailure(service, failure)
    }
  }

  #tellWaiters(): void {
    const oldest = this.#touched.values().next().value?.number ?? Number.POSITIVE_INFINITY
    const done = this.#waiters.filter((waiter) => waiter.lastTouch < oldest)
    if (done.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => waiter.lastTouch >= oldest)
    for (const waiter of done) waiter.published()
  }
}
