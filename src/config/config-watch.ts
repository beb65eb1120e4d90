/**
 * Sees a configuration file change while the agent runs.
 *
 * A ConfigMap is mounted as links to links: kubelet swaps the directory `..data`, so the directory is watched, not the
 * file, and a slow poll covers what the kernel does not tell (some network file systems, a directory that is replaced).
 */

import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import { type LoadedConfig, loadConfig } from './config.ts'

/** Changes within this time are one change: editors and kubelet write in several steps. */
export const SETTLE_MS = 100

/** How often the file is read although nobody said that it changed. */
export const POLL_MS = 10_000

export interface ConfigWatchParts {
  /** Called with every state of the file that differs from the one before; a bad one leaves the old one in force. */
  onChange(loaded: LoadedConfig): void
  /** The directory cannot be watched; the poll goes on. */
  onWatchError(error: Error): void
  /** Left out: the times above. */
  readonly settleMs?: number
  readonly pollMs?: number
}

/** Watches `path`; `hash` is that of the configuration in force. Returns the function that ends the watch. */
export function watchConfig(path: string, hash: string, parts: ConfigWatchParts): () => void {
  let lastSeen = hash
  let isStopped = false
  let settling: NodeJS.Timeout | undefined
  let isLooking = false
  let isLookDue = false

  // One reading at a time: of two, the older could end last and bring back what is no longer there.
  const look = async (): Promise<void> => {
    isLookDue = true
    if (isLooking) return
    isLooking = true
    while (isLookDue) {
      isLookDue = false
      const loaded = await loadConfig(path)
      if (isStopped) return
      const seen = loaded.kind === 'config' ? loaded.hash : loaded.problems.join('\n')
      if (seen === lastSeen) continue
      lastSeen = seen
      parts.onChange(loaded)
    }
    isLooking = false
  }
  const poll = setInterval(() => void look(), parts.pollMs ?? POLL_MS)
  const watcher = watchDirectory(dirname(path), parts, () => {
    // Not put off by later changes: a directory in which something always happens must not starve us.
    settling ??= setTimeout(() => {
      settling = undefined
      void look()
    }, parts.settleMs ?? SETTLE_MS)
  })
  // What changed between the first reading and this watch is seen now, not at the first poll.
  void look()
  return () => {
    isStopped = true
    clearInterval(poll)
    clearTimeout(settling)
    watcher?.close()
  }
}

/** A watch on a directory; undefined when the system gives none (inotify watches used up), which has been told then. */
function watchDirectory(directory: string, parts: ConfigWatchParts, onEvent: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, onEvent)
    watcher.on('error', (error) => parts.onWatchError(error))
    return watcher
  } catch (error) {
    parts.onWatchError(error instanceof Error ? error : new Error(String(error)))
    return undefined
  }
}
