/**
 * Many deadlines, one timer. Setting and cancelling cost an assignment; a deadline is never early and two ticks late
 * at most.
 *
 * A cancelled or moved deadline leaves a ghost in its old slot until the wheel comes by, so memory is bounded by the
 * deadlines set within `HORIZON_MS`.
 */

export const TICK_MS = 10
const SLOTS = 1024
/** Longer waits are cut to this. */
export const HORIZON_MS = TICK_MS * (SLOTS - 2)

/** Something that waits. The fields are the wheel's; others leave them alone. */
export interface Deadline {
  /** The tick at which it is due; -1: not waiting. */
  dueTick: number
  deadlineReached(): void
}

export class DeadlineWheel {
  readonly #nowMs: () => number
  readonly #slots: Deadline[][] = Array.from({ length: SLOTS }, () => [])
  #tick: number
  #waiting = 0
  #timer: NodeJS.Timeout | undefined

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#tick = Math.floor(nowMs() / TICK_MS)
  }

  /** Calls `deadlineReached` after `delayMs`; a deadline that was waiting already is moved. */
  set(deadline: Deadline, delayMs: number): void {
    const now = Math.floor(this.#nowMs() / TICK_MS)
    // Nothing was waiting: the ticks that went by meanwhile were nobody's.
    if (this.#waiting === 0) this.#tick = now
    // The tick that is under way does not count: a deadline is never early.
    const ticks = 1 + Math.ceil(Math.max(0, Math.min(delayMs, HORIZON_MS)) / TICK_MS)
    deadline.dueTick = Math.min(now + ticks, this.#tick + SLOTS - 1)
    this.#slots[deadline.dueTick % SLOTS]!.push(deadline)
    this.#waiting++
    this.#timer ??= setInterval(() => this.advance(), TICK_MS).unref()
  }

  cancel(deadline: Deadline): void {
    deadline.dueTick = -1
  }

  /** Calls all deadlines that are due. The timer does this; a test with a clock of its own may. */
  advance(): void {
    const now = Math.floor(this.#nowMs() / TICK_MS)
    // A clock that jumped further than the wheel is round makes everything due: one round says all.
    const until = Math.min(now, this.#tick + SLOTS)
    while (this.#tick < until) {
      this.#tick++
      const slot = this.#slots[this.#tick % SLOTS]!
      if (slot.length === 0) continue
      const due = slot.splice(0)
      this.#waiting -= due.length
      for (const deadline of due) {
        if (deadline.dueTick !== this.#tick) continue
        deadline.dueTick = -1
        deadline.deadlineReached()
      }
    }
    this.#tick = Math.max(this.#tick, now)
    if (this.#waiting === 0) this.stop()
  }

  /** Stops the timer; it starts again with the next deadline. */
  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
