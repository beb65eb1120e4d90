/** Waiting for what the kernel still holds: a stop must not throw away queries that had already arrived. */

import { setImmediate as nextTurn } from 'node:timers/promises'

/** Turns of the event loop to wait at most; under steady traffic it is never quiet. */
const TURNS_MAX = 64

/** Resolves after two turns of the event loop in which `arrivals` did not grow. */
export async function untilQuiet(arrivals: () => number): Promise<void> {
  let before = arrivals()
  for (let turn = 0, quietTurns = 0; turn < TURNS_MAX && quietTurns < 2; turn++) {
    await nextTurn()
    const now = arrivals()
    quietTurns = now === before ? quietTurns + 1 : 0
    before = now
  }
}
