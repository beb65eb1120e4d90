/** The agent as a process: what operators run, started from its source with a configuration of the test. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'

const MAIN = new URL('../../cmd/nodelocal-mcs/main.ts', import.meta.url).pathname
const START_MS = 60_000
const STOP_MS = 15_000

export interface AgentProcess {
  readonly directory: string
  readonly port: number
  readonly process: ChildProcess
  /** Everything it wrote so far, logs and notes. */
  output(): string
  /** `ADDRESS:PORT` of its health address. */
  readonly healthAddress: string
  metrics(): Promise<string>
  health(path: string, method?: 'GET' | 'POST'): Promise<{ status: number; body: string }>
  writeConfig(config: object): Promise<void>
  /** SIGTERM, then the exit code. */
  stop(): Promise<number | null>
}

/** What is run instead of the sources, and what the runtime is told besides. */
export interface AgentProgram {
  readonly main?: string
  readonly runtimeOptions?: readonly string[]
  /** What it says when the test goes on; `started` when left out. Before that its DNS port is not known. */
  readonly startedBy?: RegExp
}

/** Ports are chosen by the system; `config` may be anything else. The configuration file is `config.yaml` in a directory of its own. */
export async function startAgentProcess(
  config: object,
  directory?: string,
  { main = MAIN, runtimeOptions = [], startedBy }: AgentProgram = {},
): Promise<AgentProcess> {
  const home = directory ?? (await mkdtemp(join(tmpdir(), 'nodelocal-mcs-')))
  const whole = {
    listen: { port: 0 },
    metrics: { address: '127.0.0.1:0' },
    health: { address: '127.0.0.1:0' },
    shutdown: { drainMs: 200 },
    ...config,
  }
  const configPath = join(home, 'config.yaml')
  await writeFile(configPath, stringify(whole))
  const child = spawn(process.execPath, [...runtimeOptions, main, 'run', '--config', configPath], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const httpPort = (what: string) => new RegExp(`"${what}","address":"[^"]*","port":(\\d+)`).exec(output)?.[1]
  for (const said of [
    startedBy ?? /"(event|msg)":"started"/,
    ...(startedBy === undefined ? [/listening on tcp/] : []),
  ]) {
    await until(
      () => said.test(output) || child.exitCode !== null,
      START_MS,
      () => output,
    )
  }
  const listeningPort = Number(/listening on udp \S+ port (\d+)/.exec(output)?.[1])
  if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode}:\n${output}`)
  return {
    directory: home,
    port: listeningPort,
    process: child,
    output: () => output,
    get healthAddress() {
      return `127.0.0.1:${httpPort('health')}`
    },
    metrics: async () => await (await fetch(`http://127.0.0.1:${httpPort('metrics')}/metrics`)).text(),
    health: async (path, method = 'GET') => {
      const response = await fetch(`http://127.0.0.1:${httpPort('health')}${path}`, { method })
      return { status: response.status, body: await response.text() }
    },
    writeConfig: (next) => writeFile(configPath, stringify({ ...whole, ...next })),
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM')
        const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
        await once(child, 'exit')
        clearTimeout(killer)
      }
      await rm(home, { recursive: true, force: true })
      return child.exitCode
    },
  }
}

/** Waits until a condition holds, or throws with what `why` says. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  withinMs: number,
  why: () => string,
): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${why()}`)
    await sleep(20)
  }
}
