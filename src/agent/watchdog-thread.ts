/**
 * The watchdog's thread: asks ourselves through every listen address, and ends the process when that has failed for too long.
 *
 * On a thread of its own, because what it looks for is an event loop that stands still. The only way out of here that works for
 * the first process of a container too is the system call; signals do not reach that one from inside.
 */

import type { Socket as UdpSocket } from 'node:dgram'
import { write } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { endProcess } from '../host/end-process.ts'
import { sweepHeap } from '../host/sweep-heap.ts'
import { LifeSign } from '../observe/life-sign.ts'
import { OwnQueryCounters } from '../observe/own-query-counters.ts'
import { askOurselves, type OwnTarget, openSource } from './own-query.ts'
import type { FromWatchdog, ToWatchdog, WatchdogSettings } from './watchdog.ts'
import { WorkerTurns } from './worker-turns.ts'

const settings = workerData as WatchdogSettings
const counters = new OwnQueryCounters(settings.counts)
const lifeSign = new LifeSign(settings.lifeSign)

/** When one target, asked from one source, last did well. */
interface Watched {
  readonly target: OwnTarget
  readonly source: UdpSocket | undefined
  wellAtMs: number
  why: string
}

/** Milliseconds that standard output has to take the last words; where nobody reads it, it never does. */
const LAST_WORDS_MS = 500

/** Milliseconds: a thread that came this much too late was starved, and so was everybody else. */
const STARVED_MS = 1_000

/** After the first look: by then it has done once whatever it does. */
let isSwept = false

/** Datagrams answered in a second by a process that is busy, not stuck: what is lost then is lost in full queues. */
const BUSY_PER_SECOND = 500

let stopByMs = Number.POSITIVE_INFINITY

parentPort?.on('message', (message: ToWatchdog) => {
  if (message.kind === 'end') process.exit(0)
  stopByMs = performance.now() + message.withinMs
})

const watched: Watched[] = settings.targets.flatMap((target) => {
  // Each source reaches one of the sockets that share the port: with several, every one is looked at.
  const sources =
    target.transport === 'udp' ? Array.from({ length: settings.udpSources }, () => openSource(target)) : [undefined]
  return sources.map((source) => ({ target, source, wellAtMs: performance.now(), why: '' }))
})

const workerTurns = new WorkerTurns(settings.workers, settings.deadlineMs, performance.now())

let lookedAtMs = performance.now()
for (;;) {
  const before = performance.now()
  await sleep(settings.intervalMs)
  const late = performance.now() - before - settings.intervalMs
  if (performance.now() > stopByMs) await end('the stop took longer than it may')
  if (Number.isFinite(stopByMs)) continue
  await Promise.all(watched.map(ask))
  if (!isSwept) sweepHeap()
  isSwept = true
  // The queries took time too, as long as an interval where they failed.
  const seconds = (performance.now() - lookedAtMs) / 1000
  lookedAtMs = performance.now()
  if ((lifeSign.look() ?? 0) >= BUSY_PER_SECOND * seconds) {
    for (const one of watched) if (one.target.transport === 'udp') one.wellAtMs = performance.now()
  }
  // Time that nobody got is nobody's fault: it counts for no one.
  if (late > STARVED_MS) {
    for (const one of watched) one.wellAtMs += late
    workerTurns.forgive(late)
  }
  await lookAtWorkers()
  const isStuck = ({ wellAtMs }: Watched) => performance.now() - wellAtMs > settings.deadlineMs
  const stuck = watched.find(
    (one) => isStuck(one) && (!settings.areLedHere || ofTransport(one.target.transport).every(isStuck)),
  )
  if (stuck !== undefined && !Number.isFinite(stopByMs)) {
    const { transport, address, port } = stuck.target
    await end(
      `own queries to ${address} port ${port} over ${transport} failed for ${settings.deadlineMs} ms: ${stuck.why}`,
    )
  }
}

async function lookAtWorkers(): Promise<void> {
  for (const { worker, stillMs, isNew, isHopeless } of workerTurns.look(performance.now())) {
    if (Number.isFinite(stopByMs)) return
    if (isHopeless)
      await end(`UDP worker ${worker} has stood still for ${Math.round(stillMs)} ms and cannot be replaced`)
    if (isNew) parentPort?.postMessage({ kind: 'still-worker', worker, stillMs } satisfies FromWatchdog)
  }
}

function ofTransport(transport: OwnTarget['transport']): Watched[] {
  return watched.filter(({ target }) => target.transport === transport)
}

async function ask(one: Watched): Promise<void> {
  const askedAtMs = performance.now()
  const answer = await askOurselves(one.target, settings.instance, settings.intervalMs, one.source)
  const nowMs = performance.now()
  if (answer.kind === 'none') {
    one.why = answer.why
    counters.failed()
    return
  }
  // That another agent got it says nothing of this one.
  one.wellAtMs = nowMs
  if (answer.kind === 'ours') counters.answered((nowMs - askedAtMs) / 1000)
}

async function end(why: string): Promise<never> {
  const line = { level: 'error', time: new Date().toISOString(), event: 'watchdog-ends-process', why }
  // The log belongs to the thread that stands still, and may be what it waits for.
  const said = Promise.withResolvers<void>()
  write(1, `${JSON.stringify(line)}\n`, () => said.resolve())
  await Promise.race([said.promise, sleep(LAST_WORDS_MS)])
  endProcess(1)
  throw new Error('the process did not end')
}
