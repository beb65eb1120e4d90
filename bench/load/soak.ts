// Question: is every answer right, and does memory stay where it is, while full load, a churning zone, flushes, reloads and
// falling workers go on together? The agent is the bundle: `npm run build` first.
//
//   node bench/load/soak.ts [--minutes 10]
//
// dnsperf asks flat out; beside it clients of this process check every answer of theirs: a service's is never older than what
// somebody had seen before and never one that was not published yet, an upstream's is the upstream's. Ends with 1 if one was wrong.

import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import * as dnsPacket from 'dns-packet'
import { startAgentProcess } from '../../test/common/agent-process.ts'
import { BUNDLE, RUNTIME_OPTIONS } from './as-shipped.ts'
import { startUpstream } from './servers.ts'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } })
const endMs = performance.now() + Number(values.minutes) * 60_000

const SERVICES = 50
const UPSTREAM_NAMES = 5_000
const CHECKERS = 8
const CHURN_MS = 50
const FLUSH_MS = 3_000
const RELOAD_MS = 5_000
const FALL_MS = 7_000
const TELL_MS = 15_000
const ANSWER_MS = 3_000

const home = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-soak-'))
const published = Array.from({ length: SERVICES }, () => 0)
const seen = Array.from({ length: SERVICES }, () => 0)
const publish = (service: number): void => {
  const version = ++published[service]!
  const ip = `10.${1 + (version >> 16)}.${(version >> 8) & 255}.${version & 255}`
  const next = join(home, '.next')
  writeFileSync(
    next,
    `apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceImport\nmetadata: { namespace: soak, name: s${service} }\n` +
      `spec: { type: ClusterSetIP, ips: ["${ip}"], ports: [{ port: 80 }] }\n`,
  )
  renameSync(next, join(home, `s${service}.yaml`))
}
for (let service = 0; service < SERVICES; service++) publish(service)

const upstream = await startUpstream()
const config = {
  clusterset: { source: 'manifests', manifests: { directory: home }, ttlSeconds: 5 },
  cache: { maxTtlSeconds: 5 },
  forward: [{ zones: ['.'], upstreams: [`127.0.0.1:${upstream.port}`], transport: 'tcp' }],
}
const agent = await startAgentProcess(config, undefined, {
  main: BUNDLE,
  runtimeOptions: [...RUNTIME_OPTIONS, '--import', new URL('./falling-workers.ts', import.meta.url).href],
})
const names = join(home, '.names')
writeFileSync(
  names,
  Array.from({ length: 2_000 }, (_, i) =>
    i % 4 === 0 ? `s${i % SERVICES}.soak.svc.clusterset.local A\n` : `h${(i * 7) % UPSTREAM_NAMES}.bench.example A\n`,
  ).join(''),
)
const seconds = String(Math.ceil(Number(values.minutes) * 60))
const load = spawn('dnsperf', ['-s', '127.0.0.1', '-p', String(agent.port), '-d', names, '-l', seconds, '-c', '8'], {
  stdio: 'ignore',
})

let asked = 0
let wrong = 0
let unanswered = 0
let late = 0
const isOver = (): boolean => performance.now() > endMs
const residentMiB = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent.process.pid}/status`, 'utf8'))?.[1]) / 1024

async function check(): Promise<void> {
  const socket = createSocket('udp4')
  for (let id = 0; !isOver(); id = (id + 1) & 0xffff) {
    const service = Math.random() < 0.5 ? Math.floor(Math.random() * SERVICES) : undefined
    const name =
      service === undefined
        ? `h${Math.floor(Math.random() * UPSTREAM_NAMES)}.bench.example`
        : `s${service}.soak.svc.clusterset.local`
    const seenBefore = service === undefined ? 0 : seen[service]!
    socket.send(
      dnsPacket.encode({ type: 'query', id, flags: dnsPacket.RECURSION_DESIRED, questions: [{ type: 'A', name }] }),
      agent.port,
      '127.0.0.1',
    )
    let message: Buffer
    try {
      ;[message] = (await once(socket, 'message', { signal: AbortSignal.timeout(ANSWER_MS) })) as [Buffer]
    } catch {
      // Full load: the kernel may drop a datagram. Counted, and told at the end.
      unanswered++
      continue
    }
    const response = dnsPacket.decode(message)
    if (response.id !== id) {
      // The answer to a question that was given up.
      late++
      continue
    }
    asked++
    const data = (response.answers?.[0] as { data?: string } | undefined)?.data ?? 'nothing'
    const problem =
      service === undefined ? (data === '192.0.2.1' ? undefined : data) : problemOf(service, seenBefore, data)
    if (problem !== undefined) {
      wrong++
      console.error(`${name}: ${problem}`)
    }
  }
  socket.close()
}

function problemOf(service: number, seenBefore: number, data: string): string | undefined {
  const [, high, middle, low] = data.split('.').map(Number)
  const version = ((high! - 1) << 16) | (middle! << 8) | low!
  if (!(version >= seenBefore)) return `${data} although version ${seenBefore} had been seen`
  if (version > published[service]!) return `${data} was never published`
  seen[service] = Math.max(seen[service]!, version)
  return undefined
}

async function every(pauseMs: number, work: () => unknown): Promise<void> {
  while (!isOver()) {
    await sleep(Math.min(pauseMs, Math.max(0, endMs - performance.now())))
    await work()
  }
}

let flushes = 0
let reloads = 0
let changes = 0
const resident: number[] = []
await Promise.all([
  ...Array.from({ length: CHECKERS }, check),
  every(CHURN_MS, () => publish(changes++ % SERVICES)),
  every(FLUSH_MS, async () => {
    flushes++
    await agent.health(flushes % 2 === 0 ? '/cache/flush' : '/cache/flush?zone=bench.example', 'POST')
  }),
  every(RELOAD_MS, () => {
    reloads++
    return agent.writeConfig({ ...config, clusterset: { ...config.clusterset, ttlSeconds: 5 + (reloads % 2) } })
  }),
  every(FALL_MS, () => {
    agent.process.kill('SIGUSR2')
  }),
  every(TELL_MS, () => {
    resident.push(residentMiB())
    console.log(`${asked} answers checked, ${wrong} wrong, ${unanswered} unanswered, ${residentMiB().toFixed(0)} MiB`)
  }),
])
const metrics = await agent.metrics()
const sum = (pattern: RegExp) => [...metrics.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0)
const restarts = sum(/^nodelocal_mcs_worker_restarts_total (\d+)$/gm)
if (restarts === 0) throw new Error('no worker fell: the soak is easier than it says')
const answered = sum(/^coredns_dns_responses_total\{.*\} (\d+)$/gm)
console.log(
  `${(answered / 1e6).toFixed(1)} million responses, ${asked} checked, ${wrong} wrong, ${unanswered} unanswered, ${late} late; ` +
    `${changes} changes, ${flushes} flushes, ${reloads} reloads, ${restarts} workers fell; resident MiB every ${TELL_MS / 1000} s: ${resident.map((mib) => mib.toFixed(0)).join(' ')}`,
)
load.kill()
await agent.stop()
await upstream.stop()
rmSync(home, { recursive: true, force: true })
process.exitCode = wrong === 0 ? 0 : 1
