/** The setting that a misspelt one was meant to be. Pure. */

/** Edits that still look like a slip of the hand; for words of up to three letters one. */
const EDITS_MAX = 2

/** Words longer than this are not compared: no setting is that long, and the cost grows with the square. */
const LETTERS_MAX = 64

/** The candidate nearest to the word, without regard to case; undefined when none is near. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > LETTERS_MAX) return undefined
  let best: string | undefined
  let fewest = (word.length <= 3 ? 1 : EDITS_MAX) + 1
  for (const candidate of candidates) {
    const count = edits(word.toLowerCase(), candidate.toLowerCase())
    if (count < fewest) {
      fewest = count
      best = candidate
    }
  }
  return best
}

/** Letters put in, left out, exchanged or swapped with their neighbour (optimal string alignment). */
function edits(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      let count = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (isSame ? 0 : 1))
      const isSwap = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      if (isSwap) count = Math.min(count, beforeLast[column - 2]! + 1)
      current.push(count)
    }
    beforeLast = last
    last = current
  }
  return last[to.length]!
}
