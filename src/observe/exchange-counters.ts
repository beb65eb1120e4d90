/**
 * What is counted of every exchange with an upstream. Written by the forwarder on the event loop, read at a scrape.
 *
 * HOT: on the way of every miss, so plain numbers as in `counters.ts`; only the first exchange with an upstream allocates.
 */

import { DURATION_BOUNDS, RCODE_LABELS } from './counters.ts'
import { countOf, type HistogramCounts, histogramAt, histogramSlots, observe } from './histogram.ts'

/** Upstreams with series of their own; they come from the configuration alone. More share `other`. */
export const UPSTREAMS_MAX = 64

const OTHER = 'other'
const TRANSPORTS = ['udp', 'tcp', 'tls'] as const
export type UpstreamTransport = (typeof TRANSPORTS)[number]

/** The forwarder's side: `to` is an address and port of the configuration, never a name from a query. */
export interface UpstreamObserver {
  /** `rcodeName` undefined: no usable response came. */
  exchangeEnded(to: string, transport: UpstreamTransport, rcodeName: string | undefined, seconds: number): void
  healthcheckFailed(to: string): void
  /** A query went over a connection that was there. */
  connectionReused(to: string, proto: UpstreamTransport): void
  /** A query needed a new connection. */
  connectionOpened(to: string, proto: UpstreamTransport): void
}

export interface UpstreamExchanges {
  readonly to: string
  readonly requests: number
  readonly responses: readonly { rcode: string; durations: HistogramCounts; count: number }[]
  readonly failures: readonly { transport: UpstreamTransport; count: number }[]
  readonly healthcheckFailures: number
  readonly connections: readonly { proto: UpstreamTransport; reused: number; opened: number }[]
}

/** Rcodes told from the start, see `traffic.ts`. */
const RCODES_FROM_THE_START = new Set(['NOERROR', 'NXDOMAIN', 'SERVFAIL'])

export class ExchangeCounters implements UpstreamObserver {
  readonly #upstreams = new Map<string, Counts>()

  /** Makes sure that an upstream's series are there from the first scrape, as zeros. */
  know(to: string): void {
    this.#of(to)
  }

  exchangeEnded(to: string, transport: UpstreamTransport, rcodeName: string | undefined, seconds: number): void {
    const counts = this.#of(to)
    counts.requests++
    if (rcodeName === undefined) {
      counts.failures[TRANSPORTS.indexOf(transport)]!++
      return
    }
    const known = RCODE_LABELS.indexOf(rcodeName)
    observe(counts.durations[known === -1 ? RCODE_LABELS.length - 1 : known]!, 0, DURATION_BOUNDS, seconds)
  }

  healthcheckFailed(to: string): void {
    this.#of(to).healthcheckFailures++
  }

  connectionReused(to: string, proto: UpstreamTransport): void {
    this.#of(to).reused[TRANSPORTS.indexOf(proto)]!++
  }

  connectionOpened(to: string, proto: UpstreamTransport): void {
    this.#of(to).opened[TRANSPORTS.indexOf(proto)]!++
  }

  /** All upstreams that were ever known. */
  snapshot(): UpstreamExchanges[] {
    return [...this.#upstreams].map(([to, counts]) => ({
      to,
      requests: counts.requests,
      responses: RCODE_LABELS.map((rcode, i) => responsesOf(rcode, counts.durations[i]!)).filter(
        ({ rcode, count }) => count > 0 || RCODES_FROM_THE_START.has(rcode),
      ),
      failures: TRANSPORTS.map((transport, i) => ({ transport, count: counts.failures[i]! })),
      healthcheckFailures: counts.healthcheckFailures,
      connections: TRANSPORTS.map((proto, i) => ({ proto, reused: counts.reused[i]!, opened: counts.opened[i]! })),
    }))
  }

  #of(to: string): Counts {
    return this.#upstreams.get(to) ?? this.#new(to)
  }

  #new(to: string): Counts {
    if (this.#upstreams.size >= UPSTREAMS_MAX && to !== OTHER) return this.#of(OTHER)
    const counts: Counts = {
      requests: 0,
      durations: RCODE_LABELS.map(() => new Float64Array(histogramSlots(DURATION_BOUNDS))),
      failures: new Float64Array(TRANSPORTS.length),
      healthcheckFailures: 0,
      reused: new Float64Array(TRANSPORTS.length),
      opened: new Float64Array(TRANSPORTS.length),
    }
    this.#upstreams.set(to, counts)
    return counts
  }
}

interface Counts {
  requests: number
  /** By rcode: buckets and the sum behind them. */
  readonly durations: readonly Float64Array[]
  readonly failures: Float64Array
  healthcheckFailures: number
  readonly reused: Float64Array
  readonly opened: Float64Array
}

function responsesOf(rcode: string, slots: Float64Array): { rcode: string; durations: HistogramCounts; count: number } {
  const durations = histogramAt(slots, 0, DURATION_BOUNDS)
  return { rcode, durations, count: countOf(durations) }
}
