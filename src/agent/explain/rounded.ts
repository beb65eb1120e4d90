/** A time as people read it: a tenth is enough, and nothing is ever due before now. */
export function rounded(time: number): number {
  return Math.round(Math.max(0, time) * 10) / 10
}
