/** What the node refuses: said, counted, tried again, and never the end of the process. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, suite, test } from 'node:test'
import { until } from '../common/agent-process.ts'
import { CLUSTER_IP, INTERFACE, LINK_LOCAL, type NodeAgent, skipWithoutNode, TestNode } from '../common/test-node.ts'

const errors = (type: string) =>
  new RegExp(`^coredns_nodecache_setup_errors_total\\{errortype="${type}"\\} (\\d+)`, 'm')

suite('a node that refuses', { skip: skipWithoutNode() }, () => {
  let node: TestNode
  let agent: NodeAgent | undefined

  before(async () => {
    node = await TestNode.make('iptables-legacy')
  })
  afterEach(async () => {
    await agent?.stop()
    agent = undefined
  })
  after(() => node?.destroy())

  const untilReady = async () =>
    await until(
      async () => await agent!.isReady(),
      20_000,
      () => agent!.output(),
    )

  test('holds the xtables lock: the agent answers without rules, is not ready, and writes them when the lock is free', async (t) => {
    const lock = join(node.directory, 'xtables.lock')
    const holder = spawn('flock', ['--no-fork', lock, 'sh', '-c', 'echo held; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    t.after(() => holder.kill('SIGKILL'))
    await once(holder.stdout, 'data')
    const config = node.config({ host: { rules: 'iptables' } })
    const env = { ...process.env, XTABLES_LOCKFILE: lock }
    agent = await node.agent({ config, env, until: '"errortype":"iptables_lock"' })
    await agent.untilSaid('"event":"started"')
    assert.equal(await node.answerer(LINK_LOCAL, 'udp'), 'agent')
    assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'kube-dns')
    assert.equal(await agent.isReady(), false)
    assert.ok((await agent.metric(errors('iptables_lock'))) > 0)
    assert.equal(await agent.metric(/^nodelocal_mcs_rules_present\{backend="iptables-legacy"\} (\d)/m), 0)
    holder.kill('SIGKILL')
    await untilReady()
    assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'agent')
  })

  test('has no nft: the agent answers without rules, and writes them when it is there', async (t) => {
    const bin = join(node.directory, 'bin')
    t.after(() => rm(bin, { recursive: true, force: true }))
    await mkdir(bin)
    await symlink((await node.in('node', 'sh', '-c', 'command -v ip')).trim(), join(bin, 'ip'))
    const config = node.config({ host: { rules: 'nftables' } })
    agent = await node.agent({ config, env: { PATH: bin }, under: ['/usr/bin/env'], until: 'nft is not installed' })
    await agent.untilSaid('"event":"started"')
    assert.equal(await node.answerer(LINK_LOCAL, 'tcp'), 'agent')
    assert.equal(await agent.isReady(), false)
    assert.ok((await agent.metric(errors('nftables'))) > 0)
    await symlink((await node.in('node', 'sh', '-c', 'command -v nft')).trim(), join(bin, 'nft'))
    await untilReady()
    assert.equal(await node.answerer(CLUSTER_IP, 'tcp'), 'agent')
  })

  test('grants no NET_ADMIN: the agent waits alive for the interface, and answers when an operator made it', async (t) => {
    t.after(() => node.shell('node', `ip link delete ${INTERFACE} 2>/dev/null || true`))
    const config = node.config({ host: { rules: 'none' } })
    agent = await node.agent({
      config,
      under: ['setpriv', '--bounding-set=-net_admin'],
      until: '"errortype":"interface_add"',
    })
    assert.match(agent.output(), /needs CAP_NET_ADMIN/)
    assert.match(await agent.page('http://127.0.0.1:8099/healthz'), /"status": "ok"/)
    assert.equal(await agent.isReady(), false)
    assert.ok((await agent.metric(errors('interface_add'))) > 0)
    const addresses = (config['listen'] as { addresses: string[] }).addresses
    const add = addresses.map(
      (address) =>
        `ip address add ${address}/${address.includes(':') ? '128' : '32'} dev ${INTERFACE} ${address.includes(':') ? 'nodad' : ''}`,
    )
    await node.shell('node', [`ip link add ${INTERFACE} type bridge`, ...add].join('\n'))
    await untilReady()
    assert.equal(await node.answerer(LINK_LOCAL, 'udp'), 'agent')
  })

  test('knows no links of the type: the error says what to set, and a stop ends the waiting', async () => {
    const config = node.config({ host: { interfaceType: 'nosuchtype' } })
    agent = await node.agent({ config, until: '"event":"setup-failed"' })
    assert.match(agent.output(), /no links of type nosuchtype; load its module, or set host\.interfaceType/)
    assert.equal(await agent.stop(), 0)
  })

  test('grants no NET_ADMIN for rules, on an interface that an operator made: the agent answers there, counts, and is not ready', async (t) => {
    t.after(() => node.shell('node', `ip link delete ${INTERFACE} 2>/dev/null || true`))
    await node.shell(
      'node',
      `ip link add ${INTERFACE} type bridge
       ip address add ${LINK_LOCAL}/32 dev ${INTERFACE}; ip address add ${CLUSTER_IP}/32 dev ${INTERFACE}`,
    )
    const listen = { addresses: [LINK_LOCAL, CLUSTER_IP] }
    const config = node.config({ listen, host: { rules: 'nftables', fallback: [CLUSTER_IP] } })
    agent = await node.agent({
      config,
      under: ['setpriv', '--bounding-set=-net_admin'],
      until: '"errortype":"nftables"',
    })
    await agent.untilSaid('"event":"started"')
    assert.match(agent.output(), /needs CAP_NET_ADMIN/)
    assert.equal(await node.answerer(LINK_LOCAL, 'udp'), 'agent')
    assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'kube-dns')
    assert.equal(await agent.isReady(), false)
    assert.equal(await agent.metric(/^nodelocal_mcs_fallback_present (\d)/m), 0)
  })

  test('has a kernel without owners of tables: the plain table that stays after a crash leads Pods to kube-dns then', async (t) => {
    const bin = join(node.directory, 'bin')
    t.after(() => rm(bin, { recursive: true, force: true }))
    await mkdir(bin)
    const find = async (name: string) => (await node.in('node', 'sh', '-c', `command -v ${name}`)).trim()
    for (const name of ['ip', 'sh']) await symlink(await find(name), join(bin, name))
    // As Linux 5.10 says it.
    const script = `#!/bin/sh\n[ "$1" = --interactive ] && { echo 'Error: Could not process rule: Operation not supported'; exit 1; }\nexec ${await find('nft')} "$@"\n`
    await writeFile(join(bin, 'nft'), script, { mode: 0o755 })
    const config = node.config({ host: { rules: 'nftables' } })
    agent = await node.agent({ config, env: { PATH: bin }, under: ['/usr/bin/env'] })
    const table = await node.in('node', 'nft', 'list', 'ruleset')
    assert.match(table, /table inet nodelocal_mcs_\w+ \{\n(?!.*flags owner)/)
    for (const transport of ['udp', 'tcp'] as const) assert.equal(await node.answerer(CLUSTER_IP, transport), 'agent')
    await agent.kill()
    await until(
      async () => (await node.answerer(CLUSTER_IP, 'udp')) === 'kube-dns',
      5_000,
      () => 'nobody',
    )
    assert.equal(await node.answerer(CLUSTER_IP, 'tcp'), 'kube-dns')
    assert.match(await node.in('node', 'nft', 'list', 'tables'), /nodelocal_mcs_/)
    assert.equal((await node.teardown(config)).code, 0)
  })

  test('cannot look for sockets in rules: they lead here whether the agent is there or not, and the log says why', async (t) => {
    const bin = join(node.directory, 'bin')
    t.after(() => rm(bin, { recursive: true, force: true }))
    await mkdir(bin)
    const find = async (name: string) => (await node.in('node', 'sh', '-c', `command -v ${name}`)).trim()
    for (const tool of ['iptables', 'ip6tables']) {
      for (const name of ['', '-nft', '-nft-save', '-legacy', '-legacy-save'])
        await symlink(await find(`${tool}${name}`), join(bin, `${tool}${name}`))
      // As an image without the match: without its library the program knows nothing of it.
      const restore = await find(`${tool}-legacy-restore`)
      const script = `#!/bin/sh\ninput=$(cat)\ncase "$input" in *"-m socket"*) echo "Couldn't load match \\\`socket'" >&2; exit 2;; esac\nprintf '%s\\n' "$input" | ${restore} "$@"\n`
      await writeFile(join(bin, `${tool}-legacy-restore`), script, { mode: 0o755 })
    }
    for (const name of ['ip', 'sh', 'cat']) await symlink(await find(name), join(bin, name))
    const config = node.config({ host: { rules: 'iptables' } })
    agent = await node.agent({ config, env: { PATH: bin }, under: ['/usr/bin/env'] })
    assert.match(agent.output(), /whether we are there or not \(.*Couldn't load match `socket'/)
    assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'agent')
    // It was said and written once: nothing is to be mended.
    await agent.untilSaid('"event":"rules-set-up"')
    assert.equal(await agent.metric(/^nodelocal_mcs_host_repairs_total\{what="rules"\} (\d+)/m), 0)
    await agent.kill()
    await until(
      async () => (await node.answerer(CLUSTER_IP, 'udp')) !== 'nobody',
      5_000,
      () => 'silence',
    )
    assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'refused')
    assert.equal((await node.teardown(config)).code, 0)
  })

  /** Of each how many lines of the legacy raw table are left while the agent runs. */
  for (const { rules, jumps } of [
    { rules: 'iptables', jumps: 2 },
    { rules: 'auto', jumps: 0 },
    { rules: 'nftables', jumps: 0 },
  ]) {
    test(`has rules of NodeLocal DNSCache and of an older run, twice each: with ${rules} they are replaced by one set`, async (t) => {
      const comment = '-m comment --comment "NodeLocal DNS Cache: skip conntrack"'
      await node.shell(
        'node',
        `for i in 1 2; do
           iptables-legacy -t raw -I PREROUTING -p udp -d ${CLUSTER_IP} --dport 53 ${comment} -j NOTRACK
           iptables-legacy -t raw -I OUTPUT -p udp -s ${CLUSTER_IP} --sport 53 ${comment} -j NOTRACK
         done
         iptables-legacy -t raw -I PREROUTING -p udp -d 192.0.2.1 --dport 53 ${comment} -j NOTRACK
         iptables-legacy -t raw -N NODELOCAL-MCS-TO
         for i in 1 2; do iptables-legacy -t raw -I PREROUTING -p udp --dport 53 -j NODELOCAL-MCS-TO; done`,
      )
      t.after(() => node.shell('node', 'iptables-legacy -t raw -F'))
      agent = await node.agent({ config: node.config({ host: { rules } }) })
      const raw = (await node.in('node', 'iptables-legacy-save', '-t', 'raw')).split('\n')
      const having = (text: string) => raw.filter((line) => line.includes(text)).length
      // That of another address is somebody else's.
      assert.equal(having('NodeLocal DNS Cache'), 1)
      assert.equal(raw.filter((line) => /-A PREROUTING .*-j NODELOCAL-MCS-TO/.test(line)).length, jumps)
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'agent')
      assert.equal(await agent.stop(), 0)
      assert.doesNotMatch(await node.in('node', 'iptables-legacy-save', '-t', 'raw'), /NODELOCAL-MCS/)
      assert.equal(await node.answerer(CLUSTER_IP, 'udp'), 'kube-dns')
    })
  }

  test('takes its ready file away while it is not ready, and that of one that was killed', async () => {
    const readyFile = join(node.directory, 'ready', 'ready')
    const exists = async () => (await node.shell('node', `test -e ${readyFile} && echo yes || echo no`)).trim()
    // As one that was killed left it.
    await mkdir(join(node.directory, 'ready'))
    await writeFile(readyFile, '')
    const health = { readyFile }
    const never = node.config({ health, host: { interfaceType: 'nosuchtype' } })
    const waiting = await node.agent({ config: never, until: '"event":"setup-failed"' })
    assert.equal(await exists(), 'no')
    await waiting.stop()
    agent = await node.agent({ config: node.config({ health, shutdown: { lingerMs: 3_000 } }) })
    assert.equal(await exists(), 'yes')
    const stopped = agent.stop()
    await agent.untilSaid('"event":"not-ready"')
    assert.equal(await exists(), 'no')
    assert.equal(await stopped, 0)
  })
})
