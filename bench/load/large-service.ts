// Question: one headless service of 50,000 endpoints in 500 slices, one of which flaps a hundred times a second: what does
// that do to queries for another name, and what CPU does it take? The same agent is asked before and during; beside its
// figures stands the stall of the bench's own event loop, which only waits: what the machine does to everybody.
// Arguments: slices, endpoints a slice, seconds.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import * as dnsPacket from 'dns-packet'
import { cpuMs, residentMiB, startScaleAgent, startScaleApi } from './scale-agent.ts'

const slices = Number(process.argv[2] ?? 500)
const endpoints = Number(process.argv[3] ?? 100)
const seconds = Number(process.argv[4] ?? 10)
const FLAP_MS = 10
/** Another name at every query, so that none is answered by a worker from what it keeps. */
const QUERY_MS = 5

const folder = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-large-'))
const socket = createSocket('udp4')
const { api, kubeconfig } = await startScaleApi(100, slices, endpoints)
const agent = await startScaleAgent(folder, `{ source: kubernetes, kubernetes: { kubeconfig: "${kubeconfig}" } }`)

async function ask(name: string): Promise<{ rcode: string; count: number }> {
  socket.send(
    dnsPacket.encode({ type: 'query', id: 1, flags: 0x0100, questions: [{ type: 'A', name }] }),
    agent.port,
    '127.0.0.1',
  )
  const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })) as [Buffer]
  const decoded = dnsPacket.decode(message) as dnsPacket.DecodedPacket & { rcode: string }
  return { rcode: decoded.rcode, count: decoded.answers?.length ?? 0 }
}

/** Asks for names that do not exist, one after the other, for a while. */
async function measure(what: string, isFlapping: boolean): Promise<void> {
  const own = monitorEventLoopDelay({ resolution: 10 })
  own.enable()
  await agent.turns()
  const cpuBeforeMs = cpuMs(agent.pid)
  const flapping = isFlapping ? setInterval(() => api.stdin!.write('flap\n'), FLAP_MS) : undefined
  const latencies: number[] = []
  const endMs = performance.now() + seconds * 1000
  for (let i = 0; performance.now() < endMs; i++) {
    const startedMs = performance.now()
    await ask(`n${i}.ns1.svc.clusterset.local`)
    latencies.push(performance.now() - startedMs)
    await sleep(QUERY_MS)
  }
  clearInterval(flapping)
  latencies.sort((one, other) => one - other)
  const at = (part: number): string => latencies[Math.floor((latencies.length - 1) * part)]!.toFixed(2)
  const cells = [
    what,
    at(0.5),
    at(0.99),
    at(1),
    ((cpuMs(agent.pid) - cpuBeforeMs) / seconds / 10).toFixed(1),
    (await agent.turns()).longestMs.toFixed(1),
    Math.max(0, own.max / 1e6 - 10).toFixed(1),
  ]
  console.log(`| ${cells.join(' | ')} |`)
}

try {
  const { rcode } = await ask('large.ns0.svc.clusterset.local')
  console.log(
    `${slices * endpoints} endpoints in ${slices} slices: ready after ${(agent.readyMs / 1000).toFixed(2)} s (${rcode}), ${residentMiB(agent.pid).toFixed(0)} MiB resident\n`,
  )
  console.log(
    '| | query ms, median | p99 | worst | CPU % | longest turn ms | of an idle process |\n| --- | --- | --- | --- | --- | --- | --- |',
  )
  await measure('nothing changes', false)
  await measure('an endpoint flaps', true)
} finally {
  socket.close()
  for (const child of [agent.child, api]) {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
  rmSync(folder, { recursive: true, force: true })
}
