// Question: random names flood the agent at a steady rate while a thousand names go on being asked for: how many of those
// are still hits, how long do they take at worst, and how much memory does it come to?
//
//   node bench/load/random-flood.ts [--rate 10000] [--seconds 20] [--hot-rate 500]
//
// Two dnsperf: one asks for names that nobody asked for before, the other for the hot names in turns and prints how long
// each response took. The flood can have no hits, so all that the agent counts are the hot names'. A stall of the event
// loop delays every query that waits: the slowest hot response is an upper bound of the longest one, and the agent's own
// measure of its loop's delay stands beside it.

import { rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { countedRun, latencyRun, percentile } from './dnsperf.ts'
import { startUpstream, startUs } from './servers.ts'

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '10000' },
    seconds: { type: 'string', default: '20' },
    'hot-rate': { type: 'string', default: '500' },
  },
})
const [rate, seconds, hotRate] = [Number(values.rate), Number(values.seconds), Number(values['hot-rate'])]
const HOT_NAMES = 1_000
/** Measured after the hot names are in the cache, and the flood has filled the rest. */
const FILL_SECONDS = 8

const file = (name: string) => join(tmpdir(), `nodelocal-mcs-flood-${process.pid}-${name}`)
const hot = file('hot')
writeFileSync(hot, Array.from({ length: HOT_NAMES }, (_, i) => `hot${i}.bench.example A\n`).join(''))

const head = [
  'upstream over',
  'flood/s',
  'hot names hit',
  'hot p50 µs',
  'hot p99.9 µs',
  'slowest µs',
  'loop delay, worst ms',
]
console.log(
  `| ${[...head, 'evictions', 'MiB at rest', 'MiB at most'].join(' | ')} |\n|${' --- |'.repeat(head.length + 3)}`,
)
for (const transport of ['udp', 'tcp'] as const) {
  const upstream = await startUpstream()
  const us = await startUs(upstream, transport)
  try {
    const atRest = us.residentMiB()
    const floodOf = (part: string, forSeconds: number) => {
      const names = file(part)
      const count = Math.ceil(rate * forSeconds)
      writeFileSync(names, Array.from({ length: count }, (_, i) => `r${i}x${part}.bench.example A\n`).join(''))
      return countedRun({ port: us.port, transport: 'udp', names, rate, seconds: forSeconds }).finally(() =>
        rmSync(names),
      )
    }
    const hotFor = (forSeconds: number) =>
      latencyRun({ port: us.port, transport: 'udp', names: hot, rate: hotRate, seconds: forSeconds }, file('out'))
    await Promise.all([hotFor(FILL_SECONDS), floodOf(`${transport}fill`, FILL_SECONDS)])
    await us.metric('up') // the worst delay is told anew after every scrape
    const hitsBefore = await us.metric('coredns_cache_hits_total')
    const [latencies, flood] = await Promise.all([hotFor(seconds), floodOf(transport, seconds)])
    const worstDelay = await us.metric('nodelocal_mcs_event_loop_delay_seconds', 'statistic="max"')
    const hits = (await us.metric('coredns_cache_hits_total')) - hitsBefore
    const cells = [
      transport,
      flood.answeredPerSecond.toFixed(0),
      `${((100 * hits) / latencies.length).toFixed(1)} %`,
      percentile(latencies, 0.5).toFixed(0),
      percentile(latencies, 0.999).toFixed(0),
      (latencies.at(-1) ?? Number.NaN).toFixed(0),
      (worstDelay * 1000).toFixed(1),
      await us.metric('coredns_cache_evictions_total'),
      atRest.toFixed(0),
      us.residentMaxMiB().toFixed(0),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  } finally {
    await us.stop()
    await upstream.stop()
    rmSync(file('out'), { force: true })
  }
}
rmSync(hot)
