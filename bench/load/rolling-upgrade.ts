/**
 * Question: how many queries do clients lose while agents come and go, and for how long is there nobody when one is killed?
 *
 * Ten times each, on a node in miniature (test/common/test-node.ts): a rolling upgrade and a graceful stop under 5,000 queries a second
 * of dnsperf, half of them over UDP and half over TCP.
 *
 * `kill` is SIGKILL, and `halt` a graceful stop, each with nobody for three seconds and then a start, as a client sees it that asks every 10 ms,
 * over UDP and TCP, at the ClusterIP and the link-local address, IPv4 and IPv6: for each span of time how many of its queries met whom.
 *
 * `losses` repeats the stop with the packets captured in the client's namespace, and tells of each query over TCP that was not
 * answered whether the client sent it before or after it had our end of the connection.
 *
 * `heed` repeats it with clients that pipeline as dnsperf's do and send edns-tcp-keepalive, first such as ignore what they are told, then
 * such as heed it.
 *
 *     node bench/load/rolling-upgrade.ts [nftables|iptables-nft|iptables-legacy|none][:RULES][:fallback] [REPETITIONS] [upgrade,stop,kill,halt,losses,heed]
 *
 * RULES are those of `host.rules`, `auto` by default.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { captureTcp } from '../../test/common/capture.ts'
import {
  CLUSTER_IP,
  CLUSTER_IP_V6,
  type KubeProxy,
  LINK_LOCAL,
  LINK_LOCAL_V6,
  type NodeAgent,
  TestNode,
} from '../../test/common/test-node.ts'
import { type LoadResult, pipeliningClients, startLoad, udpDrops } from '../../test/common/upgrade.ts'

const QUERIES_PER_SECOND = 2_500
const SECONDS = 10
const PROBER = new URL('../../test/common/prober.ts', import.meta.url).pathname

const [where = 'nftables', repetitionsText = '10', what = 'upgrade,stop,kill'] = process.argv.slice(2)
const repetitions = Number(repetitionsText)
const [kubeProxy, rules = 'auto', fallback] = where.split(':')
const node = await TestNode.make(kubeProxy as KubeProxy)
const host = { rules, fallback: fallback === undefined ? [] : [CLUSTER_IP, CLUSTER_IP_V6] }
const config = node.config({ host })
const newAgent = (): Promise<NodeAgent> => node.agent({ config })
const say = (text: string): void => void process.stdout.write(`${text}\n`)

async function underLoad(change: () => Promise<void>): Promise<string> {
  const common = { address: CLUSTER_IP, queriesPerSecond: QUERIES_PER_SECOND, seconds: SECONDS }
  const udp = await startLoad(node, { transport: 'udp', ...common })
  const tcp = await startLoad(node, { transport: 'tcp', ...common })
  await node.underLoad()
  await change()
  const told = ({ sent, lost, text }: LoadResult) =>
    `${lost} of ${sent} lost, reconnections ${/Reconnections:\s+(\d+)/.exec(text)?.[1] ?? '-'}`
  const lost = `udp ${told(await udp.result)}; tcp ${told(await tcp.result)}`
  return `${lost}${await newDrops()}`
}

const dropsBefore: Record<string, number> = {}

/** What the kernels threw away meanwhile, if anything: whether that was at the agent's sockets or at dnsperf's. */
async function newDrops(): Promise<string> {
  const told: string[] = []
  for (const where of ['node', 'pod', 'dns'] as const) {
    for (const [why, count] of Object.entries(await udpDrops(node, where))) {
      const key = `${where} ${why}`
      const since = count - (dropsBefore[key] ?? 0)
      dropsBefore[key] = count
      if (since > 0) told.push(`${since} datagrams dropped at ${where}: ${why}`)
    }
  }
  return told.length === 0 ? '' : ` (${told.join(', ')})`
}

/** Milliseconds after the end at which a span of what clients see begins. */
const SPANS_MS = [-500, 0, 50, 100, 250, 500, 1_000, 2_000, 3_000]

/** With nobody there. */
const ABSENT_MS = 3_000

