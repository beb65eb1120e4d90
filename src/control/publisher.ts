/**
 * Turns a stream of object changes into publications: each touched service once per turn, and no longer than the turn
 * has budget, so that neither a burst of a thousand services nor one of a hundred thousand endpoints holds up a query.
 */

import type { RelativeName } from '../dns/wire/name.ts'
import type { ServiceKey } from '../dns/zone/rrset.ts'
import type { Zone } from '../dns/zone/zone.ts'
import type { Calculation } from './calculator.ts'
import type { Turns } from './turns.ts'

/**
 * How many times as long as its calculation took a service rests before the next one, so that a large service with a
 * flapping endpoint takes a tenth of the event loop at most. The first change after a rest is published at once.
 */
const REST_FACTOR = 9

/** Milliseconds of the longest rest: a change is to be answered within 50. */
export const REST_MS_MAX = 30

/** A calculation shorter than this earns no rest: most services, and nothing has to be remembered of them. */
const REST_MS_MIN = 2

export interface PublisherParts {
  readonly zone: Zone
  /** A service's records as its objects are now; what is not whole is asked for again in a later turn. */
  calculate(service: ServiceKey): Calculation
  /** Names whose answers changed in this turn: the packet cache forgets them. Called in the turn of the change. */
  onNamesChanged(names: readonly RelativeName[]): void
  /** A service whose names changed. */
  onPublished?(service: ServiceKey, publication: Publication): void
  /** A calculation that threw: our own mistake, told and never allowed to stop the other services. */
  onFailure(service: ServiceKey, failure: unknown): void
  /** The share of the event loop that publications have: what is left when it is spent waits for a later turn. */
  readonly turns: Pick<Turns, 'later' | 'isSpent'>
  /** Runs the work after a time. */
  after(ms: number, work: () => void): void
  /** Milliseconds of a monotonic clock. */
  nowMs(): number
}

export interface Publication {
  /** Milliseconds from the first touch to now. */
  readonly waitedMs: number
  /** Milliseconds of the Unix epoch at the changes that are published with it, where objects say so; bounded. */
  readonly triggeredAtMs: readonly number[]
}

/** Changes of one publication whose time is kept. */
const TRIGGERS_MAX = 100

interface Touch {
  readonly number: number
  readonly atMs: number
  readonly triggeredAtMs: number[]
}

interface Waiter {
  readonly lastTouch: number
  readonly published: () => void
}

export class Publisher {
  readonly #parts: PublisherParts
  /** In the order of their first touch: a service that is touched again keeps its place. */
  readonly #touched = new Map<ServiceKey, Touch>()
  /** Those of them that are calculated in part; the others have their turn before they go on. */
  readonly #unfinished = new Set<ServiceKey>()
  /** Services that rest, and until when in milliseconds: bounded, for a rest is short and takes long to earn. */
  readonly #resting = new Map<ServiceKey, number>()
  #isAwakingPlanned = false
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

  /** Whether a change of the service waits for its publication. */
  isWaiting(service: ServiceKey): boolean {
    return this.#touched.has(service)
  }

