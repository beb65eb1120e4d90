/**
 * One run of dnsperf against one server: what it counted, and how long single answers took.
 *
 * dnsperf tells an average of the latencies and no percentiles. With `-v` it prints every response with the time between
 * sending and receiving it, both taken before anything is printed; but to print costs it CPU, which on a machine that
 * it shares with the server is the server's too. So CPU is counted in runs without `-v` and percentiles come from runs
 * of their own, at the same rate and with the same mixture of names, whose CPU is not counted. Its output goes to a
 * file, and is read when the run is over. Tried against unbound at 20,000 qps: `-v` made the average 0.08 ms of 0.07.
 */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { onCore } from './cores.ts'

export type ClientTransport = 'udp' | 'tcp'

export interface Load {
  readonly port: number
  readonly transport: ClientTransport
  readonly names: string
  /** Queries a second; 0: as many as get through. */
  readonly rate: number
  readonly seconds: number
  /** How often the file of names is gone through at most; without it, as often as the time allows. */
  readonly timesMax?: number
}

export interface Counted {
  readonly answered: number
  readonly answeredPerSecond: number
  readonly lost: number
  readonly averageMicros: number
}

/** Sockets or connections that the queries come from. */
const CLIENTS = 4

/** Queries that wait for their response at once; flat out means that there are always so many. */
const OUTSTANDING = 200

const run = promisify(execFile)

/** A run that counts. */
export async function countedRun(load: Load): Promise<Counted> {
  const { stdout } = await run(...onCore('others', 'dnsperf', argumentsOf(load)), { maxBuffer: 1 << 24 })
  const number = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? Number.NaN)
  return {
    answered: number(/Queries completed:\s+(\d+)/),
    answeredPerSecond: number(/Queries per second:\s+([\d.]+)/),
    lost: number(/Queries lost:\s+(\d+)/),
    averageMicros: number(/Average Latency \(s\):\s+([\d.]+)/) * 1e6,
  }
}

/** The latencies of all responses of a run, in microseconds, ascending. */
export async function latencyRun(load: Load, outputFile: string): Promise<Float64Array> {
  const output = openSync(outputFile, 'w')
  try {
    const child = spawn(...onCore('others', 'dnsperf', ['-v', ...argumentsOf(load)]), {
      stdio: ['ignore', output, 'ignore'],
    })
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`dnsperf -v ended with ${code}`)
  } finally {
    closeSync(output)
  }
  const micros: number[] = []
  for (const line of readFileSync(outputFile, 'latin1').split('\n')) {
    if (line.startsWith('> ') && !line.startsWith('> T'))
      micros.push(Number(line.slice(line.lastIndexOf(' ') + 1)) * 1e6)
  }
  return Float64Array.from(micros).sort()
}

function argumentsOf({ port, transport, names, rate, seconds, timesMax }: Load): string[] {
  const limit = rate === 0 ? [] : ['-Q', String(rate)]
  const times = timesMax === undefined ? [] : ['-n', String(timesMax)]
  return [
    '-s',
    '127.0.0.1',
    '-p',
    String(port),
    '-m',
    transport,
    '-d',
    names,
    '-l',
    String(seconds),
    '-c',
    String(CLIENTS),
    '-q',
    String(OUTSTANDING),
    ...limit,
    ...times,
  ]
}

/** The value below which `part` of the ascending numbers lie. */
export function percentile(ascending: Float64Array, part: number): number {
  return ascending[Math.min(ascending.length - 1, Math.floor(ascending.length * part))] ?? Number.NaN
}
