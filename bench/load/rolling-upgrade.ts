/**
 * Question: how many queries do clients lose while agents come and go, and for how long is there nobody when one is killed?
 *
 * Ten times each, on a node in miniature (test/common/test-node.ts): a rolling upgrade and a graceful stop under 5,000 queries a second
 * of dnsperf, half of them over UDP and half over TCP; then SIGKILL and an immediate restart, seen by a client that asks every 10 ms.
 *
 * `losses` repeats the stop with the packets captured in the client's namespace, and tells of each query over TCP that was not
 * answered whether the client sent it before or after it had our end of the connection.
 *
 * `heed` repeats it with clients that pipeline as dnsperf's do and send edns-tcp-keepalive, first such as ignore what they are told, then
 * such as heed it.
 *
 *     node bench/load/rolling-upgrade.ts [nftables|iptables-nft|iptables-legacy] [REPETITIONS] [upgrade,stop,kill,losses,heed]
 */

import { captureTcp } from '../../test/common/capture.ts'
import { CLUSTER_IP, type KubeProxy, LINK_LOCAL, TestNode } from '../../test/common/test-node.ts'
import { type LoadResult, pipeliningClients, startLoad, udpDrops } from '../../test/common/upgrade.ts'

const QUERIES_PER_SECOND = 2_500
const SECONDS = 10
const PROBER = new URL('../../test/common/prober.ts', import.meta.url).pathname

const [kubeProxy = 'nftables', repetitionsText = '10', what = 'upgrade,stop,kill'] = process.argv.slice(2)
const repetitions = Number(repetitionsText)
const node = await TestNode.make(kubeProxy as KubeProxy)
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

/** Each state that the client saw, with when it began and how long it lasted, in milliseconds after the kill. */
async function seenBy(address: string): Promise<string> {
  let agent = await node.agent()
  const probing = node.in('pod', process.execPath, PROBER, address, '6')
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const killedAt = Date.now()
  await agent.kill()
  agent = await node.agent()
  const states: { state: string; from: number; to: number }[] = []
  for (const line of (await probing).trim().split('\n')) {
    const [at, state] = line.split(' ') as [string, string]
    const when = Number(at) - killedAt
    const last = states.at(-1)
    if (last?.state === state) last.to = when
    else states.push({ state, from: when, to: when })
  }
  await agent.stop()
  return states.map(({ state, from, to }) => `${state} ${from}..${to}`).join(', ')
}

try {
  if (what.includes('upgrade')) {
    let agent = await node.agent()
    for (let time = 1; time <= repetitions; time++) {
      const told = await underLoad(async () => {
        const next = await node.agent()
        await agent.stop()
        agent = next
      })
      say(`upgrade ${time}: ${told}`)
    }
    await agent.stop()
  }
  if (what.includes('stop')) {
    for (let time = 1; time <= repetitions; time++) {
      const agent = await node.agent()
      say(`stop ${time}: ${await underLoad(async () => void (await agent.stop()))}`)
    }
  }
  if (what.includes('losses')) {
    for (let time = 1; time <= repetitions; time++) {
      const agent = await node.agent()
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
        const agent = await node.agent()
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
  if (what.includes('kill')) {
    for (let time = 1; time <= Math.min(3, repetitions); time++) {
      for (const address of [CLUSTER_IP, LINK_LOCAL])
        say(`kill ${time}, ms after it at ${address}: ${await seenBy(address)}`)
    }
  }
} finally {
  await node.destroy()
}
