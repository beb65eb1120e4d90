/** Open TCP connections on their way from one agent of the node to the next. Where that fails they end in the usual way. */

import type { Log } from '../observe/log.ts'
import { textOf } from './error-text.ts'
import type { Listeners } from './listeners.ts'

/** Milliseconds that open connections have to come to rest and be passed to a successor. */
const HAND_OVER_MS = 2_000

/** Serves what is passed to us at `path`, until the function returned is called. */
export function takeConnectionsOver(listeners: Listeners, path: string | undefined, log: Log): () => void {
  const nothing = (): void => {}
  if (path === undefined) return nothing
  try {
    return listeners.takeOver(path, log)
  } catch (error) {
    log.warn('connections-not-taken-over', { error: textOf(error) })
    return nothing
  }
}

/** Passes ours to the successor that takes them at `path`. */
export async function handConnectionsOver(listeners: Listeners, path: string | undefined, log: Log): Promise<void> {
  if (path === undefined) return
  try {
    log.info('connections-handed-over', await listeners.handOver(path, HAND_OVER_MS))
  } catch (error) {
    log.warn('connections-not-handed-over', { error: textOf(error) })
  }
}
