/** An agent as a process of its own for the benches of a clusterset at scale, and the API server it follows. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { BUNDLE, RUNTIME_OPTIONS } from './as-shipped.ts'
import { COUNT_CPU, type RecordedTurns } from './turn-recorder.ts'

const READY_MS = 60_000
/** The kernel's unit of CPU time (`getconf CLK_TCK`). */
const CLOCK_TICK_MS = 10
const NANOSECONDS_PER_MS = 1e6
const root = new URL('../../', import.meta.url).pathname

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
  /** Milliseconds from its start until it listened, and until its zone was synced. */
  readonly listeningMs: number
  readonly readyMs: number
  /** Milliseconds of CPU until it was ready. */
  readonly readyCpuMs: number
  /** What turns of its event loop took until it listened, and from then on until it was ready. */
  readonly start: RecordedTurns
  readonly sync: RecordedTurns
  readonly child: ChildProcess
  /** Its turns since this was asked before, or since it was ready. */
  turns(): Promise<RecordedTurns>
}

/**
 * Starts the agent, waits until it is ready, and hands out its ports. Nobody asks it anything meanwhile. `countsCpu`: it tells
 * the CPU of its turns, and nothing else that is worth knowing (`turn-recorder.ts`).
 */
export async function startScaleAgent(folder: string, clusterset: string, countsCpu = false): Promise<ScaleAgent> {
  const path = join(folder, 'config.yaml')
  writeFileSync(
    path,
    `listen: { port: 0 }\nclusterset: ${clusterset}\nforward: []\nmetrics: { address: "127.0.0.1:0" }\nhealth: { address: "127.0.0.1:0" }\n`,
  )
  const startedMs = performance.now()
  const flags = [...RUNTIME_OPTIONS, '--import', join(root, 'bench/load/turn-recorder.ts')]
  const child = spawn(process.execPath, [...flags, BUNDLE, 'run', '--config', path], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...process.env, [COUNT_CPU]: countsCpu ? '1' : '0' },
  })
  const turns = async (): Promise<RecordedTurns> => {
    child.send('turns')
    return ((await once(child, 'message')) as [RecordedTurns])[0]
  }
  let output = ''
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await until(() => Promise.resolve(output.includes('"started"')), 1)
  const listeningMs = performance.now() - startedMs
  const start = await turns()
  await until(() => Promise.resolve(output.includes('"zone-synced"')), 1)
  const readyMs = performance.now() - startedMs
  const readyCpuMs = cpuMs(child.pid!)
  const sync = await turns()
  const port = Number(/"port":(\d+)/.exec(output.slice(output.indexOf('"started"')))![1])
  return { pid: child.pid!, port, listeningMs, readyMs, readyCpuMs, start, sync, child, turns }
}

/** Milliseconds of CPU that a process has used. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS
}

export interface ScaleApi {
  readonly api: ChildProcess
  readonly kubeconfig: string
  /** Milliseconds of `monotonicMs` at which the event of the next change was sent; ask once for each of them. */
  sentMs(): Promise<number>
}

/** Milliseconds of a clock that all processes of the machine share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / NANOSECONDS_PER_MS
}

/** An API server with so many services (`api-server-process.ts`). It gives way to the agent: real ones have machines of their own. */
export async function startScaleApi(...args: readonly number[]): Promise<ScaleApi> {
  const script = join(root, 'bench/load/api-server-process.ts')
  // From its start on, and so all its threads, which a priority that is set later leaves out.
  const api = spawn('nice', ['-n', '19', process.execPath, '--v8-pool-size=1', script, ...args.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: api.stdout })[Symbol.asyncIterator]()
  const nextLine = async (): Promise<string> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error('the API server has ended')
    return value
  }
  return { api, kubeconfig: await nextLine(), sentMs: async () => Number(await nextLine()) / NANOSECONDS_PER_MS }
}
