/** Interface and rules on a node in miniature: who answers a client in each state, for each way of writing rules. */

import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { until } from '../common/agent-process.ts'
import {
  type Answerer,
  CLUSTER_ANSWER,
  CLUSTER_IP,
  CLUSTER_IP_V6,
  CLUSTER_NAME,
  INTERFACE,
  type KubeProxy,
  LINK_LOCAL,
  LINK_LOCAL_V6,
  type NodeAgent,
  skipWithoutNode,
  TestNode,
} from '../common/test-node.ts'

const ADDRESSES = [LINK_LOCAL, CLUSTER_IP, LINK_LOCAL_V6, CLUSTER_IP_V6]
const LINK_LOCALS = [LINK_LOCAL, LINK_LOCAL_V6]
const CLUSTER_IPS = [CLUSTER_IP, CLUSTER_IP_V6]

/** A ClusterIP of each IP version. */
const FALLBACK = [CLUSTER_IP, CLUSTER_IP_V6]

interface NodeCase {
  readonly kubeProxy: KubeProxy
  readonly rules: 'auto' | 'nftables' | 'iptables'
  readonly fallback: readonly string[]
  readonly backend: string
}

const nodes: readonly NodeCase[] = [
  { kubeProxy: 'nftables', rules: 'auto', fallback: FALLBACK, backend: 'nftables' },
  { kubeProxy: 'iptables-nft', rules: 'auto', fallback: FALLBACK, backend: 'nftables+iptables-nft' },
  { kubeProxy: 'iptables-legacy', rules: 'auto', fallback: FALLBACK, backend: 'nftables+iptables-legacy' },
  // The hooks of the kernel are the same ones: untracked is untracked.
  { kubeProxy: 'iptables-legacy', rules: 'nftables', fallback: [], backend: 'nftables' },
  { kubeProxy: 'iptables-nft', rules: 'iptables', fallback: [], backend: 'iptables-nft' },
  { kubeProxy: 'iptables-legacy', rules: 'iptables', fallback: [], backend: 'iptables-legacy' },
]

