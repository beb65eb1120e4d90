/** What is remembered of refreshing what is kept: when it last failed, and whether it is under way. Kept beside the cache: few are stale. */

import type { CacheKey } from '../dns/cache/key.ts'

/** RFC 8767 section 5: after a failed refresh a stale answer is served for this long before another is tried. */
export const STALE_RECHECK_SECONDS = 30

/** Stale entries whose refresh is remembered; beyond it the oldest is forgotten and simply tried again. */
const REFRESHES_MAX = 10_000

export interface Refresh {
  failedAtSeconds: number
  isUnderWay: boolean
}

const NO_REFRESH: Readonly<Refresh> = { failedAtSeconds: Number.NEGATIVE_INFINITY, isUnderWay: false }

export class Refreshes {
  readonly #refreshes = new Map<CacheKey, Refresh>()

  /** That of a key, to be changed. */
  of(key: CacheKey): Refresh {
    let refresh = this.#refreshes.get(key)
    if (refresh === undefined) {
      if (this.#refreshes.size >= REFRESHES_MAX) this.#refreshes.delete(this.#refreshes.keys().next().value!)
      refresh = { ...NO_REFRESH }
      this.#refreshes.set(key, refresh)
    }
    return refresh
  }

  /** That of a key without leaving a trace. */
  peek(key: CacheKey): Readonly<Refresh> {
    return this.#refreshes.get(key) ?? NO_REFRESH
  }

  forget(key: CacheKey): void {
    this.#refreshes.delete(key)
  }
}
