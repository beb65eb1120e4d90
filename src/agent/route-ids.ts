/**
 * Numbers of the ways out, which keep their cached answers apart: the same upstreams keep their number, and their
 * answers, over a reload. A number is never given to others while something may be cached under it.
 */

/** One character of a cache key. */
export const ROUTE_IDS_MAX = 65_536

export class RouteIds {
  readonly #forgetAll: () => void
  readonly #idsMax: number
  #ids = new Map<string, number>()
  #next = 0

  /** `forgetAll` empties the cache: called when all numbers were used up and start again. */
  constructor(forgetAll: () => void, idsMax = ROUTE_IDS_MAX) {
    this.#forgetAll = forgetAll
    this.#idsMax = idsMax
  }

  /** The numbers of the upstream lists that are in force from now on; others are forgotten. */
  of(texts: readonly string[]): number[] {
    const wanted = new Set(texts)
    const isUsedUp = this.#next + wanted.size > this.#idsMax
    if (isUsedUp) {
      this.#forgetAll()
      this.#next = 0
    }
    const former = isUsedUp ? new Map<string, number>() : this.#ids
    this.#ids = new Map([...wanted].map((text) => [text, former.get(text) ?? this.#next++]))
    return texts.map((text) => this.#ids.get(text)!)
  }
}
