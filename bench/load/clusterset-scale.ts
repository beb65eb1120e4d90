// Question: what does a clusterset of 100, 1,000 and 10,000 services (ten endpoints to a service) cost: time to ready from
// the API server, memory, from a changed endpoint to its answer, and the longest turn of the event loop, which is what a
// query may have to wait for? A change is timed twice: from its beginning at the API server, whose process gives way to
// everybody, and from when that handed its watch event to the kernel, until the answer is here. Turns are told apart by what the agent does then: starting, before it listens, when there
// is nobody to wait; the first sync, queries being served; changes; and a list of everything anew, while it answers from
// what it has. Where the machine has no core for the event loop, or for the collector's threads that it waits for, a turn
// takes as long as that: so a second agent tells what CPU its longest turn took, and beside them stands the longest delay
// of the bench's own event loop, which mostly waits.
// Arguments: sizes, as 100,1000,10000, and how many runs of each.

import type { ChildProcess } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import * as dnsPacket from 'dns-packet'
import { WATCH_LIMITS } from '../../src/control/watch.ts'
import { monotonicMs, residentMiB, type ScaleAgent, startScaleAgent, startScaleApi, until } from './scale-agent.ts'
import type { RecordedTurns } from './turn-recorder.ts'

const CHANGES = 50
const NAME = 'pod-0.cluster0.svc0.ns0.svc.clusterset.local'
/** Both kinds are listed anew by then, the other one than that whose change tells so, too; but for what chance spreads. */
const RELIST_MS = 3_000
const OWN_LOOK_MS = 10
/** By then the agent has looked what memory it can give back (`src/agent/memory-keeper.ts`). */
const SETTLE_MS = 8_000

const sizes = (process.argv[2] ?? '100,1000,10000').split(',').map(Number)
const runs = Number(process.argv[3] ?? 1)
const folder = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-scale-'))

async function ask(socket: ReturnType<typeof createSocket>, port: number): Promise<string> {
  socket.send(
    dnsPacket.encode({ type: 'query', id: 1, flags: 0x0100, questions: [{ type: 'A', name: NAME }] }),
    port,
    '127.0.0.1',
  )
  const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(2_000) })) as [Buffer]
  return String((dnsPacket.decode(message).answers?.[0] as { data?: unknown } | undefined)?.data)
}

interface Change {
  /** Until its answer was here. */
  readonly fromChangeMs: number
  readonly fromEventMs: number
}

function medianAndWorst(values: readonly number[]): string {
  const sorted = values.toSorted((one, other) => one - other)
  return `${sorted[Math.floor(sorted.length / 2)]!.toFixed(1)}, ${sorted.at(-1)!.toFixed(1)}`
}

async function end(...children: readonly ChildProcess[]): Promise<void> {
  for (const child of children) {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
}

async function scale(services: number, emptyMiB: number): Promise<void> {
  const { api, kubeconfig, sentMs } = await startScaleApi(services)
  const source = `{ source: kubernetes, kubernetes: { kubeconfig: "${kubeconfig}" } }`
  const ownDelay = monitorEventLoopDelay({ resolution: OWN_LOOK_MS })
  const ownMs = (): string => Math.max(0, ownDelay.max / 1e6 - OWN_LOOK_MS).toFixed(1)
  ownDelay.enable()
  const agent = await startScaleAgent(folder, source)
  const idleAtSyncMs = ownMs()
  ownDelay.reset()
  const socket = createSocket('udp4')
  const change = async ({ port }: ScaleAgent, lines: string, address: string): Promise<Change> => {
    const startedMs = monotonicMs()
    api.stdin!.write(`${lines}${address}\n`)
    await until(async () => (await ask(socket, port)) === address, 1)
    const answeredMs = monotonicMs()
    return { fromChangeMs: answeredMs - startedMs, fromEventMs: answeredMs - (await sentMs()) }
  }
  /** All of it listed anew; the change behind it is heard of when that is over. */
  const relist = async (one: ScaleAgent, address: string): Promise<RecordedTurns> => {
    await one.turns()
    await change(one, 'relist\n', address)
    await sleep(RELIST_MS + services * WATCH_LIMITS.relistSpreadMsPerObject)
    return await one.turns()
  }
  try {
    await sleep(SETTLE_MS)
    const memoryMiB = residentMiB(agent.pid) - emptyMiB
    await agent.turns()
    const changed: Change[] = []
    for (let i = 1; i <= CHANGES; i++) changed.push(await change(agent, '', `10.98.0.${i}`))
    const changes = await agent.turns()
    const relisted = await relist(agent, '10.97.0.1')
    const idleMs = ownMs()
    await end(agent.child)
    const counting = await startScaleAgent(folder, source, true)
    const cpu = [counting.sync, await relist(counting, '10.97.0.2')]
    await end(counting.child)
    const cells = [
      services,
      services * 10,
      (agent.listeningMs / 1000).toFixed(2),
      (agent.readyMs / 1000).toFixed(2),
      (agent.readyCpuMs / 1000).toFixed(2),
      memoryMiB.toFixed(0),
      ...[changed.map(({ fromChangeMs }) => fromChangeMs), changed.map(({ fromEventMs }) => fromEventMs)].map(
        medianAndWorst,
      ),
      ...[agent.start, agent.sync, changes, relisted].map(({ longestMs, longestCollectionMs }) => {
        return `${longestMs.toFixed(1)} (${longestCollectionMs.toFixed(1)})`
      }),
      cpu.map(({ longestCpuMs }) => longestCpuMs.toFixed(1)).join(', '),
      `${idleAtSyncMs}, ${idleMs}`,
    ]
    console.log(`| ${cells.join(' | ')} |`)
  } finally {
    socket.close()
    await end(...[agent.child, api].filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null))
  }
}

try {
  const empty = await startScaleAgent(folder, '{ source: none }')
  await sleep(SETTLE_MS)
  const emptyMiB = residentMiB(empty.pid)
  await end(empty.child)
  console.log(
    `an agent without services: ${emptyMiB.toFixed(0)} MiB resident, ready after ${(empty.readyMs / 1000).toFixed(2)} s\n`,
  )
  console.log(
    '| services | endpoints | listening after s | ready after s | CPU until then s | more MiB | change to answer, median and worst ms: from the change | from its watch event | longest turn (collection) ms: start | first sync | changes | listed anew | CPU of the longest turn ms: first sync, listed anew | an idle process ms: until ready, then |',
  )
  console.log(`|${' --- |'.repeat(14)}`)
  for (const services of sizes) for (let run = 0; run < runs; run++) await scale(services, emptyMiB)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
