/** An agent as a process of its own for the benches of a clusterset at scale, and the API server it follows. */

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const READY_MS = 60_000
const root = new URL('../../', import.meta.url).pathname

export async function firstLine(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout!) {
    text += String(chunk)
    if (text.includes('\n')) break
  }
  return text.split('\n')[0]!
}

export async function until(holds: () => Promise<boolean>, everyMs: number): Promise<void> {
  const endMs = performance.now() + READY_MS
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error('never happened')
    await sleep(everyMs)
  }
}

export function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
}

export interface ScaleAgent {
  readonly pid: number
  readonly port: number
  readonly readyMs: number
  readonly child: ChildProcess
  /** The address of `metrics` or `health`. */
  http(what: string): string
}

/** Starts the agent, waits until it is ready, and hands out its ports. */
export async function startScaleAgent(folder: string, clusterset: string): Promise<ScaleAgent> {
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

/** Seconds of the longest delay of the agent's event loop since its start. */
export async function longestStallSeconds(agent: ScaleAgent): Promise<number> {
  const metrics = await (await fetch(`${agent.http('metrics')}/metrics`)).text()
  const line = /^nodelocal_mcs_event_loop_delay_seconds\{statistic="max"\} ([\d.e-]+)/m.exec(metrics)
  return Number(line?.[1] ?? Number.NaN)
}

/** An API server with so many services (`api-server-process.ts`), and where its kubeconfig is. */
export async function startScaleApi(...args: readonly number[]): Promise<{ api: ChildProcess; kubeconfig: string }> {
  const api = spawn(process.execPath, [join(root, 'bench/load/api-server-process.ts'), ...args.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return { api, kubeconfig: await firstLine(api) }
}
