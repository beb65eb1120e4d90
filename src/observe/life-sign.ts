/**
 * What the event loop says of itself to the watchdog's thread, in memory that both see: that it goes round, and how many datagrams
 * were answered. Under a flood our own queries are lost like anybody's; that says nothing against us while others are answered.
 *
 *    | times told | datagrams answered |
 */

const TOLD_AT = 0
const ANSWERED_AT = 1
const SLOTS = 2

export class LifeSign {
  /** To be handed to the thread that looks. */
  readonly memory: SharedArrayBuffer
  readonly #counts: Float64Array
  #toldBefore = 0
  #answeredBefore = 0

  constructor(memory = new SharedArrayBuffer(SLOTS * Float64Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#counts = new Float64Array(memory)
  }

  tell(answered: number): void {
    this.#counts[TOLD_AT]!++
    this.#counts[ANSWERED_AT] = answered
  }

  /** Datagrams answered since the last look; undefined when the event loop has told nothing since. */
  look(): number | undefined {
    const told = this.#counts[TOLD_AT]!
    const answered = this.#counts[ANSWERED_AT]!
    const since = told === this.#toldBefore ? undefined : answered - this.#answeredBefore
    this.#toldBefore = told
    this.#answeredBefore = answered
    return since
  }
}
