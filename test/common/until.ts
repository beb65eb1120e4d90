/** Waiting in tests: for a condition, never for a time. */

import { setTimeout as delay } from 'node:timers/promises'

/** Long enough for a loaded machine; a test that waits so long has failed anyway. */
const DEADLINE_MS = 10_000

/** Resolves as soon as the condition holds; rejects when it never does. */
export async function until(condition: () => boolean, deadlineMs = DEADLINE_MS): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMs} ms in vain until ${condition.toString()}`)
    await delay(2)
  }
}
