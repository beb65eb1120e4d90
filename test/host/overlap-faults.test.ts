/** What befalls agents while several of them share a node, and the directory by which they see each other. */

import assert from 'node:assert/strict'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, suite, test } from 'node:test'
import { until } from '../common/agent-process.ts'
import {
  CLUSTER_IP,
  CLUSTER_IP_V6,
  LINK_LOCAL,
  LINK_LOCAL_V6,
  type NodeAgent,
  skipWithoutNode,
  TestNode,
} from '../common/test-node.ts'

const ADDRESSES = [LINK_LOCAL, CLUSTER_IP, LINK_LOCAL_V6, CLUSTER_IP_V6]

/** Each with its own source port, so that the kernel chooses anew. */
const TRIES = 8

for (const rules of ['nftables', 'iptables'] as const) {
  suite(`several agents on a node with rules of ${rules}`, { skip: skipWithoutNode() }, () => {
    let node: TestNode
    const start = (until?: string): Promise<NodeAgent> =>
      node.agent({ config: node.config({ host: { rules } }), ...(until === undefined ? {} : { until }) })

    before(async () => {
      node = await TestNode.make('iptables-nft')
    })
    afterEach(() => node.stopAgents())
    after(() => node?.destroy())

    const assertAnswered = async (agents: readonly NodeAgent[]): Promise<void> => {
      const asked = Array.from({ length: TRIES / 4 }, () =>
        ADDRESSES.flatMap((address) => (['udp', 'tcp'] as const).map((transport) => ({ address, transport }))),
      ).flat()
      const answerers = await Promise.all(asked.map(({ address, transport }) => node.answerer(address, transport)))
      assert.deepEqual(
        answerers,
        asked.map(() => 'agent'),
        agents.map((agent) => agent.output()).join('\n\n'),
      )
    }

    test('the old one is killed while the new one is ready beside it: the new one goes on, and takes everything away in the end', async () => {
      const [old, next] = [await start(), await start()]
      await old.kill()
      await assertAnswered([next])
      assert.equal(await next.stop(), 0)
      assert.doesNotMatch(await node.leftBehind(), /nodelocal/i, next.output())
    })

    test('the new one is killed when it listens, when it has its rules, and when it is ready: the old one goes on', async () => {
      const old = await start()
      for (const moment of ['"event":"udp-implementation"', '"event":"rules-set-up"', '"event":"ready"']) {
        const next = await start(moment)
        await next.kill()
        await assertAnswered([old, next])
      }
      assert.equal(await old.stop(), 0)
      assert.doesNotMatch(await node.leftBehind(), /nodelocal/i, old.output())
    })

    test('the new one is killed while the old one waits for it: the old one leaves by itself', async () => {
      const old = await start()
      const next = await start('"event":"instance-joined"')
      const stopped = old.stop()
      await next.kill()
      assert.equal(await stopped, 0)
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'kube-dns')
      assert.doesNotMatch(await node.leftBehind(), /nodelocal/i, old.output())
    })

    test('two old ones leave at once to a new one: it has everything, and theirs is gone', async () => {
      const olds = [await start(), await start()]
      const next = await start()
      assert.deepEqual(await Promise.all(olds.map((old) => old.stop())), [0, 0])
      for (const old of olds) {
        assert.match(old.output(), /"event":"successor-ready"/)
        assert.match(old.output(), /"event":"interface-left"/)
        assert.doesNotMatch(old.output(), /steering-failed|not-handed-over/)
      }
      await assertAnswered([...olds, next])
      assert.equal(await next.stop(), 0)
      assert.doesNotMatch(await node.leftBehind(), /nodelocal/i, next.output())
    })

    test('the old one stands still (SIGSTOP): the new one waits no longer than for an answer, gets ready, and has everything when the old one is killed', async () => {
      const old = await start()
      old.process.kill('SIGSTOP')
      const next = await start()
      assert.match(next.output(), /"event":"instance-joined".*"phase":"unknown"/)
      await old.kill()
      await assertAnswered([next])
    })
  })
}

