/** Named steps, one after another, each with the reason why it stands where it does. */

import type { Log } from '../observe/log.ts'
import { textOf } from './error-text.ts'

export interface Step {
  readonly name: string
  run(): Promise<void> | void
}

/** Runs the steps until one fails, or `isOver`; what fails is passed on. */
export async function runSteps(steps: readonly Step[], isOver: () => boolean): Promise<void> {
  for (const { run } of steps) {
    if (isOver()) return
    await run()
  }
}

/** Runs every step, whatever becomes of those before it: a stop that leaves things behind is worse than one that complains. */
export async function runAllSteps(steps: readonly Step[], log: Log): Promise<void> {
  for (const { name, run } of steps) {
    try {
      await run()
    } catch (error) {
      log.error('stop-failed', { what: name, error: textOf(error) })
    }
  }
}
