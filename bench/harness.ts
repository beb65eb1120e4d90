/** Times a step: many samples of many calls, told as median, tail and spread, with what they were measured on. */

import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'

/** `BENCH_QUICK=1`: only whether it runs; its figures say nothing. */
const isQuick = process.env['BENCH_QUICK'] === '1'
const SAMPLES = isQuick ? 5 : 200
/** Milliseconds that one sample should take: long against the timer, short against a neighbour's turn. */
const SAMPLE_MS = 2
const WARM_UP_MS = isQuick ? 20 : 300

/** Runs a step over and over and prints one row; `perCall` is how many things one call does. */
export function bench(question: string, step: () => void, perCall = 1): void {
  const warmUpEndMs = performance.now() + WARM_UP_MS
  let calls = 0
  while (performance.now() < warmUpEndMs) {
    step()
    calls++
  }
  const callsPerSample = Math.max(1, Math.round((calls / WARM_UP_MS) * SAMPLE_MS))
  const nanoseconds: number[] = []
  for (let sample = 0; sample < SAMPLES; sample++) {
    const startMs = performance.now()
    for (let call = 0; call < callsPerSample; call++) step()
    nanoseconds.push(((performance.now() - startMs) * 1e6) / callsPerSample / perCall)
  }
  nanoseconds.sort((one, other) => one - other)
  const at = (part: number) => nanoseconds[Math.floor((nanoseconds.length - 1) * part)]!.toFixed(0)
  console.log(`| ${question} | ${at(0.5)} | ${at(0.99)} | ${at(0.1)} to ${at(0.9)} |`)
}

/** The head of a table: where, on what, of which commit. */
export function heading(title: string): void {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  console.log(
    `\n## ${title}\n\n${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}, commit ${commit}\n`,
  )
  console.log('| question | median ns | p99 ns | 10 to 90 % |\n| --- | --- | --- | --- |')
}
