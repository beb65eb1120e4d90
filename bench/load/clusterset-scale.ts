// Question: what does a clusterset of 100, 1,000 and 10,000 services (ten endpoints to a service) cost: time to ready from
// the API server, memory, from a changed endpoint to its answer, and the longest stall of the event loop? Beside the
// stall stands that of the bench's own event loop in the same time, which only waits: what the machine does to everybody.
// Arguments: sizes, as 100,1000,10000, and how many runs of each.

import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import * as dnsPacket from 'dns-packet'

const CHANGES = 50
const READY_MS = 60_000
const NAME = 'pod-0.cluster0.svc0.ns0.svc.clusterset.local'

const sizes = (process.argv[2] ?? '100,1000,10000').split(',').map(Number)
const runs = Number(process.argv[3] ?? 1)
const root = new URL('../../', import.meta.url).pathname
const folder = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-scale-'))

async function firstLine(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout!) {
    text += String(chunk)
    if (text.includes('\n')) break
  }
  return text.split('\n')[0]!
}

async function until(holds: () => Promise<boolean>, everyMs: number): Promise<void> {
  const endMs = performance.now() + READY_MS
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error('never happened')
    await sleep(everyMs)
  }
}

function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
}

/** Starts the agent, waits until it is ready, and hands out its ports. */
async function startAgent(
  clusterset: string,
): Promise<{ pid: number; port: number; http(what: string): string; readyMs: number; child: ChildProcess }> {
  const path = join(folder, 'config.yaml')
  writeFileSync(
    path,
    `listen: { port: 0 }\nclusterset: ${clusterset}\nforward: []\nmetrics: { address: "127.0.0.1:0" }\nhealth: { address: "127.0.0.1:0" }\n`,
  )
  const startedMs = performance.now()
  const child = spawn(process.execPath, [join(root, 'dist/nodelocal-mcs.js'), 'run', '--config', path], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const http = (what: string) =>
    `http://127.0.0.1:${new RegExp(`"${what}","address":"[^"]*","port":(\\d+)`).exec(output)?.[1]}`
  await until(async () => output.includes('"started"') && (await fetch(`${http('health')}/readyz`)).status === 200, 5)
  const readyMs = performance.now() - startedMs
  return {
    pid: child.pid!,
    port: Number(/"port":(\d+)/.exec(output.slice(output.indexOf('"started"')))![1]),
    http,
    readyMs,
    child,
  }
}

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
  const api = spawn(process.execPath, [join(root, 'bench/load/api-server-process.ts'), String(services)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const kubeconfig = await firstLine(api)
  const ownDelay = monitorEventLoopDelay({ resolution: 10 })
  ownDelay.enable()
  const agent = await startAgent(`{ source: kubernetes, kubernetes: { kubeconfig: "${kubeconfig}" } }`)
  const socket = createSocket('udp4')
  try {
    await sleep(2_000)
    const memoryMiB = residentMiB(agent.pid) - emptyMiB
    const latencies: number[] = []
    for (let change = 0; change < CHANGES; change++) {
      const address = `10.98.0.${change + 1}`
      const startedMs = performance.now()
      api.stdin.write(`${address}\n`)
      await until(async () => (await ask(socket, agent.port)) === address, 1)
      latencies.push(performance.now() - startedMs)
    }
    latencies.sort((one, other) => one - other)
    const metrics = await (await fetch(`${agent.http('metrics')}/metrics`)).text()
    const stallSeconds = Number(
      /^nodelocal_mcs_event_loop_delay_seconds\{statistic="max"\} ([\d.e-]+)/m.exec(metrics)?.[1] ?? Number.NaN,
    )
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
  const empty = await startAgent('{ source: none }')
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