  get counts(): { readonly publications: number; readonly turns: number; readonly turnsCut: number } {
    return { publications: this.#publications, turns: this.#turns, turnsCut: this.#turnsCut }
  }

  /** Called for every object that changed; cheap, so that a thousand slices of one service cost one publication. */
  touch(service: ServiceKey, triggeredAtMs?: number): void {
    let touch = this.#touched.get(service)
    if (touch === undefined) {
      touch = { number: ++this.#touches, atMs: this.#parts.nowMs(), triggeredAtMs: [] }
      this.#touched.set(service, touch)
      this.#plan()
    }
    if (triggeredAtMs !== undefined && touch.triggeredAtMs.length < TRIGGERS_MAX)
      touch.triggeredAtMs.push(triggeredAtMs)
  }

  /** Calls back when everything touched so far is published: at once when nothing waits. */
  afterPublication(published: () => void): void {
    if (this.#touched.size === 0) return published()
    this.#waiters.push({ lastTouch: this.#touches, published })
  }

  #plan(): void {
    if (this.#isPlanned) return
    this.#isPlanned = true
    this.#parts.turns.later(() => this.#publish())
  }

  #publish(): void {
    this.#isPlanned = false
    this.#turns++
    const changed: RelativeName[] = []
    let isCut = false
    for (const [service, touch] of this.#touched) {
      if (this.#isResting(service)) continue
      if (isCut) {
        this.#turnsCut++
        this.#plan()
        break
      }
      this.#touched.delete(service)
      this.#unfinished.delete(service)
      if (!this.#publishOne(service, touch, changed)) this.#putBack(service, touch)
      isCut = this.#parts.turns.isSpent()
    }
    if (changed.length > 0) this.#parts.onNamesChanged(changed)
    this.#planAwaking()
    this.#tellWaiters()
  }

  #isResting(service: ServiceKey): boolean {
    const untilMs = this.#resting.get(service)
    if (untilMs === undefined) return false
    if (this.#parts.nowMs() < untilMs) return true
    this.#resting.delete(service)
    return false
  }

  /** Looks again when rests end: at once for what was touched meanwhile, and to forget those that were not. */
  #planAwaking(): void {
    if (this.#resting.size === 0 || this.#isAwakingPlanned) return
    this.#isAwakingPlanned = true
    this.#parts.after(Math.max(1, Math.min(...this.#resting.values()) - this.#parts.nowMs()), () => {
      this.#isAwakingPlanned = false
      for (const service of this.#resting.keys()) this.#isResting(service)
      if (this.#touched.size > 0) this.#plan()
      else this.#planAwaking()
    })
  }

  /** Calculates and publishes; false when the service is to be asked for again. */
  #publishOne(service: ServiceKey, touch: Touch, changed: RelativeName[]): boolean {
    const { zone } = this.#parts
    const beganMs = this.#parts.nowMs()
    let isWhole = true
    try {
      const calculation = this.#parts.calculate(service)
      isWhole = calculation.isWhole
      const { publication } = calculation
      if (publication === undefined) return isWhole
      const { records } = publication
      const names =
        records !== undefined && publication.changed !== undefined
          ? zone.renew(service, records, publication.changed)
          : zone.replace(service, records)
      publication.release?.()
      if (names.length === 0) return isWhole
      for (const name of names) changed.push(name)
      this.#publications++
      const { atMs, triggeredAtMs } = touch
      if (isWhole) this.#parts.onPublished?.(service, { waitedMs: this.#parts.nowMs() - atMs, triggeredAtMs })
    } catch (failure) {
      this.#parts.onFailure(service, failure)
    }
    const restMs = Math.min(REST_FACTOR * (this.#parts.nowMs() - beganMs), REST_MS_MAX)
    if (isWhole && restMs >= REST_MS_MIN) this.#resting.set(service, this.#parts.nowMs() + restMs)
    return isWhole
  }

  /** Goes on in a later turn, behind those that wait. */
  #putBack(service: ServiceKey, touch: Touch): void {
    this.#touched.set(service, touch)
    this.#unfinished.add(service)
    this.#plan()
  }

  #tellWaiters(): void {
    let oldest = Number.POSITIVE_INFINITY
    for (const service of this.#unfinished) oldest = Math.min(oldest, this.#touched.get(service)!.number)
    // Of the others the first one is the oldest.
    for (const [service, { number }] of this.#touched) {
      if (this.#unfinished.has(service)) continue
      oldest = Math.min(oldest, number)
      break
    }
    const done = this.#waiters.filter((waiter) => waiter.lastTouch < oldest)
    if (done.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => waiter.lastTouch >= oldest)
    for (const waiter of done) waiter.published()
  }
}
