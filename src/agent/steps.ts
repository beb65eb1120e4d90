/** Named steps, one after another, each with the reason why it stands where it does. */

import { setImmediate } from 'node:timers/promises'
import type { Log } from '../observe/log.ts'
import { textOf } from './error-text.ts'

export interface Step {
  readonly name: string
  run(): Promise<void> | void
}

/** A step of a stop. Whatever it waits for may never come. */
export interface StopStep extends Step {
  /** Milliseconds that the configuration grants it; `STEP_MS_MAX` besides. */
  readonly grantedMs?: number
}

/** Milliseconds that a step of a stop has for what nobody configures: programs that write rules, threads, open files. */
const STEP_MS_MAX = 10_000

/** The same from the moment on when somebody asks a second time. Enough to take rules and interface away. */
const HURRIED_STEP_MS_MAX = 1_000

/**
 * Runs the steps until one fails, or `isOver`; what fails is passed on. The event loop has its turn between two of them: whoever
 * asks what one has opened does not wait for all that follow.
 */
export async function runSteps(steps: readonly Step[], isOver: () => boolean): Promise<void> {
  for (const { run } of steps) {
    if (isOver()) return
    await run()
    await setImmediate()
  }
}

/**
 * Runs every step, whatever becomes of those before it: a stop that leaves things behind is worse than one that complains. A step
 * that takes too long goes on by itself while the next begins. `hurry`: aborted when waiting is not wanted any more.
 */
export async function runAllSteps(steps: readonly StopStep[], log: Log, hurry: AbortSignal): Promise<void> {
  for (const { name, run, grantedMs = 0 } of steps) {
    const end = Promise.withResolvers<'late'>()
    const onHurry = (): void => void setTimeout(end.resolve, HURRIED_STEP_MS_MAX, 'late').unref()
    if (hurry.aborted) onHurry()
    else hurry.addEventListener('abort', onHurry, { once: true })
    const timer = setTimeout(end.resolve, grantedMs + STEP_MS_MAX, 'late')
    try {
      const over = (async () => await run())()
      if ((await Promise.race([over, end.promise])) === 'late')
        log.error('stop-failed', { what: name, error: 'it takes too long' })
    } catch (error) {
      log.error('stop-failed', { what: name, error: textOf(error) })
    }
    clearTimeout(timer)
    hurry.removeEventListener('abort', onHurry)
  }
}
