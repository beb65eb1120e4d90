/** Starts and stops the thread that looks whether we answer. A process that pretends is worse than one that is restarted. */

import { Worker } from 'node:worker_threads'
import type { OwnTarget } from './own-query.ts'

export interface WatchdogSettings {
  readonly targets: readonly OwnTarget[]
  readonly instance: string
  /** Milliseconds between two looks, and for an answer. */
  readonly intervalMs: number
  /** Milliseconds without an answer after which the process ends. */
  readonly deadlineMs: number
  /** Sockets to ask each UDP address from. */
  readonly udpSources: number
  /** Memory of `OwnQueryCounters`, whose one writer the thread is. */
  readonly counts: SharedArrayBuffer
  /** Memory of the `LifeSign` that the event loop gives at least once in `intervalMs`. */
  readonly lifeSign: SharedArrayBuffer
  /** Of each UDP worker, the numbers that `worker-contract` has; none where there are no workers. */
  readonly workers: readonly SharedArrayBuffer[]
  /** Whether rules lead some addresses to us: without them others answer there, and that an address is silent is not our fault alone. */
  readonly areLedHere: boolean
}

export type ToWatchdog = { readonly kind: 'stop-by'; readonly withinMs: number } | { readonly kind: 'end' }

export type FromWatchdog = { readonly kind: 'still-worker'; readonly worker: number; readonly stillMs: number }

export interface WatchdogParts {
  /** The thread itself failed; the agent goes on without it. */
  onFailure(error: Error): void
  /** A UDP worker stands still, the others do not; the process ends when it is not replaced within the deadline. */
  onStillWorker(worker: number, stillMs: number): void
}

export interface Watchdog {
  /** Looks no longer at answers, but ends the process when the stop takes longer than this. */
  stopBy(withinMs: number): void
  end(): void
}

/** The build puts the thread beside the bundle. */
const THREAD = new URL(
  import.meta.url.endsWith('.ts') ? './watchdog-thread.ts' : './nodelocal-mcs-watchdog.js',
  import.meta.url,
)

/** MiB of heap for the thread; it holds a few sockets. */
const HEAP_MIB_MAX = 16

export function startWatchdog(settings: WatchdogSettings, parts: WatchdogParts): Watchdog {
  const worker = new Worker(THREAD, {
    workerData: settings,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX, maxYoungGenerationSizeMb: 2 },
  })
  worker.on('error', (error: Error) => parts.onFailure(error))
  worker.on('message', ({ worker: still, stillMs }: FromWatchdog) => parts.onStillWorker(still, stillMs))
  worker.unref()
  const tell = (message: ToWatchdog): void => worker.postMessage(message)
  return { stopBy: (withinMs) => tell({ kind: 'stop-by', withinMs }), end: () => tell({ kind: 'end' }) }
}
