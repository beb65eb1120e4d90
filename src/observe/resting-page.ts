/** A page that costs something to make, however often it is asked for: scrapers shall not take the event loop from the queries. */

import type { HttpPage, HttpReply } from './http.ts'

export interface RestingParts {
  nowMs(): number
  after(delayMs: number, call: () => void): void
}

/** After each making a page rests so many times as long as that took: it never has more than a fifth of the event loop. */
const REST_FACTOR = 4

const REAL_TIME: RestingParts = {
  nowMs: () => performance.now(),
  after: (delayMs, call) => void setTimeout(call, delayMs),
}

/** Makes the page once for all who ask while it rests or is being made; what anybody is told was made after he asked. */
export function restingPage(make: () => Promise<HttpReply>, parts: RestingParts = REAL_TIME): HttpPage {
  let restsUntilMs = 0
  /** That of the making under way, and that of the next one. */
  let current: Promise<void> | undefined
  let next: Promise<HttpReply> | undefined

  const made = async (before: Promise<void> | undefined): Promise<HttpReply> => {
    await before
    const restMs = restsUntilMs - parts.nowMs()
    if (restMs > 0) await new Promise<void>((resolve) => parts.after(restMs, resolve))
    const done = Promise.withResolvers<void>()
    current = done.promise
    next = undefined
    const startedMs = parts.nowMs()
    try {
      return await make()
    } finally {
      const endedMs = parts.nowMs()
      restsUntilMs = endedMs + REST_FACTOR * (endedMs - startedMs)
      current = undefined
      done.resolve()
    }
  }
  return () => (next ??= made(current))
}
