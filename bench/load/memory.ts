// Question: where is each MiB of the agent's resident memory, and what do entries and a flood of misses add?
//
//   node bench/load/memory.ts [--names 10000] [--flood 300000] [--implementations mmsg,dgram] [--threads 1] [--runs 1] [--settle 12]
//
// Three states of one process after another: at rest (nothing was asked but whether it answers), with `names` cached names
// (each asked for three times, so that the workers hold them too), and after `flood` names that nobody asked for before; each
// `settle` seconds later, so that the agent has looked twice whether there is something to give back. The last row of a process is
// the most that it ever had. Memory is the kernel's own account, /proc/PID/smaps, by what a mapping belongs to, in MiB.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { countedRun } from './dnsperf.ts'
import { type OurServer, startUpstream, startUs } from './servers.ts'

const { values } = parseArgs({
  options: {
    names: { type: 'string', default: '10000' },
    flood: { type: 'string', default: '300000' },
    implementations: { type: 'string', default: 'mmsg,dgram' },
    threads: { type: 'string', default: '1' },
    runs: { type: 'string', default: '1' },
    settle: { type: 'string', default: '12' },
  },
})
const [names, flood, runs] = [Number(values.names), Number(values.flood), Number(values.runs)]
const settleMs = Number(values.settle) * 1000

/** Queries a second for the names that are to be cached: no more than the agent answers. */
const FILL_RATE = 5_000

/** What a mapping belongs to. Anonymous: what V8 and its threads map themselves, shared array buffers among it. */
type Owner = 'runtime file' | 'libraries' | 'malloc' | 'stacks' | 'anonymous' | 'shared'

const OWNERS: readonly Owner[] = ['runtime file', 'libraries', 'malloc', 'stacks', 'anonymous', 'shared']

interface Account {
  readonly resident: number
  readonly threads: number
  readonly owners: ReadonlyMap<Owner, number>
}

/** Resident MiB of a process, by owner. */
function accountOf(pid: number): Account {
  const owners = new Map<Owner, number>(OWNERS.map((owner) => [owner, 0]))
  let resident = 0
  for (const mapping of readFileSync(`/proc/${pid}/smaps`, 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const kib = Number(/^Rss:\s+(\d+)/m.exec(mapping)?.[1] ?? 0)
    const owner = ownerOf(mapping)
    owners.set(owner, owners.get(owner)! + kib / 1024)
    resident += kib / 1024
  }
  const threads = Number(/^Threads:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
  return { resident, threads, owners }
}

/** An arena of glibc that is not the first begins at a multiple of its greatest size. */
const ARENA_OCTETS = 64 * 1024 * 1024

function ownerOf(mapping: string): Owner {
  const [, from, to, , path] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)/.exec(mapping)!
  if (path!.startsWith('[heap]')) return 'malloc'
  if (path!.startsWith('[stack')) return 'stacks'
  if (path!.startsWith('/dev/zero') || path!.startsWith('/memfd')) return 'shared'
  if (path!.endsWith('/node')) return 'runtime file'
  if (path!.startsWith('/')) return 'libraries'
  const octets = Number.parseInt(to!, 16) - Number.parseInt(from!, 16)
  if (Number.parseInt(from!, 16) % ARENA_OCTETS === 0 && octets < ARENA_OCTETS) return 'malloc'
  return 'anonymous'
}

const file = join(tmpdir(), `nodelocal-mcs-memory-${process.pid}`)

async function askFor(us: OurServer, prefix: string, count: number, rate: number): Promise<void> {
  writeFileSync(file, Array.from({ length: count }, (_, i) => `${prefix}${i}.bench.example A\n`).join(''))
  const seconds = rate === 0 ? Math.ceil(count / 2_000) : Math.ceil(count / rate)
  await countedRun({ port: us.port, transport: 'udp', names: file, rate, seconds, timesMax: 1 })
  rmSync(file)
}

const head = ['implementation', 'state', 'resident', ...OWNERS, 'threads', 'record cache entries']
console.log(`| ${head.join(' | ')} |\n|${' --- |'.repeat(head.length)}`)

for (const implementation of values.implementations.split(',')) {
  for (let run = 0; run < runs; run++) {
    const upstream = await startUpstream()
    const us = await startUs(upstream, 'tcp', { implementation, threads: Number(values.threads) })
    const tell = async (state: string) => {
      await sleep(settleMs)
      const { resident, threads, owners } = accountOf(us.pid)
      const entries = await us.metric('coredns_cache_entries')
      const cells = [resident, ...OWNERS.map((owner) => owners.get(owner)!)].map((mib) => mib.toFixed(1))
      console.log(`| ${[implementation, state, ...cells, threads, entries].join(' | ')} |`)
    }
    try {
      await tell('at rest')
      for (let pass = 0; pass < 3; pass++) await askFor(us, 'n', names, FILL_RATE)
      await tell(`${names} entries`)
      if (flood > 0) {
        await askFor(us, 'f', flood, 0)
        await tell(`after ${flood} misses`)
      }
      const others = OWNERS.map(() => '')
      console.log(`| ${[implementation, 'at most', us.residentMaxMiB().toFixed(1), ...others, '', ''].join(' | ')} |`)
    } finally {
      await us.stop()
      await upstream.stop()
    }
  }
}
