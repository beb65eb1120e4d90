/**
 * Which upstream is asked first, and who is next.
 *
 * Living ones before dead ones, fast ones before slow ones. Those about as fast as the fastest share the load by
 * chance. Now and then the order of the living is left to chance altogether: a slow upstream that nobody asks would
 * stay slow for ever in our memory.
 */

/** What the order is made of. */
export interface OrderedUpstream {
  readonly isDead: boolean
  /** Smoothed; undefined before the first response, which is asked as if it were the fastest: so we learn. */
  readonly rttMs: number | undefined
  /** Timestamp of the last response, on any clock; decides among the dead. */
  readonly answeredAtMs: number
}

/** Upstreams within this of the fastest count as equally fast. */
export const RTT_BAND_MS = 10

/** One question in this many is asked in random order. */
export const EXPLORE_ONE_IN = 64

/** A new array, the first to be asked first. `random` gives numbers from 0 to below 1. */
export function orderUpstreams<Upstream extends OrderedUpstream>(
  upstreams: readonly Upstream[],
  random: () => number,
): Upstream[] {
  if (upstreams.length < 2) return [...upstreams]
  const living = shuffled(
    upstreams.filter(({ isDead }) => !isDead),
    random,
  )
  const dead = upstreams.filter(({ isDead }) => isDead).sort((a, b) => b.answeredAtMs - a.answeredAtMs)
  const isExploring = random() * EXPLORE_ONE_IN < 1
  if (!isExploring && living.length > 1) {
    const fastest = Math.min(...living.map(rttOf))
    const rank = (upstream: Upstream): number => Math.max(rttOf(upstream), fastest + RTT_BAND_MS)
    // The sort is stable: equals stay as the shuffle left them.
    living.sort((a, b) => rank(a) - rank(b))
  }
  return [...living, ...dead]
}

/** Those among whom chance decides who is asked first. */
export function equallyFast<Upstream extends OrderedUpstream>(upstreams: readonly Upstream[]): Set<Upstream> {
  const living = upstreams.filter(({ isDead }) => !isDead)
  const fastest = Math.min(...living.map(rttOf))
  return new Set(living.filter((upstream) => rttOf(upstream) <= fastest + RTT_BAND_MS))
}

function rttOf(upstream: OrderedUpstream): number {
  return upstream.rttMs ?? 0
}

function shuffled<Item>(items: Item[], random: () => number): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    const item = items[last]!
    items[last] = items[other]!
    items[other] = item
  }
  return items
}
