/** HOT. Histograms as plain numbers in somebody's memory: the buckets, not cumulated, the last without bound; then the sum. */

/** A histogram as a scrape reads it. */
export interface HistogramCounts {
  /** One for each bound and one for what exceeds the last; not cumulated. */
  readonly buckets: Float64Array
  readonly sum: number
}

/** Numbers that a histogram takes. */
export function histogramSlots(bounds: readonly number[]): number {
  return bounds.length + 2
}

/** Counts one value in the histogram that begins at `at`; a value equal to a bound is within it. */
export function observe(counts: Float64Array, at: number, bounds: readonly number[], value: number): void {
  let bucket = 0
  while (bucket < bounds.length && value > bounds[bucket]!) bucket++
  counts[at + bucket]!++
  counts[at + bounds.length + 1]! += value
}

/** A view of the histogram that begins at `at`. */
export function histogramAt(counts: Float64Array, at: number, bounds: readonly number[]): HistogramCounts {
  return { buckets: counts.subarray(at, at + bounds.length + 1), sum: counts[at + bounds.length + 1]! }
}

/** How many values it has counted. */
export function countOf(histogram: HistogramCounts): number {
  return histogram.buckets.reduce((sum, count) => sum + count, 0)
}
