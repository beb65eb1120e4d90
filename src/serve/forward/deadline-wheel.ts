/**
 * Many deadlines, one timer. Setting and cancelling cost a few assignments and leave nothing behind; a deadline is never
 * early and two ticks late at most.
 *
 *    slots   [0] [1] [2] ... [1023]      each a ring of the deadlines that are due in one tick
 *                 ^ the hand moves one slot a tick
 */

export const TICK_MS = 10
const SLOTS = 1024
/** Longer waits are cut to this. */
export const HORIZON_MS = TICK_MS * (SLOTS - 2)

/** Something that waits. The fields are the wheel's; others start a deadline with `NOT_WAITING` and leave them alone. */
export interface Deadline {
  dueTick: number
  before: Deadline | undefined
  after: Deadline | undefined
  deadlineReached(): void
}

/** `dueTick` of a deadline that is in no slot. */
export const NOT_WAITING = -1

export class DeadlineWheel {
  readonly #nowMs: () => number
  readonly #slots = Array.from({ length: SLOTS }, ringHead)
  #tick: number
  #waiting = 0
  #timer: NodeJS.Timeout | undefined

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#tick = Math.floor(nowMs() / TICK_MS)
  }

  /** Calls `deadlineReached` after `delayMs`; a deadline that was waiting already is moved. */
  set(deadline: Deadline, delayMs: number): void {
    this.cancel(deadline)
    const now = Math.floor(this.#nowMs() / TICK_MS)
    // Nothing was waiting: the ticks that went by meanwhile were nobody's.
    if (this.#waiting === 0) this.#tick = now
    // The tick that is under way does not count: a deadline is never early.
    const ticks = 1 + Math.ceil(Math.max(0, Math.min(delayMs, HORIZON_MS)) / TICK_MS)
    deadline.dueTick = Math.min(now + ticks, this.#tick + SLOTS - 1)
    const head = this.#slots[deadline.dueTick % SLOTS]!
    deadline.after = head
    deadline.before = head.before
    head.before!.after = deadline
    head.before = deadline
    this.#waiting++
    this.#timer ??= setInterval(() => this.advance(), TICK_MS).unref()
  }

  /** Forgets a deadline; one that does not wait stays as it is. */
  cancel(deadline: Deadline): void {
    if (deadline.dueTick === NOT_WAITING) return
    deadline.dueTick = NOT_WAITING
    deadline.before!.after = deadline.after
    deadline.after!.before = deadline.before
    deadline.before = undefined
    deadline.after = undefined
    this.#waiting--
  }

  /** Calls all deadlines that are due. The timer does this; a test with a clock of its own may. */
  advance(): void {
    const now = Math.floor(this.#nowMs() / TICK_MS)
    // A clock that jumped further than the wheel is round makes everything due: one round says all.
    const until = Math.min(now, this.#tick + SLOTS)
    while (this.#tick < until) {
      this.#tick++
      const head = this.#slots[this.#tick % SLOTS]!
      // What is set meanwhile goes into other slots: this ring only becomes shorter.
      while (head.after !== head) {
        const due = head.after!
        this.cancel(due)
        due.deadlineReached()
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

function ringHead(): Deadline {
  const head: Deadline = { dueTick: NOT_WAITING, before: undefined, after: undefined, deadlineReached() {} }
  head.before = head
  head.after = head
  return head
}
