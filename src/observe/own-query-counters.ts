/**
 * What the watchdog counts of its queries to ourselves, in memory that its thread shares with the scrape: the histogram of those
 * that were answered, and how many were not. CoreDNS's `health` asks itself over HTTP and counts the same.
 *
 *    | buckets, the last without bound | sum of seconds | failures |
 */

import { type HistogramCounts, histogramAt, histogramSlots, observe } from './histogram.ts'

/** Upper bounds in seconds, of CoreDNS. */
export const OWN_QUERY_BOUNDS: readonly number[] = [0.00025, 0.0025, 0.025, 0.25, 2.5]

const FAILURES_AT = histogramSlots(OWN_QUERY_BOUNDS)
const SLOTS = FAILURES_AT + 1

export interface OwnQueryCounts {
  readonly durations: HistogramCounts
  readonly failures: number
}

export class OwnQueryCounters {
  /** To be handed to the one writer. */
  readonly memory: SharedArrayBuffer
  readonly #counts: Float64Array

  constructor(memory = new SharedArrayBuffer(SLOTS * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#counts = new Float64Array(memory)
  }

  answered(seconds: number): void {
    observe(this.#counts, 0, OWN_QUERY_BOUNDS, seconds)
  }

  failed(): void {
    this.#counts[FAILURES_AT]!++
  }

  snapshot(): OwnQueryCounts {
    return { durations: histogramAt(this.#counts, 0, OWN_QUERY_BOUNDS), failures: this.#counts[FAILURES_AT]! }
  }
}
