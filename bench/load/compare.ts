// Question: what does a query cost in CPU, and how long does it take, beside unbound and dnsdist on the same upstream and
// names, in one run? dnsperf asks; CPU is the whole process, user and system.
//
//   node bench/load/compare.ts [--transport tcp|udp] [--kinds hits,misses] [--rates 2000,20000,0] [--seconds 5]
//                              [--rounds 2] [--peer 'NAME=COMMAND with {port} and {upstream}'] ...
//
// A rate of 0 is flat out. Servers take turns within each round, so that a noisy neighbour disturbs all of them.

import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import {
  type Server,
  startDnsdistPeer,
  startOther,
  startUnboundPeer,
  startUpstream,
  startUs,
  type UpstreamTransport,
} from './servers.ts'

const { values } = parseArgs({
  options: {
    transport: { type: 'string', default: 'tcp' },
    kinds: { type: 'string', default: 'hits,misses' },
    rates: { type: 'string', default: '2000,20000,0' },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '2' },
    peer: { type: 'string', multiple: true, default: [] },
  },
})
const transport = values.transport as UpstreamTransport
const seconds = Number(values.seconds)
const HIT_NAMES = 1_000
const MISS_NAMES = 400_000

interface Result {
  readonly queriesPerSecond: number
  readonly cpuMicrosPerQuery: number
  readonly averageLatencyMicros: number
  readonly lost: number
}

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-bench-names-'))
let part = 0

/** A file of names that nobody asked for yet; for hits the same thousand again. */
function namesFor(kind: string): string {
  const path = join(folder, `${kind}-${kind === 'hits' ? 0 : part++}`)
  const count = kind === 'hits' ? HIT_NAMES : MISS_NAMES
  const prefix = kind === 'hits' ? 'h' : `m${part}x`
  writeFileSync(path, Array.from({ length: count }, (_, i) => `${prefix}${i}.bench.example A\n`).join(''))
  return path
}

async function dnsperf(
  server: Server,
  names: string,
  rate: number,
  forSeconds: number,
): Promise<{ text: string; cpuMicros: number }> {
  const before = server.cpuMicros()
  const limit = rate === 0 ? [] : ['-Q', String(rate)]
  const { stdout } = await run(
    'dnsperf',
    [
      '-s',
      '127.0.0.1',
      '-p',
      String(server.port),
      '-d',
      names,
      '-l',
      String(forSeconds),
      '-c',
      '4',
      '-q',
      '200',
      ...limit,
    ],
    { maxBuffer: 1 << 24 },
  )
  return { text: stdout, cpuMicros: server.cpuMicros() - before }
}

async function measure(server: Server, kind: string, rate: number): Promise<Result> {
  const names = namesFor(kind)
  if (kind === 'hits') await dnsperf(server, names, 2_000, 1)
  const { text, cpuMicros } = await dnsperf(server, names, rate, seconds)
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN)
  const completed = number(/Queries completed:\s+(\d+)/)
  return {
    queriesPerSecond: number(/Queries per second:\s+([\d.]+)/),
    cpuMicrosPerQuery: cpuMicros / completed,
    averageLatencyMicros: number(/Average Latency \(s\):\s+([\d.]+)/) * 1e6,
    lost: number(/Queries lost:\s+(\d+)/),
  }
}

const median = (numbers: readonly number[]) =>
  numbers.toSorted((one, other) => one - other)[Math.floor((numbers.length - 1) / 2)]!

const upstream = await startUpstream()
const servers: Server[] = []
try {
  servers.push(
    await startUs(upstream, transport),
    await startUnboundPeer(upstream, transport),
    await startDnsdistPeer(upstream, transport),
  )
  for (const peer of values.peer) servers.push(await startOther(peer, upstream))
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  console.log(
    `upstream over ${transport}, clients over UDP, ${seconds} s, median of ${values.rounds} rounds, Node ${process.version}, commit ${commit}\n`,
  )
  console.log('| kind | rate | server | answered/s | CPU µs/query | ratio to ours | average µs | lost | RSS MiB |')
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |')
  for (const kind of values.kinds.split(',')) {
    for (const rate of values.rates.split(',').map(Number)) {
      const results = new Map<Server, Result[]>(servers.map((server) => [server, []]))
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const server of servers) results.get(server)!.push(await measure(server, kind, rate))
      }
      const of = (server: Server, field: keyof Result) => median(results.get(server)!.map((result) => result[field]))
      for (const server of servers) {
        const cells = [
          kind,
          rate === 0 ? 'flat out' : rate,
          server.name,
          of(server, 'queriesPerSecond').toFixed(0),
          of(server, 'cpuMicrosPerQuery').toFixed(1),
          (of(server, 'cpuMicrosPerQuery') / of(servers[0]!, 'cpuMicrosPerQuery')).toFixed(2),
          of(server, 'averageLatencyMicros').toFixed(0),
          results.get(server)!.reduce((sum, { lost }) => sum + lost, 0),
          server.residentMiB().toFixed(0),
        ]
        console.log(`| ${cells.join(' | ')} |`)
      }
    }
  }
} finally {
  for (const server of servers) await server.stop()
  await upstream.stop()
  rmSync(folder, { recursive: true, force: true })
}
