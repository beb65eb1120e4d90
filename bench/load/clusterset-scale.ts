// Question: what does a clusterset of 100, 1,000 and 10,000 services (ten endpoints to a service) cost: time to ready from
// the API server, memory, from a changed endpoint to its answer, and the longest stall of the event loop? Beside the
// stall stands that of the bench's own event loop in the same time, which only waits: what the machine does to everybody.
// Arguments: sizes, as 100,1000,10000, and how many runs of each.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import * as dnsPacket from 'dns-packet'
import { longestStallSeconds, residentMiB, startScaleAgent, startScaleApi, until } from './scale-agent.ts'

const CHANGES = 50
const NAME = 'pod-0.cluster0.svc0.ns0.svc.clusterset.local'

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

async function scale(services: number, emptyMiB: number): Promise<void> {
  const { api, kubeconfig } = await startScaleApi(services)
  const ownDelay = monitorEventLoopDelay({ resolution: 10 })
  ownDelay.enable()
  const agent = await startScaleAgent(folder, `{ source: kubernetes, kubernetes: { kubeconfig: "${kubeconfig}" } }`)
  const socket = createSocket('udp4')
  try {
    await sleep(2_000)
    const memoryMiB = residentMiB(agent.pid) - emptyMiB
    const latencies: number[] = []
    for (let change = 0; change < CHANGES; change++) {
      const address = `10.98.0.${change + 1}`
      const startedMs = performance.now()
      api.stdin!.write(`${address}\n`)
      await until(async () => (await ask(socket, agent.port)) === address, 1)
      latencies.push(performance.now() - startedMs)
    }
    latencies.sort((one, other) => one - other)
    const stallSeconds = await longestStallSeconds(agent)
    const cells = [
      services,
      services * 10,
      (agent.readyMs / 1000).toFixed(2),
      memoryMiB.toFixed(0),
      latencies[Math.floor(CHANGES / 2)]!.toFixed(1),
      latencies.at(-1)!.toFixed(1),
      (stallSeconds * 1000).toFixed(1),
      Math.max(0, ownDelay.max / 1e6 - 10).toFixed(1),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  } finally {
    socket.close()
    for (const child of [agent.child, api]) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
  }
}

try {
  const empty = await startScaleAgent(folder, '{ source: none }')
  await sleep(2_000)
  const emptyMiB = residentMiB(empty.pid)
  empty.child.kill('SIGTERM')
  await once(empty.child, 'exit')
  console.log(
    `an agent without services: ${emptyMiB.toFixed(0)} MiB resident, ready after ${(empty.readyMs / 1000).toFixed(2)} s\n`,
  )
  console.log(
    '| services | endpoints | start to ready s | more MiB | change to answer, median ms | worst ms | longest stall ms | of an idle process |',
  )
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |')
  for (const services of sizes) for (let run = 0; run < runs; run++) await scale(services, emptyMiB)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
