/** Agents come and go under 5,000 queries a second; bench/load/rolling-upgrade.ts does the same ten times over. */

import assert from 'node:assert/strict'
import { after, afterEach, before, suite, test } from 'node:test'
import { until } from '../common/agent-process.ts'
import { CLUSTER_IP, type KubeProxy, LINK_LOCAL, skipWithoutNode, TestNode } from '../common/test-node.ts'
import { LOAD_CLIENTS, type LoadResult, pipeliningClients, startLoad } from '../common/upgrade.ts'

/** Over each transport. */
const QUERIES_PER_SECOND = 2_500

/** Queries that may be under way on one connection when it ends, on a machine that has other things to do. */
const UNDER_WAY_MAX = 10

for (const kubeProxy of ['nftables', 'iptables-nft'] satisfies KubeProxy[]) {
  suite(`agents under load, kube-proxy with ${kubeProxy}`, { skip: skipWithoutNode() }, () => {
    let node: TestNode

    before(async () => {
      node = await TestNode.make(kubeProxy)
    })
    afterEach(() => node.stopAgents())
    after(() => node?.destroy())

    const loads = async (seconds: number): Promise<{ udp: Promise<LoadResult>; tcp: Promise<LoadResult> }> => {
      const common = { address: CLUSTER_IP, queriesPerSecond: QUERIES_PER_SECOND, seconds }
      const [udp, tcp] = await Promise.all([
        startLoad(node, { transport: 'udp', ...common }),
        startLoad(node, { transport: 'tcp', ...common }),
      ])
      await node.underLoad()
      return { udp: udp.result, tcp: tcp.result }
    }
    const assertNothingLost = ({ sent, lost, responses, text }: LoadResult, more: string) =>
      assert.deepEqual({ lost, responses }, { lost: 0, responses: { NOERROR: sent } }, `${text}\n${more}`)

    test('a new agent takes over from the old one, and no query is lost', async () => {
      const old = await node.agent()
      const { udp, tcp } = await loads(10)
      const next = await node.agent()
      assert.equal(await old.stop(), 0, old.output())
      assert.match(old.output(), /"event":"successor-ready"/)
      // Of the rules, what only the old one had.
      assert.match(old.output(), /"event":"rules-removed","removed":\["table inet [^"]*"\]/)
      assertNothingLost(await udp, old.output())
      const overTcp = await tcp
      assertNothingLost(overTcp, old.output())
      // The connections themselves went over: nobody had to connect anew.
      assert.match(next.output(), /"event":"connections-taken-over"/, old.output())
      assert.match(overTcp.text, /Reconnections:\s+0\b/)
      assert.equal(await node.answerer(LINK_LOCAL, 'udp'), 'agent')
    })

    test('an agent stops, and its clients go on at kube-dns', async () => {
      const agent = await node.agent()
      const { udp, tcp } = await loads(6)
      assert.equal(await agent.stop(), 0, agent.output())
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'kube-dns')
      assertNothingLost(await udp, agent.output())
      // Nobody can tell a client over TCP that the next query is one too many: it may be on its way when the connection ends.
      const { lost, text } = await tcp
      assert.ok(lost <= LOAD_CLIENTS * UNDER_WAY_MAX, text)
    })

    test('clients over TCP that heed edns-tcp-keepalive lose nothing at a stop', async () => {
      const agent = await node.agent({ config: node.config({ shutdown: { lingerMs: 1_000, drainMs: 1_000 } }) })
      const clients = pipeliningClients(node, { queriesPerSecond: QUERIES_PER_SECOND, seconds: 6, heeds: true })
      await node.underLoad()
      assert.equal(await agent.stop(), 0, agent.output())
      const { sent, lost, told } = await clients
      assert.ok(sent > 0)
      // Each of them, and at most once again who came back before the rules were gone for him.
      assert.deepEqual(
        { lost, areTold: told >= LOAD_CLIENTS && told <= 2 * LOAD_CLIENTS },
        { lost: 0, areTold: true },
        `${told}`,
      )
    })

    test('two that stop at once leave nothing behind, and the last takes the interface away', async () => {
      const agents = [await node.agent(), await node.agent()]
      assert.deepEqual(await Promise.all(agents.map((agent) => agent.stop())), [0, 0])
      const left = await node.shell('node', 'ip link; nft list ruleset')
      assert.doesNotMatch(left, /nodelocal/i, agents.map((agent) => agent.output()).join('\n\n'))
    })

    test('the old one goes on until the new one is ready, or gone', async () => {
      const old = await node.agent()
      // Its interface can never be had, so it never gets ready.
      const config = node.config({
        host: { interface: 'other', interfaceType: 'nosuchtype' },
        metrics: { address: '127.0.0.1:0' },
        health: { address: '127.0.0.1:0' },
      })
      const next = await node.agent({ config, until: '"event":"setup-failed"' })
      const stopped = old.stop()
      await old.untilSaid('"event":"not-ready"')
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'agent', old.output())
      await next.kill()
      assert.equal(await stopped, 0)
      await until(
        async () => (await node.answerer(CLUSTER_IP, 'udp')) === 'kube-dns',
        5_000,
        () => old.output(),
      )
    })
  })
}
