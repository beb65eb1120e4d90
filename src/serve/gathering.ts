/**
 * HOT. Whether a worker pauses a moment before it looks at its sockets again, so that one wake-up answers several queries.
 *
 * To wake a thread costs far more than to answer a query. At rates at which several queries come within the longest pause, a
 * pause makes them share one wake-up, as network cards moderate their interrupts; below, every query is answered at once.
 */

/** Seconds over which the rate is taken. */
const WINDOW_SECONDS = 0.005

/** Queries that are enough for one wake-up: a pause is no longer than these need to come. */
const ENOUGH = 8

/** Fewer are not worth the pause, which is a wake-up too. */
const TOO_FEW = 2

/** Microseconds; batches come by themselves at rates that would need a shorter pause. */
const PAUSE_MIN_MICROS = 30

export class Gathering {
  readonly #maxMicros: number
  #fromSeconds = 0
  #datagrams = 0
  #pauseMicros = 0

  /** `maxMicros`: the longest pause; 0: none ever. */
  constructor(maxMicros: number) {
    this.#maxMicros = maxMicros
  }

  /** Microseconds to pause after a turn that brought so many datagrams and ended now. */
  pauseAfter(datagrams: number, nowSeconds: number): number {
    this.#datagrams += datagrams
    const seconds = nowSeconds - this.#fromSeconds
    if (seconds >= WINDOW_SECONDS) {
      this.#pauseMicros = this.#pauseAt(this.#datagrams / (seconds * 1e6))
      this.#fromSeconds = nowSeconds
      this.#datagrams = 0
    }
    return datagrams === 0 ? 0 : this.#pauseMicros
  }

  #pauseAt(perMicro: number): number {
    if (perMicro * this.#maxMicros < TOO_FEW) return 0
    const micros = Math.min(this.#maxMicros, Math.round(ENOUGH / perMicro))
    return micros < PAUSE_MIN_MICROS ? 0 : micros
  }
}
