/**
 * How long each UDP worker has stood still, by the turns that it counts in memory that all threads see.
 *
 * Queries to ourselves do not tell: the kernel chooses the worker by the client's port, so that one of several that stands still
 * keeps its share of the node's clients waiting while the watchdog is answered by the others.
 */

import { WorkerWord } from '../serve/worker-contract.ts'

/** A worker ends a turn every half a second, whether it has anything to do or not. */
const STILL_MS_MIN = 2_000

export interface StillWorker {
  readonly worker: number
  readonly stillMs: number
  /** For the first time since it stands still; replacing it is tried before the process ends. */
  readonly isNew: boolean
  /** It was not replaced either. */
  readonly isHopeless: boolean
}

interface Seen {
  turns: number
  atMs: number
  isTold: boolean
}

export class WorkerTurns {
  readonly #controls: readonly Int32Array[]
  readonly #seen: Seen[]
  readonly #replaceAfterMs: number
  readonly #endAfterMs: number

  /** `controls`: each worker's, as `worker-contract` has it. `deadlineMs`: the watchdog's. */
  constructor(controls: readonly SharedArrayBuffer[], deadlineMs: number, nowMs: number) {
    this.#controls = controls.map((control) => new Int32Array(control))
    this.#seen = this.#controls.map((control) => ({ turns: turnsOf(control), atMs: nowMs, isTold: false }))
    this.#replaceAfterMs = Math.max(STILL_MS_MIN, deadlineMs / 3)
    this.#endAfterMs = Math.max(deadlineMs, 2 * this.#replaceAfterMs)
  }

  /** Those that have stood still for too long. */
  look(nowMs: number): StillWorker[] {
    return this.#controls.flatMap((control, worker) => {
      const seen = this.#seen[worker]!
      const turns = turnsOf(control)
      if (turns !== seen.turns) {
        seen.turns = turns
        seen.atMs = nowMs
        seen.isTold = false
        return []
      }
      const stillMs = nowMs - seen.atMs
      if (stillMs < this.#replaceAfterMs) return []
      const isNew = !seen.isTold
      seen.isTold = true
      return [{ worker, stillMs, isNew, isHopeless: stillMs >= this.#endAfterMs }]
    })
  }

  /** Nobody got any CPU for so long. */
  forgive(lateMs: number): void {
    for (const seen of this.#seen) seen.atMs += lateMs
  }
}

function turnsOf(control: Int32Array): number {
  return Atomics.load(control, WorkerWord.Turns)
}
