/** Time and chance, which every other room has handed in. */

import { randomFillSync } from 'node:crypto'

/** Monotonic, in seconds with fractions. */
export function nowSeconds(): number {
  return performance.now() / 1000
}

/** Monotonic, in milliseconds. */
export function nowMs(): number {
  return performance.now()
}

/** Ids drawn at a time: one system call for a thousand queries. */
const randomPool = new Uint16Array(1024)
let randomsLeft = 0

/** Sixteen bits that nobody can guess (RFC 5452 section 4.3). */
export function unpredictableUint16(): number {
  if (randomsLeft === 0) {
    randomFillSync(randomPool)
    randomsLeft = randomPool.length
  }
  return randomPool[--randomsLeft]!
}
