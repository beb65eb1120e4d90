/**
 * Loaded into an agent with `--import`: at each SIGUSR2 the thread that serves UDP falls, in the midst of what it does.
 *
 * The agent has no such door and needs none; here the class it starts its threads with is taken for one that remembers them.
 */

import { syncBuiltinESMExports } from 'node:module'
import workerThreads from 'node:worker_threads'

const serving = new Set<workerThreads.Worker>()

class RememberedWorker extends workerThreads.Worker {
  constructor(file: string | URL, options?: workerThreads.WorkerOptions) {
    super(file, options)
    if (!String(file).includes('worker')) return
    serving.add(this)
    this.on('exit', () => serving.delete(this))
  }
}

if (workerThreads.isMainThread) {
  workerThreads.Worker = RememberedWorker
  syncBuiltinESMExports()
  process.on('SIGUSR2', () => {
    for (const worker of serving) void worker.terminate()
  })
}
