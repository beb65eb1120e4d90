/**
 * A map whose entries never take long: a Map doubles its table when it is full, which takes tens of milliseconds for a hundred
 * thousand entries, and with it a turn of the event loop. This one is many small ones, each of which doubles alone.
 */

/** Entries up to which one Map is enough: most of these maps stay so small. */
const WHOLE_MAX = 1_024

/** A power of two. A million entries are some 16,000 of a part, which doubles in a millisecond or two. */
const PARTS = 64

export class GradualMap<Value> {
  #parts: Map<string, Value>[] = [new Map()]
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Entries of the largest Map it is made of: what a single step may have to move. */
  get partSizeMax(): number {
    return Math.max(...this.#parts.map(({ size }) => size))
  }

  get(key: string): Value | undefined {
    return this.#partOf(key).get(key)
  }

  has(key: string): boolean {
    return this.#partOf(key).has(key)
  }

  set(key: string, value: Value): void {
    if (this.#parts.length === 1 && this.#size === WHOLE_MAX) this.#divide()
    const part = this.#partOf(key)
    const before = part.size
    part.set(key, value)
    this.#size += part.size - before
  }

  delete(key: string): boolean {
    const isGone = this.#partOf(key).delete(key)
    if (isGone) this.#size--
    return isGone
  }

  *keys(): Generator<string, void> {
    for (const part of this.#parts) yield* part.keys()
  }

  *[Symbol.iterator](): Generator<[string, Value], void> {
    for (const part of this.#parts) yield* part
  }

  #partOf(key: string): Map<string, Value> {
    return this.#parts.length === 1 ? this.#parts[0]! : this.#parts[hashOf(key) & (PARTS - 1)]!
  }

  #divide(): void {
    const whole = this.#parts[0]!
    this.#parts = Array.from({ length: PARTS }, () => new Map<string, Value>())
    for (const [key, value] of whole) this.#partOf(key).set(key, value)
  }
}

/** Of all characters: names of endpoints differ in few of them, wherever those stand. */
function hashOf(key: string): number {
  let hash = 0
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0
  // The low bits alone would be those of the last characters.
  return hash ^ (hash >>> 15)
}