for (const { kubeProxy, rules, fallback, backend } of nodes) {
  const where = `${kubeProxy}, rules: ${rules}${fallback.length === 0 ? '' : ', with a fallback'}`
  const endsWithProcess = backend.startsWith('nftables')
  const hasFallback = fallback.length > 0
  suite(`a node whose kube-proxy uses ${where}`, { skip: skipWithoutNode() }, () => {
    let node: TestNode
    let agent: NodeAgent
    const options = () => ({ config: node.config({ host: { rules, fallback } }) })

    /** Over both transports, all at once. */
    const assertAnswerer = async (addresses: readonly string[], wanted: Answerer, where: 'pod' | 'node' = 'pod') => {
      const asked = addresses.flatMap((address) =>
        (['udp', 'tcp'] as const).map((transport) => ({ address, transport })),
      )
      const answers = await Promise.all(
        asked.map(
          async ({ address, transport }) => `${transport} ${address} ${await node.answerer(address, transport, where)}`,
        ),
      )
      const expected = asked.map(({ address, transport }) => `${transport} ${address} ${wanted}`)
      assert.deepEqual(answers, expected, `from the ${where}\n${answers.join('\n')}\n${agent?.output()}`)
    }

    /** One port of a client asks the link-local address and the ClusterIP in turn: each answer comes from whom it asked. */
    const assertOwnAnswers = async () => {
      for (const where of ['pod', 'node'] as const) {
        for (const [address, source] of [
          [LINK_LOCAL, '0.0.0.0#40053'],
          [CLUSTER_IP, '0.0.0.0#40053'],
          [LINK_LOCAL, '0.0.0.0#40053'],
          [LINK_LOCAL_V6, '::#40053'],
          [CLUSTER_IP_V6, '::#40053'],
        ] as const) {
          const args = [`@${address}`, '-b', source, '+tries=1', '+time=2', '+short', CLUSTER_NAME, 'A']
          assert.equal((await node.in(where, 'dig', ...args)).trim(), CLUSTER_ANSWER, `${where} ${address}`)
        }
      }
    }

    before(async () => {
      node = await TestNode.make(kubeProxy)
    })
    after(() => node?.destroy())

    test('has kube-dns at the ClusterIP before there is an agent', () => assertAnswerer(CLUSTER_IPS, 'kube-dns'))

    test(`leads every address and transport to the agent when it is ready, with rules of ${backend}`, async () => {
      agent = await node.agent(options())
      const why = rules === 'auto' ? 'kube-proxy uses' : 'the configuration says so'
      assert.match(agent.output(), new RegExp(`"backend":"${backend.replace('+', '\\+')}".*${why}`))
      await assertAnswerer(ADDRESSES, 'agent')
      await assertAnswerer(ADDRESSES, 'agent', 'node')
    })

    test('tracks none of it', async () => {
      await node.shell('node', 'conntrack -F 2>/dev/null')
      await assertAnswerer(ADDRESSES, 'agent')
      assert.deepEqual(await node.trackedFlows(), [])
    })

    test('puts the interface back when somebody deletes it', async () => {
      await node.shell('node', `ip link delete ${INTERFACE}`)
      await agent.untilSaid('"event":"interface-repaired"')
      await assertAnswerer(ADDRESSES, 'agent')
      assert.equal(await agent.metric(/^nodelocal_mcs_host_repairs_total\{what="interface"\} (\d+)/m), 1)
    })

    test('puts an address back when somebody takes it away', async () => {
      await node.shell(
        'node',
        `ip address delete ${CLUSTER_IP}/32 dev ${INTERFACE}; ip -6 address delete ${LINK_LOCAL_V6}/128 dev ${INTERFACE}`,
      )
      await agent.untilSaid('"event":"interface-repaired"', 2)
      await assertAnswerer(ADDRESSES, 'agent')
    })

    test('keeps its rules, or puts them back, when somebody flushes all there are', async () => {
      const variant = /iptables-(\w+)/.exec(backend)?.[1]
      const flush = [
        // Those of the fallback, too; what an owner has stays.
        ...(endsWithProcess && kubeProxy === 'nftables' ? ['nft flush ruleset; nft -f "$0"'] : []),
        ...(hasFallback && kubeProxy !== 'nftables' ? ['nft delete table inet nodelocal_dns_fallback'] : []),
        ...(variant === undefined
          ? []
          : [`for f in iptables ip6tables; do for t in raw filter; do $f-${variant} -t $t -F; done; done`]),
      ].join('\n')
      await node.in('node', 'sh', '-ec', flush, `${node.directory}/kube-proxy.nft`)
      await until(
        async () => (await node.answerer(CLUSTER_IP, 'udp')) === 'agent',
        5_000,
        () => agent.output(),
      )
      await assertAnswerer(ADDRESSES, 'agent')
      if (hasFallback) await agent.untilSaid('"event":"fallback-repaired"')
    })

    test(`leads the ClusterIP back to kube-dns at a stop, and leaves nothing${hasFallback ? ' but the fallback' : ''}`, async () => {
      assert.equal(await agent.stop(), 0, agent.output())
      await assertAnswerer(CLUSTER_IPS, 'kube-dns')
      await assertAnswerer(LINK_LOCALS, hasFallback ? 'kube-dns' : 'nobody')
      if (hasFallback) await assertAnswerer(ADDRESSES, 'kube-dns', 'node')
      if (hasFallback) await assertOwnAnswers()
      const left = await node.leftBehind()
      assert.equal(/table inet nodelocal_dns_fallback/.test(left), hasFallback)
      assert.doesNotMatch(left.replaceAll('nodelocal_dns_fallback', ''), /nodelocal/i)
    })

    test('after SIGKILL Pods go on at kube-dns, at the link-local address with a fallback, and are refused there without one; a restart takes over again', async () => {
      agent = await node.agent(options())
      await agent.kill()
      await until(
        async () => (await node.answerer(CLUSTER_IP, 'udp')) !== 'nobody',
        5_000,
        () => 'silence',
      )
      await assertAnswerer(CLUSTER_IPS, 'kube-dns')
      await assertAnswerer(LINK_LOCALS, hasFallback ? 'kube-dns' : 'refused')
      await assertAnswerer(CLUSTER_IPS, endsWithProcess ? 'kube-dns' : 'refused', 'node')
      await assertAnswerer(LINK_LOCALS, hasFallback ? 'kube-dns' : 'refused', 'node')
      agent = await node.agent(options())
      await assertAnswerer(ADDRESSES, 'agent')
    })

    test('teardown leaves a running agent alone, undoes what a dead one left, and may be repeated', async () => {
      const refused = await node.teardown(options().config)
      assert.deepEqual([refused.code, /an agent is running/.test(refused.output)], [1, true], refused.output)
      await agent.kill()
      for (let time = 0; time < 2; time++) {
        const done = await node.teardown(options().config)
        assert.equal(done.code, 0, done.output)
      }
      await assertAnswerer(CLUSTER_IPS, 'kube-dns')
      assert.doesNotMatch(await node.leftBehind(), /nodelocal/i)
    })
  })
}