/** For each transport and address, in each span of time, how many queries met whom. */
async function seenBy(from: 'pod' | 'node', end: (agent: NodeAgent) => Promise<unknown>): Promise<string> {
  const agent = await newAgent()
  const addresses = [LINK_LOCAL, LINK_LOCAL_V6, ...(kubeProxy === 'none' ? [] : [CLUSTER_IP, CLUSTER_IP_V6])]
  const probing = node.in(from, process.execPath, PROBER, '8', '10', '500', ...addresses)
  await sleep(1_500)
  const endedAt = Date.now()
  const ended = end(agent)
  await sleep(ABSENT_MS)
  await ended
  const next = await newAgent()
  const back = Date.now() - endedAt
  const seen = new Map<string, Map<number, Map<string, number>>>()
  for (const line of (await probing).trim().split('\n')) {
    const [at, transport, address, state] = line.split(' ') as [string, string, string, string]
    const span = SPANS_MS.findLast((beginMs) => Number(at) - endedAt >= beginMs)
    if (span === undefined) continue
    const spans = getOrMake(seen, `${transport} ${address}`, () => new Map<number, Map<string, number>>())
    const states = getOrMake(spans, span, () => new Map<string, number>())
    states.set(state, (states.get(state) ?? 0) + 1)
  }
  await next.stop()
  const told = [...seen].map(([asked, spans]) => {
    const each = [...spans].map(
      ([beginMs, states]) => `${beginMs}: ${[...states].map(([state, times]) => `${state} ${times}`).join(', ')}`,
    )
    return `  ${asked} | ${each.join(' | ')}`
  })
  return `ready again after ${back} ms\n${told.join('\n')}`
}

function getOrMake<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const value = map.get(key) ?? make()
  map.set(key, value)
  return value
}

try {
  if (what.includes('upgrade')) {
    let agent = await newAgent()
    for (let time = 1; time <= repetitions; time++) {
      const told = await underLoad(async () => {
        const next = await newAgent()
        await agent.stop()
        agent = next
      })
      say(`upgrade ${time}: ${told}`)
    }
    await agent.stop()
  }
  if (what.includes('stop')) {
    for (let time = 1; time <= repetitions; time++) {
      const agent = await newAgent()
      say(`stop ${time}: ${await underLoad(async () => void (await agent.stop()))}`)
    }
  }
  if (what.includes('losses')) {
    for (let time = 1; time <= repetitions; time++) {
      const agent = await newAgent()
      const losses = await captureTcp(node)
      const common = { address: CLUSTER_IP, queriesPerSecond: QUERIES_PER_SECOND, seconds: SECONDS }
      const tcp = await startLoad(node, { transport: 'tcp', ...common })
      await node.underLoad()
      await agent.stop()
      const { sent, lost } = await tcp.result
      const { queries, beforeEndUs, afterEnd, missed } = await losses()
      say(
        `losses ${time}: ${lost} of ${sent}; of ${queries} in the capture (${missed} packets missed) ${beforeEndUs.length} without an answer were sent before our end arrived (microseconds: ${beforeEndUs.join(', ')}), ${afterEnd} after it`,
      )
    }
  }
  if (what.includes('heed')) {
    for (let time = 1; time <= repetitions; time++) {
      for (const heeds of [false, true]) {
        const agent = await newAgent()
        const clients = pipeliningClients(node, { queriesPerSecond: QUERIES_PER_SECOND, seconds: 5, heeds })
        await node.underLoad()
        await agent.stop()
        const { sent, lost, told, reconnections } = await clients
        say(
          `${heeds ? 'heed' : 'ignore'} ${time}: ${lost} of ${sent} lost, ${told} connections told, ${reconnections} anew`,
        )
      }
    }
  }
  for (const [name, end] of [
    ['kill', (agent: NodeAgent) => agent.kill()],
    ['halt', (agent: NodeAgent) => agent.stop()],
  ] as const) {
    if (!what.includes(name)) continue
    for (let time = 1; time <= Math.min(3, repetitions); time++) {
      for (const from of ['pod', 'node'] as const)
        say(`${name} ${time}, by milliseconds after it, from the ${from}: ${await seenBy(from, end)}`)
    }
  }
} finally {
  await node.destroy()
}
