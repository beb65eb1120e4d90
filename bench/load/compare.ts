// Question: what does a query cost in CPU, how long does it take, and what memory does it leave behind, beside unbound,
// dnsdist and dnsmasq on the same upstream and names, in one run?
//
//   node bench/load/compare.ts [--kinds hits,mixed,misses] [--clients udp,tcp] [--upstreams udp,tcp] [--rates 2000,20000,0]
//                              [--seconds 2.5] [--latency-seconds 1] [--rounds 1] [--only us,unbound,dnsdist,dnsmasq]
//                              [--cores shared|apart]
//                              [--peer 'NAME=COMMAND with {port} and {upstream}'] ... [--out docs/performance]
//
// All of it takes nine to ten minutes; `--kinds misses --clients udp --upstreams tcp --seconds 2` one and a half. A rate of
// 0 is flat out: 200 queries under way at any time. `mixed` is nine hits to one miss. CPU is the whole process, user and
// system. With `--cores apart` servers have core 0 and clients and upstream core 1, as in the table that the promises come from;
// else the kernel decides. Servers take turns within each round, so that a noisy neighbour disturbs all of them; no names are asked for
// twice but those of the hits. Hits never reach an upstream, so they are asked with the first upstream transport only.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { plotOf } from './compare-plot.ts'
import { type Memory, memoryTable, type Row, ratioLines, resultTable } from './compare-report.ts'
import { keepServersApart } from './cores.ts'
import { type ClientTransport, type Counted, countedRun, type Load, latencyRun, percentile } from './dnsperf.ts'
import {
  missingProgram,
  type Server,
  startDnsdistPeer,
  startDnsmasqPeer,
  startOther,
  startUnboundPeer,
  startUpstream,
  startUs,
  type UpstreamTransport,
} from './servers.ts'

type Kind = 'hits' | 'mixed' | 'misses'

const { values } = parseArgs({
  options: {
    kinds: { type: 'string', default: 'hits,mixed,misses' },
    clients: { type: 'string', default: 'udp,tcp' },
    upstreams: { type: 'string', default: 'udp,tcp' },
    rates: { type: 'string', default: '2000,20000,0' },
    seconds: { type: 'string', default: '2.5' },
    'latency-seconds': { type: 'string', default: '1' },
    rounds: { type: 'string', default: '1' },
    only: { type: 'string', default: 'us,unbound,dnsdist,dnsmasq' },
    peer: { type: 'string', multiple: true, default: [] },
    cores: { type: 'string', default: 'shared' },
    out: { type: 'string' },
  },
})
const listOf = <Item extends string>(text: string) => text.split(',') as Item[]
const [seconds, latencySeconds, rounds] = [values.seconds, values['latency-seconds'], values.rounds].map(Number)
const servers = new Set(listOf(values.only))

if (values.cores === 'apart') keepServersApart()

const HIT_NAMES = 1_000
/** More new names a second than any of these servers can ask for. */
const MISS_NAMES_PER_SECOND = 120_000
/** A quiet time and a busy one: servers may have a way for each. */
const WARM_UPS = [
  { rate: 5_000, seconds: 2 },
  { rate: 20_000, seconds: 1 },
]

const missing = missingProgram()
if (missing !== undefined)
  throw new Error(`${missing} is missing: apt-get install unbound dnsdist dnsmasq-base dnsperf`)

const folder = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-bench-names-'))
let files = 0

/** A file of names for one run: hits are the same thousand each time, misses were never asked for. */
function namesFor(kind: Kind, forSeconds: number): string {
  const path = join(folder, `names-${files++}`)
  const misses = Math.ceil(forSeconds * MISS_NAMES_PER_SECOND)
  const hit = (i: number) => `h${i % HIT_NAMES}.bench.example A\n`
  const miss = (i: number) => `m${files}x${i}.bench.example A\n`
  const nameOf = { hits: hit, misses: miss, mixed: (i: number) => (i % 10 === 9 ? miss(i) : hit(i)) }[kind]
  writeFileSync(path, Array.from({ length: kind === 'hits' ? HIT_NAMES : misses }, (_, i) => nameOf(i)).join(''))
  return path
}

interface Measured extends Counted {
  readonly cpuMicros: number
}

async function counted(server: Server, load: Omit<Load, 'port'>): Promise<Measured> {
  const before = server.cpuMicros()
  const result = await countedRun({ ...load, port: server.port })
  return { ...result, cpuMicros: (server.cpuMicros() - before) / result.answered }
}

const median = (numbers: readonly number[]) =>
  numbers.toSorted((one, other) => one - other)[Math.floor((numbers.length - 1) / 2)] ?? Number.NaN

