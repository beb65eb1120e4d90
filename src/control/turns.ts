/**
 * The control plane's share of the event loop: whoever has much to do (lists, events, publications) takes turns, and all
 * that is done in one turn together stays within one budget. Queries have the loop in between, and the collector of
 * garbage finds little to do at once.
 */

/** Milliseconds of work in one turn of the event loop, all parts together; one object or one service may exceed it. */
export const TURN_BUDGET_MS = 3

export interface TurnsParts {
  /** Runs the work in a later turn of the event loop (`setImmediate`). */
  soon(work: () => void): void
  /** Milliseconds of a monotonic clock. */
  nowMs(): number
}

export class Turns {
  readonly #parts: TurnsParts
  readonly #waiting: (() => void)[] = []
  #isOpen = false
  #endMs = 0

  constructor(parts: TurnsParts) {
    this.#parts = parts
  }

  /** Whether the present turn's budget is used up: ask after every piece of work, and go on in `later`. */
  isSpent(): boolean {
    if (!this.#isOpen) this.#open()
    return this.#parts.nowMs() >= this.#endMs
  }

  /** Runs the work in a later turn, one work a turn, in the order of asking. */
  later(work: () => void): void {
    this.#waiting.push(work)
    if (!this.#isOpen) this.#open()
  }

  /** Undefined while there is budget left (go on); else resolves in a later turn. */
  breathe(): Promise<void> | undefined {
    return this.isSpent() ? new Promise((resolve) => this.later(resolve)) : undefined
  }

  #open(): void {
    this.#isOpen = true
    this.#endMs = this.#parts.nowMs() + TURN_BUDGET_MS
    this.#parts.soon(() => this.#close())
  }

  #close(): void {
    this.#isOpen = false
    const work = this.#waiting.shift()
    if (work === undefined) return
    this.#open()
    work()
  }
}
