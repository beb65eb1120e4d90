/** How long to wait after a failure: doubling, bounded, and jittered so that thousands of nodes do not return at once. */

/** Milliseconds before the first retry; the jitter halves it at most. */
export const BACK_OFF_MIN_MS = 800

/** Milliseconds that no back-off exceeds. A server's own Retry-After goes before it, up to `RETRY_AFTER_MAX_MS`. */
export const BACK_OFF_MAX_MS = 30_000

export const RETRY_AFTER_MAX_MS = 120_000

export class BackOff {
  readonly #chance: () => number
  #nextMs = BACK_OFF_MIN_MS

  constructor(chance: () => number) {
    this.#chance = chance
  }

  /** Milliseconds to wait now, no less than the server asked for: it may have asked thousands of nodes at once. */
  next(retryAfterSeconds = 0): number {
    const waitMs = this.#nextMs * (0.5 + this.#chance() / 2)
    this.#nextMs = Math.min(this.#nextMs * 2, BACK_OFF_MAX_MS)
    return waitMs + Math.min(retryAfterSeconds * 1000, RETRY_AFTER_MAX_MS)
  }

  /** Something worked. */
  reset(): void {
    this.#nextMs = BACK_OFF_MIN_MS
  }
}