/** All servers under one load; those that cannot play are not in `playing`. */
async function measure(kind: Kind, transport: ClientTransport, rate: number, playing: readonly Server[]): Promise<Row> {
  const results = new Map<string, Measured[]>(playing.map(({ name }) => [name, []]))
  const latencies = new Map<string, Float64Array>()
  for (let round = 0; round < rounds!; round++) {
    const names = namesFor(kind, seconds!)
    for (const server of playing) {
      results.get(server.name)!.push(await counted(server, { transport, names, rate, seconds: seconds! }))
    }
    rmSync(names)
  }
  // Flat out is a queue that is always full: its latencies say how long the queue is.
  if (rate > 0) {
    const names = namesFor(kind, latencySeconds!)
    const output = join(folder, 'latencies')
    for (const server of playing) {
      const load = { port: server.port, transport, names, rate, seconds: latencySeconds! }
      latencies.set(server.name, await latencyRun(load, output))
    }
    rmSync(names)
  }
  const rowOf = (server: Server) => {
    const all = results.get(server.name)!
    const of = (field: keyof Measured) => median(all.map((result) => result[field]))
    const ascending = latencies.get(server.name)
    return {
      server: server.name,
      answeredPerSecond: of('answeredPerSecond'),
      cpuMicros: of('cpuMicros'),
      percentiles: ascending && [0.5, 0.99, 0.999].map((part) => percentile(ascending, part)),
      lost: all.reduce((sum, { lost }) => sum + lost, 0),
    }
  }
  return { kind, clients: transport, upstream: '', rate, servers: playing.map(rowOf) }
}

async function startAll(upstream: Server, transport: UpstreamTransport): Promise<Server[]> {
  const wanted: Server[] = []
  if (servers.has('us')) wanted.push(await startUs(upstream, transport))
  if (servers.has('unbound')) wanted.push(await startUnboundPeer(upstream, transport))
  if (servers.has('dnsdist')) wanted.push(await startDnsdistPeer(upstream, transport))
  if (servers.has('dnsmasq') && transport === 'udp') wanted.push(await startDnsmasqPeer(upstream))
  for (const peer of values.peer) wanted.push(await startOther(peer, upstream))
  return wanted
}

const rows: Row[] = []
const memories: Memory[] = []
const upstream = await startUpstream()
let running: Server[] = []
const loadBefore = loadavg()[0]!
const startedMs = performance.now()
try {
  const upstreamTransports = listOf<UpstreamTransport>(values.upstreams)
  for (const transport of upstreamTransports) {
    running = await startAll(upstream, transport)
    const atRest = new Map(running.map((server) => [server, server.residentMiB()]))
    for (const kind of listOf<Kind>(values.kinds)) {
      if (kind === 'hits' && transport !== upstreamTransports[0]) continue
      for (const clients of listOf<ClientTransport>(values.clients)) {
        const playing = running.filter(({ name }) => name !== 'dnsmasq' || clients === 'udp')
        // Caches are filled, connections open, and a runtime that compiles as it goes has compiled: agents run for weeks.
        for (const { rate, seconds } of WARM_UPS) {
          const names = namesFor(kind, seconds)
          for (const { port } of playing) await countedRun({ transport: clients, names, rate, seconds, port })
          rmSync(names)
        }
        for (const rate of listOf(values.rates).map(Number)) {
          const row = { ...(await measure(kind, clients, rate, playing)), upstream: kind === 'hits' ? '' : transport }
          rows.push(row)
          console.error(`${((performance.now() - startedMs) / 1000).toFixed(0)} s`, ...ratioLines([row]))
        }
      }
    }
    for (const server of running) {
      const [before, after, most] = [atRest.get(server)!, server.residentMiB(), server.residentMaxMiB()]
      memories.push({ server: server.name, upstream: transport, atRestMiB: before, afterMiB: after, mostMiB: most })
      await server.stop()
    }
    running = []
  }
} finally {
  for (const server of running) await server.stop()
  await upstream.stop()
  rmSync(folder, { recursive: true, force: true })
}

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
const report = [
  '# Beside unbound, dnsdist and dnsmasq',
  'Written by `npm run bench` (`bench/load/compare.ts`, which says how it measures). Figures are of one machine and one run; what counts is the ratio between servers in it.',
  `${cpus().length} cores of ${cpus()[0]?.model ?? 'an unknown processor'}, ${values.cores === 'apart' ? 'the servers on one, clients and upstream on the other' : 'shared with the clients and the upstream'}; load ${loadBefore.toFixed(1)} before, ` +
    `${loadavg()[0]!.toFixed(1)} at the end. Node ${process.version}, commit ${commit}, ${values.seconds} s and ${values.rounds} round(s) a row.`,
  '## Ratios',
  ratioLines(rows)
    .map((line) => `* ${line}`)
    .join('\n'),
  '![CPU per query](compare.svg)',
  '## Queries',
  resultTable(rows),
  '## Memory, MiB resident',
  'After all the loads above, in the order of the table, with the same process.',
  memoryTable(memories),
].join('\n\n')
console.log(report)
if (values.out !== undefined) {
  mkdirSync(values.out, { recursive: true })
  writeFileSync(join(values.out, 'compare.md'), `${report}\n`)
  writeFileSync(join(values.out, 'compare.svg'), plotOf(rows))
}
