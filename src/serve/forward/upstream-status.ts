/** What is told of one upstream: to metrics, to operators who look, and for the totals of its group. */

import type { UpstreamTransport } from './exchange.ts'

/** The state and the totals of one upstream. */
export interface UpstreamStatus {
  /** `10.96.0.11:53` */
  readonly to: string
  readonly transport: UpstreamTransport
  readonly isHealthy: boolean
  /** What we asked it came back to us: it is not asked for a while. */
  readonly isLooping: boolean
  /** Smoothed; undefined before the first response. */
  readonly roundTripMs: number | undefined
  /** Milliseconds since the last response; undefined before the first. */
  readonly answeredMsAgo: number | undefined
  /** It showed that it does not know EDNS, and is asked without for a while. */
  readonly isWithoutEdns: boolean
  /** Exchanges that have not ended, late ones included. */
  readonly inFlight: number
  readonly openConnections: number
  /** Exchanges begun. */
  readonly requests: number
  /** By name: `NOERROR`, `NXDOMAIN`, … */
  readonly responses: Readonly<Record<string, number>>
  readonly timeouts: number
  readonly unreachable: number
  /** Exchanges that a limit of ours ended before anything was sent. */
  readonly overloaded: number
  readonly healthcheckFailures: number
  readonly mismatched: number
  readonly malformed: number
  readonly late: number
}
