/**
 * Loaded into an agent by a bench (`--import`): asked over IPC, it tells how long turns of the event loop and collections of
 * garbage took since it was asked before. Answers come from the agent's own event loop, between two turns.
 *
 * A turn is measured in two ways, for each misses something: by its beginning and end, which leaves out what callbacks of
 * sockets do and collections that begin while the event loop waits; and by how late a timer is that should come every
 * millisecond, which sees those. The longer one counts.
 *
 * How much CPU a turn took can only be told by looking at every turn, which keeps the event loop from sleeping: it does so
 * in an agent that is told to by `COUNT_CPU`, whose other figures are of no use then.
 */

import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

export const COUNT_CPU = 'TURN_RECORDER_COUNTS_CPU'

export interface RecordedTurns {
  readonly longestMs: number
  readonly longestCollectionMs: number
  /** CPU of the event loop's thread; 0 where it is not counted. */
  readonly longestCpuMs: number
}

const NANOSECONDS_PER_MS = 1e6
const TIMER_MS = 1
const MICROSECONDS_PER_MS = 1e3

function record(): void {
  const turns = monitorEventLoopDelay({ samplePerIteration: true })
  turns.enable()
  const late = monitorEventLoopDelay({ resolution: TIMER_MS })
  late.enable()
  let longestCollectionMs = 0
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longestCollectionMs = Math.max(longestCollectionMs, duration)
  }).observe({ entryTypes: ['gc'] })

  let longestCpuMs = 0
  let beforeMs = 0
  const look = (): void => {
    const { user, system } = process.threadCpuUsage()
    const nowMs = (user + system) / MICROSECONDS_PER_MS
    longestCpuMs = Math.max(longestCpuMs, nowMs - beforeMs)
    beforeMs = nowMs
    setImmediate(look)
  }
  if (process.env[COUNT_CPU] === '1') look()

  process.on('message', () => {
    const longestMs = Math.max(turns.max / NANOSECONDS_PER_MS, late.max / NANOSECONDS_PER_MS - TIMER_MS)
    const told: RecordedTurns = { longestMs, longestCollectionMs, longestCpuMs }
    turns.reset()
    late.reset()
    longestCollectionMs = 0
    longestCpuMs = 0
    process.send!(told)
  })
  // The agent ends when it is told to, whoever listens here.
  process.channel!.unref()
}

if (isMainThread && process.channel !== undefined) record()
