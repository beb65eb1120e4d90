/**
 * What is counted of requests to the API server, as client-go's metrics in CoreDNS have it. Written by the control plane on the
 * event loop, some requests an hour; read at a scrape.
 */

import { type HistogramCounts, histogramAt, histogramSlots, observe } from './histogram.ts'

/** Upper bounds in seconds: the default ones of Prometheus's client for Go. */
export const REST_CLIENT_BOUNDS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Hosts and codes with series of their own. A kubeconfig names one host, and changes rarely. */
const HOSTS_MAX = 8
const CODES_MAX = 32
const OTHER = 'other'

/** What client-go says where there is no status. */
const NO_STATUS = '<error>'

/** What the control plane tells; `host` is the API server's name or address with its port. */
export interface RestClientObserver {
  /** Who will be asked. */
  knows(host: string): void
  /** A request had the head of its response after so many seconds, or failed (`status` undefined). */
  requestEnded(host: string, status: number | undefined, seconds: number): void
}

export interface RestClientRequests {
  readonly host: string
  readonly codes: readonly { readonly code: string; readonly count: number }[]
  readonly durations: HistogramCounts
}

interface Counts {
  readonly codes: Map<string, number>
  readonly durations: Float64Array
}

export class RestClientCounters implements RestClientObserver {
  readonly #hosts = new Map<string, Counts>()

  knows(host: string): void {
    this.#of(host)
  }

  requestEnded(host: string, status: number | undefined, seconds: number): void {
    const { codes, durations } = this.#of(host)
    const code = status === undefined ? NO_STATUS : String(status)
    const label = codes.has(code) || codes.size < CODES_MAX ? code : OTHER
    codes.set(label, (codes.get(label) ?? 0) + 1)
    observe(durations, 0, REST_CLIENT_BOUNDS, seconds)
  }

  snapshot(): RestClientRequests[] {
    return [...this.#hosts].map(([host, { codes, durations }]) => ({
      host,
      codes: [...codes].map(([code, count]) => ({ code, count })),
      durations: histogramAt(durations, 0, REST_CLIENT_BOUNDS),
    }))
  }

  #of(host: string): Counts {
    const known = this.#hosts.get(host)
    if (known !== undefined) return known
    if (this.#hosts.size >= HOSTS_MAX && host !== OTHER) return this.#of(OTHER)
    const counts = {
      // What matters in an alert is there from the first scrape.
      codes: new Map([
        ['200', 0],
        [NO_STATUS, 0],
      ]),
      durations: new Float64Array(histogramSlots(REST_CLIENT_BOUNDS)),
    }
    this.#hosts.set(host, counts)
    return counts
  }
}
