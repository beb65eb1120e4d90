/** Sweeps a thread's heap when it has started: half of what a thread of Node has there is only needed until then. */

type Collect = (how: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/**
 * Collects all that can be collected of this thread's heap, the code of functions that were called once among it. Takes tens
 * of milliseconds: for threads that serve nobody yet, or have nothing to do. Without `--expose-gc` it does nothing.
 */
export function sweepHeap(): void {
  const { gc } = globalThis as { gc?: Collect }
  // The first thread had its globals before the flag stood.
  const collect = gc ?? (process.getBuiltinModule('node:vm').runInNewContext('globalThis.gc') as Collect | undefined)
  collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
