/**
 * What a client that never stops asking meets when its agent goes, in each kind of rules: in which order, not how fast. docs/operations.md has
 * the milliseconds, by bench/load/rolling-upgrade.ts.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, afterEach, before, suite, test } from 'node:test'
import {
  CLUSTER_IP,
  CLUSTER_IP_V6,
  type KubeProxy,
  LINK_LOCAL,
  LINK_LOCAL_V6,
  type NodeAgent,
  skipWithoutNode,
  TestNode,
} from '../common/test-node.ts'

const PROBER = new URL('../common/prober.ts', import.meta.url).pathname

const CLUSTER_IPS = [CLUSTER_IP, CLUSTER_IP_V6]
const LINK_LOCALS = [LINK_LOCAL, LINK_LOCAL_V6]

/** Long enough for the kernel's second SYN on a busy machine; what is silent for so long is. */
const SILENCE_MS = '3000'
const PERIOD_MS = '200'
const SECONDS = '6'

interface ModeCase {
  readonly kubeProxy: KubeProxy
  readonly rules: 'auto' | 'iptables' | 'none'
  readonly fallback: readonly string[]
  /** Those that kube-dns takes over. */
  readonly failOver: readonly string[]
  /** Those that nobody does: refused after a crash. */
  readonly refused: readonly string[]
}

const modes: readonly ModeCase[] = [
  {
    kubeProxy: 'nftables',
    rules: 'auto',
    fallback: CLUSTER_IPS,
    failOver: [...CLUSTER_IPS, ...LINK_LOCALS],
    refused: [],
  },
  {
    kubeProxy: 'iptables-nft',
    rules: 'auto',
    fallback: CLUSTER_IPS,
    failOver: [...CLUSTER_IPS, ...LINK_LOCALS],
    refused: [],
  },
  { kubeProxy: 'iptables-nft', rules: 'iptables', fallback: [], failOver: CLUSTER_IPS, refused: LINK_LOCALS },
  { kubeProxy: 'iptables-legacy', rules: 'iptables', fallback: [], failOver: CLUSTER_IPS, refused: LINK_LOCALS },
  { kubeProxy: 'none', rules: 'none', fallback: [], failOver: [], refused: LINK_LOCALS },
]

for (const { kubeProxy, rules, fallback, failOver, refused } of modes) {
  const where = `kube-proxy ${kubeProxy}, rules ${rules}${fallback.length > 0 ? ' and a fallback' : ''}`
  suite(`the way from the agent to kube-dns: ${where}`, { skip: skipWithoutNode() }, () => {
    let node: TestNode
    const addresses = [...failOver, ...refused]

    before(async () => {
      node = await TestNode.make(kubeProxy)
    })
    afterEach(() => node.stopAgents())
    after(() => node?.destroy())

    /** Of each transport and address, the states in the order in which they were met, each once for as long as it lasted. */
    const seenWhile = async (end: (agent: NodeAgent) => Promise<unknown>): Promise<Map<string, string[]>> => {
      const listen = { addresses: [...LINK_LOCALS, ...(rules === 'none' ? [] : CLUSTER_IPS)] }
      const agent = await node.agent({ config: node.config({ listen, host: { rules, fallback } }) })
      const prober = node.spawn('pod', process.execPath, [PROBER, SECONDS, PERIOD_MS, SILENCE_MS, ...addresses])
      let said = ''
      prober.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()))
      await node.underLoad(200)
      await end(agent)
      if (prober.exitCode === null) await once(prober, 'close')
      const seen = new Map<string, string[]>()
      for (const line of said.trim().split('\n')) {
        const [, transport, address, state] = line.split(' ') as [string, string, string, string]
        const states = seen.get(`${transport} ${address}`) ?? []
        if (states.at(-1) !== state) states.push(state)
        seen.set(`${transport} ${address}`, states)
      }
      return seen
    }

    test('after SIGKILL a client turns to kube-dns once and for all, and where nobody takes over it is refused', async () => {
      const seen = await seenWhile((agent) => agent.kill())
      for (const transport of ['udp', 'tcp']) {
        for (const address of failOver) {
          const states = seen.get(`${transport} ${address}`)!
          const told = `${transport} ${address}: ${states.join(', ')}`
          assert.equal(states.indexOf('kube-dns'), states.length - 1, told)
        }
        for (const address of refused) {
          const states = seen.get(`${transport} ${address}`)!
          // Over UDP the kernel refuses a client only so often.
          const wanted = transport === 'tcp' ? ['refused'] : ['refused', 'silence']
          assert.ok(states.includes('refused'), states.join(', '))
          assert.ok(wanted.includes(states.at(-1)!), `${transport} ${address}: ${states.join(', ')}`)
        }
      }
    })

    test('at a graceful stop it is answered all the way', async () => {
      const seen = await seenWhile((agent) => agent.stop())
      for (const address of failOver) {
        assert.deepEqual(seen.get(`udp ${address}`), ['agent', 'kube-dns'], address)
        // A connection that begins as the rules change may be reset; it is not left hanging.
        const overTcp = seen.get(`tcp ${address}`)!
        assert.equal(overTcp.at(-1), 'kube-dns', overTcp.join(', '))
        assert.equal(overTcp.includes('silence'), false, overTcp.join(', '))
      }
      for (const address of refused) assert.equal(seen.get(`udp ${address}`)![0], 'agent')
    })
  })
}
