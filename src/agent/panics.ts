/** Exceptions of single queries: we are wrong, the log says where, and a thousand queries do not say it a thousand times. */

import { type Log, LogRate } from '../observe/log.ts'
import { nowSeconds } from './clock-and-chance.ts'
import { textOf } from './error-text.ts'

/** Seconds between two lines about the same exception. */
const PANIC_LOG_SECONDS = 10

export class Panics {
  readonly #log: Log
  readonly #rate = new LogRate(PANIC_LOG_SECONDS, nowSeconds)

  constructor(log: Log) {
    this.#log = log
  }

  report(error: unknown, question: string): void {
    this.#rate.once(textOf(error), (suppressed) => {
      const stack = error instanceof Error ? error.stack : String(error)
      this.#log.error('query-failed', { question, error: stack, suppressed })
    })
  }
}
