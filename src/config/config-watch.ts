/**
 * Sees a configuration file change while the agent runs.
 *
 * A ConfigMap is mounted as links to links: kubelet swaps the directory `..data`, so the directory is watched, not the
 * file, and a slow poll covers what the kernel does not tell (some network file systems).
 */

import { watch } from 'node:fs'
import { dirname } from 'node:path'
import { type LoadedConfig, loadConfig } from './config.ts'

/** Changes within this time are one change: editors and kubelet write in several steps. */
const SETTLE_MS = 100

/** How often the file is read although nobody said that it changed. */
const POLL_MS = 10_000

export interface ConfigWatchParts {
  /** Called with every state of the file that differs from the one before. */
  onChange(loaded: LoadedConfig): void
  /** The directory cannot be watched; the poll goes on. */
  onWatchError(error: Error): void
}

/** Watches `path`; `hash` is that of the configuration in force. Returns the function that ends the watch. */
export function watchConfig(path: string, hash: string, parts: ConfigWatchParts): () => void {
  let lastSeen = hash
  let isStopped = false
  let settling: NodeJS.Timeout | undefined

  const look = async (): Promise<void> => {
    const loaded = await loadConfig(path)
    const seen = loaded.kind === 'config' ? loaded.hash : loaded.problems.join('\n')
    if (isStopped || seen === lastSeen) return
    lastSeen = seen
    parts.onChange(loaded)
  }
  const poll = setInterval(() => void look(), POLL_MS)
  const watcher = watch(dirname(path), () => {
    clearTimeout(settling)
    settling = setTimeout(() => void look(), SETTLE_MS)
  })
  watcher.on('error', (error) => parts.onWatchError(error))
  return () => {
    isStopped = true
    clearInterval(poll)
    clearTimeout(settling)
    watcher.close()
  }
}
