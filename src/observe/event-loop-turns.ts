/**
 * How long turns of the event loop take: what a query may have to wait for before its own turn comes.
 *
 * Every turn is measured, at its end. A timer that looks, as prom-client's does, misses what begins and ends between two looks,
 * and wakes an idle process at each. Not seen here: that the process waits for a CPU while it has nothing to do, and what callbacks
 * of sockets do, for libuv calls them while it polls; the benches look at those with a timer (bench/load/turn-recorder.ts).
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'

/** Turns since the last look, in seconds. */
export interface TurnTimes {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const NANOSECONDS = 1e9

export class EventLoopTurns {
  readonly #turns = monitorEventLoopDelay({ samplePerIteration: true })

  constructor() {
    this.#turns.enable()
  }

  /** The turns since the last call. */
  take(): TurnTimes {
    const [p50, p99, max] = [this.#turns.percentile(50), this.#turns.percentile(99), this.#turns.max]
    this.#turns.reset()
    return { p50: p50 / NANOSECONDS, p99: p99 / NANOSECONDS, max: max / NANOSECONDS }
  }
}
