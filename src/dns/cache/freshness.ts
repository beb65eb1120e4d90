/** How an answer's age stands to its lifetime. */

export interface Kept {
  readonly keptAtSeconds: number
  /** Seconds it is fresh. */
  readonly lifetimeSeconds: number
}

export const Freshness = { Fresh: 0, Stale: 1, Gone: 2 } as const
export type Freshness = (typeof Freshness)[keyof typeof Freshness]

/** RFC 8767 section 4: the TTL that stale records are told with, in seconds. */
export const STALE_TTL_SECONDS = 30

/** Fresh within its lifetime, stale for `maxStaleSeconds` more, then gone. */
export function freshnessOf(kept: Kept, nowSeconds: number, maxStaleSeconds: number): Freshness {
  const age = nowSeconds - kept.keptAtSeconds
  if (age < kept.lifetimeSeconds) return Freshness.Fresh
  return age < kept.lifetimeSeconds + maxStaleSeconds ? Freshness.Stale : Freshness.Gone
}

/** The part of its lifetime that must be over before an answer is fetched anew ahead of its end. */
const PREFETCH_AFTER = 0.9

/** Hits within one lifetime that make a name worth fetching before it ends. */
export const PREFETCH_HITS_MIN = 3

/** When an answer is old enough to be renewed ahead of its end, on the clock of `keptAtSeconds`. */
export function renewFromSeconds(kept: Kept): number {
  return kept.keptAtSeconds + Math.max(1, Math.floor(kept.lifetimeSeconds * PREFETCH_AFTER))
}

/** Whether an answer asked for `hits` times should be renewed before it ends. */
export function isDueForPrefetch(kept: Kept, hits: number, nowSeconds: number): boolean {
  return (
    hits >= PREFETCH_HITS_MIN &&
    nowSeconds >= renewFromSeconds(kept) &&
    nowSeconds - kept.keptAtSeconds < kept.lifetimeSeconds
  )
}