suite('a state directory', { skip: skipWithoutNode() }, () => {
  let node: TestNode
  let mounts = 0
  const refusals = /^coredns_nodecache_setup_errors_total\{errortype="state_directory"\} (\d+)/m

  before(async () => {
    node = await TestNode.make('nftables')
  })
  afterEach(() => node.stopAgents())
  after(() => node?.destroy())

  const isJoined = (agent: NodeAgent): boolean => /"event":"instance-joined"/.test(agent.output())

  for (const { promise, spoil, mend } of [
    {
      promise: 'on a disk that is full',
      spoil: (path: string) =>
        `mkdir ${path}; mount -t tmpfs -o size=4k,nr_inodes=3 none ${path}; touch ${path}/a ${path}/b`,
      mend: (path: string) => `rm ${path}/a ${path}/b`,
    },
    {
      promise: 'where a file stands in its place',
      spoil: (path: string) => `touch ${path}`,
      mend: (path: string) => `rm ${path}`,
    },
  ]) {
    test(`${promise}: the agent answers and is ready, says and counts it, and is seen by others when it is mended`, async (t) => {
      const path = join(node.directory, `state-${mounts++}`)
      const run = async (script: string) => await node.outside(script)
      await run(spoil(path))
      t.after(() => run(`umount -l ${path} 2>/dev/null || true; rm -rf ${path}`))
      const config = node.config({ host: { stateDirectory: path } })
      const agent = await node.agent({ config })
      assert.match(agent.output(), /"event":"setup-failed","what":"state directory","errortype":"state_directory"/)
      assert.equal(isJoined(agent), false)
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'agent')
      assert.equal(await agent.isReady(), true)
      assert.ok((await agent.metric(refusals)) > 0)
      await run(mend(path))
      await until(
        () => isJoined(agent),
        20_000,
        () => agent.output(),
      )
      // Another one sees it now, and takes over.
      const next = await node.agent({ config })
      assert.match(next.output(), /"event":"instance-joined".*"phase":"ready"/)
      assert.equal(await agent.stop(), 0)
      assert.match(agent.output(), /"event":"successor-ready"/)
      assert.equal(await next.stop(), 0)
      assert.doesNotMatch(await node.leftBehind(), /nodelocal/i)
    })
  }

  for (const { promise, spoil, under, code } of [
    {
      promise: 'that is read-only',
      spoil: (path: string) => `mount -t tmpfs -o ro none ${path}`,
      under: [],
      code: 'EROFS',
    },
    {
      promise: 'that belongs to somebody else',
      spoil: (path: string) => `chown 1:1 ${path}; chmod 555 ${path}`,
      // Root may write everywhere, unless it may not override who owns what.
      under: ['setpriv', '--bounding-set=-dac_override', '--inh-caps=-dac_override'],
      code: 'EACCES',
    },
  ]) {
    test(`${promise}: the agent answers, and at its end leaves alone what others may use`, async (t) => {
      const path = join(node.directory, `state-${mounts++}`)
      await mkdir(path)
      t.after(() => node.outside(`umount -l ${path} 2>/dev/null || true; rm -rf ${path}`))
      await node.outside(spoil(path))
      const config = node.config({ host: { stateDirectory: path } })
      const agent = await node.agent({ config, under })
      assert.match(agent.output(), new RegExp(`"errortype":"state_directory","error":"use [^"]*${code}`))
      assert.equal(await node.answerer(LINK_LOCAL, 'udp'), 'agent')
      assert.equal(await agent.stop(), 0)
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'kube-dns')
      assert.match(agent.output(), /"event":"interface-left"/)
      assert.match(await node.leftBehind(), /nodelocaldns/)
      const done = await node.teardown(config)
      assert.deepEqual([done.code, /nodelocal/i.test(await node.leftBehind())], [0, false], done.output)
    })
  }

  test('that somebody empties: the agent is seen again, and what a dead one left there harms nobody', async () => {
    const path = node.stateDirectory
    const agent = await node.agent()
    await rm(path, { recursive: true })
    await mkdir(path)
    await writeFile(join(path, 'dead.instance'), '1\n')
    await agent.untilSaid('"event":"instance-joined"', 2)
    const next = await node.agent()
    assert.match(next.output(), /"event":"instance-joined".*"phase":"ready"/)
    assert.doesNotMatch(next.output(), /"id":"dead"/)
    assert.equal(await agent.stop(), 0)
    assert.match(agent.output(), /"event":"successor-ready"/)
    assert.equal(await node.answerer(LINK_LOCAL, 'tcp'), 'agent')
  })
})

suite('a table of connection tracking that is full', { skip: skipWithoutNode() }, () => {
  for (const kubeProxy of ['nftables', 'iptables-legacy'] as const) {
    test(`does not concern local DNS, kube-proxy with ${kubeProxy}`, async (t) => {
      const node = await TestNode.make(kubeProxy)
      t.after(() => node.destroy())
      const agent = await node.agent()
      // nf_conntrack_max is the whole machine's. A full table does no more than this: what would need an entry of its own is dropped.
      await node.shell(
        'node',
        `nft 'table inet full { chain a { type filter hook prerouting priority -150; ct state new ip daddr != 127.0.0.0/8 ip protocol { tcp, udp } drop; ct state new ip6 nexthdr { tcp, udp } drop; }; }'
         conntrack -F 2>/dev/null`,
      )
      for (const address of ADDRESSES)
        for (const transport of ['udp', 'tcp'] as const)
          assert.equal(await node.answerer(address, transport), 'agent', `${transport} ${address}\n${agent.output()}`)
      // Without the agent the same queries need entries, and get none.
      assert.equal(await agent.stop(), 0)
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'nobody')
    })
  }
})
