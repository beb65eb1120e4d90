/** `nodelocal-mcs explain` against a running agent: what it says of every way that a question can go, and that it changes nothing. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { stringify } from 'yaml'
import type { Explanation } from '../../src/agent/explain/explanation.ts'
import { IgnoredBook } from '../../src/control/ignored-book.ts'
import { ObjectIntake } from '../../src/control/object-intake.ts'
import { ObjectStore } from '../../src/control/object-store.ts'
import { writeSnapshot } from '../../src/control/snapshot.ts'
import { upstreamQuery } from '../../src/dns/wire/upstream-query.ts'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { writeKubeconfig } from '../common/kubeconfig.ts'
import { SILENT, startUpstream, type TestUpstream } from '../common/upstream.ts'
import { questionFor } from '../common/wire.ts'
import { clusterSetIp, headless, slice } from '../control/support.ts'

const MAIN = new URL('../../cmd/nodelocal-mcs/main.ts', import.meta.url).pathname
const EXAMPLES = new URL('../../examples/clusterset', import.meta.url).pathname
const CHANGE_MS = 10_000

/** Objects beside the examples, each with something wrong. */
const WANTING = [
  { ...headless('asleep', 'shop') },
  {
    ...slice('asleep-east', 'asleep', [], 'shop'),
    endpoints: [{ addresses: ['10.1.0.1'], conditions: { ready: false } }],
  },
  { ...clusterSetIp('pending', '', 'shop'), spec: { type: 'ClusterSetIP', ips: [], ports: [] } },
  { ...clusterSetIp('odd', '', 'shop'), spec: { type: 'ClusterIP' } },
  { ...clusterSetIp('down', '10.42.0.9', 'shop') },
  { ...slice('down-east', 'down', [], 'shop'), endpoints: [{ addresses: ['10.1.0.9'], conditions: { ready: false } }] },
]

interface Said {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command as an operator does. */
async function run(...args: string[]): Promise<Said> {
  const child = spawn(process.execPath, [MAIN, 'explain', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const code = await new Promise<number | null>((ended) => child.on('close', ended))
  return { code, stdout, stderr }
}

async function explained(agent: AgentProcess, name: string, type = 'A', more = ''): Promise<Explanation> {
  const { status, body } = await agent.health(`/explain?name=${encodeURIComponent(name)}&type=${type}${more}`)
  assert.equal(status, 200, body)
  return JSON.parse(body) as Explanation
}

const ask = (agent: AgentProcess, name: string) => askUdp(agent.port, upstreamQuery(questionFor(name), 7, false))

suite('explain, end to end', () => {
  let agent: AgentProcess
  let upstream: TestUpstream
  let manifests: string

  before(async () => {
    upstream = await startUpstream()
    manifests = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-manifests-'))
    await cp(EXAMPLES, manifests, { recursive: true })
    await writeFile(join(manifests, 'wanting.yaml'), WANTING.map((object) => stringify(object)).join('---\n'))
    agent = await startAgentProcess({
      clusterset: { source: 'manifests', manifests: { directory: manifests } },
      forward: [{ zones: ['example', 'cluster.local'], upstreams: [`127.0.0.1:${upstream.port}`], transport: 'tcp' }],
      cache: { maxTtlSeconds: 1, serveStale: { clientTimeoutMs: 100 } },
    })
  })
  after(async () => {
    await agent?.stop()
    await upstream?.stop()
    await rm(manifests, { recursive: true, force: true })
  })

  const verdicts = [
    { name: 'web.shop.svc.clusterset.local', rcode: 'NOERROR', by: 'zone', reason: 'records' },
    { name: 'web.shop.svc.clusterset.local', type: 'TXT', rcode: 'NOERROR', by: 'zone', reason: 'no-such-type' },
    { name: 'WEB.Shop.svc.clusterset.local.', type: 'ANY', rcode: 'NOERROR', by: 'zone', reason: 'records' },
    { name: 'clusterset.local', type: 'SOA', rcode: 'NOERROR', by: 'zone', reason: 'records' },
    { name: 'shop.svc.clusterset.local', rcode: 'NOERROR', by: 'zone', reason: 'empty-non-terminal' },
    { name: 'svc.clusterset.local', rcode: 'NOERROR', by: 'zone', reason: 'empty-non-terminal' },
    { name: 'nobody.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-such-namespace' },
    { name: 'web.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'outside-schema' },
    { name: 'wbe.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-service-import' },
    { name: 'odd.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'service-import-ignored' },
    { name: 'asleep.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-ready-endpoints' },
    { name: 'pending.shop.svc.clusterset.local', rcode: 'NOERROR', by: 'zone', reason: 'no-address' },
    { name: '_ftp._tcp.web.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-such-port' },
    { name: '_tcp.web.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'name-between' },
    { name: 'a.east.web.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-endpoint-names' },
    { name: 'db-2.west.db.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-such-endpoint' },
    { name: 'db-0.north.db.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'no-such-cluster' },
    { name: 'east.db.shop.svc.clusterset.local', rcode: 'NXDOMAIN', by: 'zone', reason: 'cluster-name' },
    {
      name: 'web.shop.svc.clusterset.local.svc.cluster.local',
      rcode: 'NXDOMAIN',
      by: 'agent',
      reason: 'search-suffix',
    },
    { name: 'localhost', rcode: 'NOERROR', by: 'agent', reason: 'special-name' },
    { name: 'router.invalid', rcode: 'NXDOMAIN', by: 'agent', reason: 'special-name' },
    { name: 'x.self.nodelocal-mcs.invalid', type: 'TXT', rcode: 'NOERROR', by: 'agent', reason: 'own-name' },
    { name: 'www.example.org', rcode: 'REFUSED', by: 'agent', reason: 'no-route' },
    { name: 'example', type: 'AXFR', rcode: 'REFUSED', by: 'accept', reason: 'refused-type' },
    { name: 'unasked.example', rcode: null, by: 'upstream', reason: 'ask-upstream' },
  ]
  for (const { name, type = 'A', rcode, by, reason } of verdicts) {
    test(`${name} ${type}: ${rcode ?? 'an upstream decides'}, ${reason}; and the agent answers so`, async () => {
      const { verdict, response } = await explained(agent, name, type)
      assert.deepEqual({ rcode: verdict.rcode, by: verdict.by, reason: verdict.reason }, { rcode, by, reason })
      if (rcode === null) return
      const types: Record<string, number> = { A: 1, TXT: 16, SOA: 6, ANY: 255, AXFR: 252 }
      const query = upstreamQuery(questionFor(name, types[type]), 7, false)
      const answered = await askTcp(agent.port, query)
      const rcodes: Record<string, number> = { NOERROR: 0, NXDOMAIN: 3, REFUSED: 5 }
      assert.equal(answered[3]! & 15, rcodes[rcode])
      if (response !== null) assert.equal(answered.length, response.octets)
    })
  }

  test('a record is told with the objects that it comes from, and those with their endpoints', async () => {
    const { clusterset } = await explained(agent, 'db.shop.svc.clusterset.local')
    const addresses = clusterset?.name.rrsets.find(({ type }) => type === 'A')?.records
    assert.deepEqual(addresses, [
      { data: '10.1.0.10', from: ['EndpointSlice shop/imported-east-db'] },
      { data: '10.1.0.11', from: ['EndpointSlice shop/imported-east-db'] },
      { data: '10.2.0.10', from: ['EndpointSlice shop/imported-west-db'] },
    ])
    assert.deepEqual(
      clusterset?.service?.slices.map(({ object, cluster, ready, notReady }) => [object, cluster, ready, notReady]),
      [
        ['shop/imported-east-db', 'east', 2, 0],
        ['shop/imported-west-db', 'west', 1, 1],
      ],
    )
    assert.equal(clusterset?.state, 'synced')
  })

  test('a service of another name or namespace is suggested where the asked one is not imported', async () => {
    assert.deepEqual((await explained(agent, 'wbe.shop.svc.clusterset.local')).clusterset?.suggestions, ['shop/web'])
    assert.deepEqual((await explained(agent, 'web.store.svc.clusterset.local')).clusterset?.suggestions, ['shop/web'])
  })

  test('an address without a ready endpoint behind it is noted', async () => {
    const { verdict, notes } = await explained(agent, 'down.shop.svc.clusterset.local')
    assert.equal(verdict.reason, 'records')
    assert.match(notes.join(), /no endpoint of the service is ready/)
  })

  test('to look changes nothing: no query goes out, none is counted, nothing is marked as asked for', async () => {
    await ask(agent, 'counted.example')
    // What the agent asks itself all the time is not ours.
    const counted = async () =>
      (await agent.metrics())
        .split('\n')
        .filter((line) => /^coredns_(dns_requests|cache_(hits|misses|requests)|forward_requests)_total/.test(line))
        .filter((line) => !line.includes('self.nodelocal-mcs') && !line.endsWith(' 0'))
    const [before, queries] = [await counted(), upstream.queries.length]
    for (const name of [
      'counted.example',
      'never.example',
      'web.shop.svc.clusterset.local',
      'x.y.z.clusterset.local.svc.cluster.local',
    ])
      for (let look = 0; look < 3; look++) await explained(agent, name)
    assert.deepEqual(await counted(), before)
    assert.equal(upstream.queries.length, queries)
  })

  test('of a forwarded name: what is kept, for how long, from whom; and the copy of the fast path', async () => {
    const name = 'kept.example'
    const kept = async () => {
      await ask(agent, name)
      await ask(agent, name)
      return await explained(agent, name)
    }
    let told = await kept()
    // A second is short on a busy machine.
    await until(
      async () => {
        told = await kept()
        return (
          told.verdict.reason === 'cached' &&
          (told.packetCache.implementation === 'dgram' || told.packetCache.hit !== null)
        )
      },
      CHANGE_MS,
      () => JSON.stringify(told),
    )
    assert.equal(told.verdict.rcode, 'NOERROR')
    const { entry } = told.recordCache!
    assert.equal(entry?.kind, 'positive')
    assert.equal(entry?.upstream, `127.0.0.1:${upstream.port}`)
    assert.ok(entry.ttlLeftSeconds <= 1 && entry.ageSeconds <= 1)
    assert.equal(told.response?.answer.records[0]?.data, '192.0.2.7')
    assert.equal(told.upstreams?.order[0]?.to, `127.0.0.1:${upstream.port}`)
    assert.equal(told.upstreams?.transport, 'tcp')
    // Another client's bits, another entry.
    const signed = await explained(agent, name, 'A', '&do=1')
    assert.equal(signed.verdict.reason, 'ask-upstream')
    assert.equal(signed.recordCache?.others.length, 1)
  })

  test('a stale answer: an upstream first, and at once after that failed', async () => {
    const name = 'stale.example'
    await ask(agent, name)
    const reasonIs = (reason: string) =>
      until(
        async () => (await explained(agent, name)).verdict.reason === reason,
        CHANGE_MS,
        () => reason,
      )
    await reasonIs('refresh-stale')
    const { verdict, recordCache, response } = await explained(agent, name)
    assert.equal(verdict.rcode, null)
    assert.deepEqual([recordCache?.entry?.freshness, recordCache?.staleAfterMs], ['stale', 100])
    assert.ok(recordCache!.entry!.staleLeftSeconds > 3_000)
    assert.deepEqual(response?.extendedErrors, [{ code: 3, text: '' }])
    upstream.script = (query) => query.answer({ rcode: 2 })
    try {
      await ask(agent, name)
      await reasonIs('stale')
      assert.equal((await explained(agent, name)).verdict.rcode, 'NOERROR')
    } finally {
      upstream.script = (query) => query.answer()
    }
  })

  test('a remembered failure, and a question that is under way', async () => {
    upstream.script = (query) => query.answer({ rcode: 2 })
    try {
      let told = await explained(agent, 'failed.example')
      await until(
        async () => {
          await ask(agent, 'failed.example')
          told = await explained(agent, 'failed.example')
          return told.verdict.reason === 'cached-failure'
        },
        CHANGE_MS,
        () => JSON.stringify(told.verdict),
      )
      assert.equal(told.verdict.rcode, 'SERVFAIL')
      assert.match(told.verdict.text, /answered SERVFAIL, which is remembered/)
      upstream.script = SILENT
      const asking = ask(agent, 'waiting.example')
      await until(
        async () => (await explained(agent, 'waiting.example')).verdict.reason === 'in-flight',
        CHANGE_MS,
        () => 'in-flight',
      )
      upstream.script = (query) => query.answer()
      for (const query of upstream.queries.filter(({ name }) => name === 'waiting.example')) query.answer()
      await asking
    } finally {
      upstream.script = (query) => query.answer()
    }
  })

  const mistakes = [
    { path: '/explain', says: /no name is given/ },
    { path: '/explain?name=a..b', says: /"a\.\.b" is no domain name/ },
    { path: `/explain?name=${'x'.repeat(64)}`, says: /is no domain name/ },
    { path: '/explain?name=a&type=B', says: /"B" is no record type/ },
  ]
  for (const { path, says } of mistakes) {
    test(`GET ${path.slice(0, 40)} is a mistake that is told`, async () => {
      const { status, body } = await agent.health(path)
      assert.equal(status, 400)
      assert.match((JSON.parse(body) as { error: string }).error, says)
    })
  }

  suite('the command', () => {
    const at = (...args: string[]) => run(...args, '--agent', agent.healthAddress)

    test('tells a person the verdict first', async () => {
      const { code, stdout, stderr } = await at('web.shop.svc.clusterset.local')
      assert.deepEqual([code, stderr], [0, ''])
      assert.match(
        stdout,
        /^web\.shop\.svc\.clusterset\.local\. A\n=> NOERROR \(zone, records\): 1 record from the zone\n/,
      )
      assert.match(stdout, /^route +clusterset\.local\. \(clusterset\)$/m)
      assert.match(stdout, /^ +5 A 10\.42\.0\.80 +from ServiceImport shop\/web$/m)
      assert.match(stdout, /^objects +ServiceImport shop\/web: ClusterSetIP, 2 addresses, ports http 80\/tcp$/m)
    })

    test('tells a person why a name is denied', async () => {
      const { code, stdout } = await at('wbe.shop.svc.clusterset.local', 'AAAA')
      assert.equal(code, 0)
      assert.match(
        stdout,
        /^=> NXDOMAIN \(zone, no-service-import\): there is no ServiceImport shop\/wbe\n ! imported are: shop\/web$/m,
      )
    })

    test('tells a program the same that the page says', async () => {
      const { code, stdout } = await at('db.shop.svc.clusterset.local', 'srv', '--json', '--dnssec')
      assert.equal(code, 0)
      const told = JSON.parse(stdout) as Explanation
      assert.equal(told.version, 1)
      assert.deepEqual(told.question, {
        name: 'db.shop.svc.clusterset.local.',
        type: 'SRV',
        class: 'IN',
        recursionDesired: true,
        dnssecOk: true,
        checkingDisabled: false,
      })
      assert.equal(told.response?.answer.count, 3)
    })

    test('asks the real question only when told to, and prints the response', async () => {
      const { code, stdout } = await at('asked.example', '--ask')
      assert.equal(code, 0)
      assert.match(stdout, /^=> an upstream decides/m)
      assert.match(stdout, /^asked +udp 127\.0\.0\.1 port \d+ answered in [\d.]+ ms\n +NOERROR, flags qr rd ra/m)
      assert.match(stdout, /asked\.example\. 1 A 192\.0\.2\.7/)
      assert.equal(upstream.queries.filter(({ name }) => name === 'asked.example').length, 1)
    })

    test("follows a Pod's search list", async () => {
      const resolvConf = join(manifests, 'resolv.conf')
      await writeFile(resolvConf, 'search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n')
      const args = ['web.shop.svc.clusterset.local', '--resolv-conf', resolvConf]
      const { stdout } = await at(...args)
      assert.match(
        stdout,
        /^ {3}web\.shop\.svc\.clusterset\.local\.cluster\.local\.\n +NXDOMAIN \(agent, search-suffix\)/m,
      )
      assert.match(stdout, /^-> web\.shop\.svc\.clusterset\.local\.\n +NOERROR \(zone, records\)/m)
      const { tried } = JSON.parse((await at(...args, '--json')).stdout) as { tried: Explanation[] }
      assert.deepEqual(
        tried.map(({ verdict }) => verdict.rcode),
        ['NXDOMAIN', 'NXDOMAIN', 'NXDOMAIN', 'NOERROR'],
      )
    })

    const usages = [
      { args: ['a..b'], says: /"a\.\.b" is no domain name/ },
      { args: ['a.example', 'B'], says: /"B" is no record type/ },
      { args: ['a.example', '--resolv-conf', '/nonexistent'], says: /cannot read \/nonexistent/ },
    ]
    for (const { args, says } of usages) {
      test(`${args.join(' ')} is bad usage`, async () => {
        const { code, stdout, stderr } = await at(...args)
        assert.deepEqual([code, stdout], [2, ''])
        assert.match(stderr, says)
      })
    }

    test('finds the agent by its configuration, and says when nobody is there', async () => {
      const config = join(manifests, 'other.config')
      await writeFile(config, stringify({ health: { address: agent.healthAddress } }))
      assert.equal((await run('localhost', '--config', config)).code, 0)
      const unused = await startUpstream({ withUdp: false })
      await unused.stop()
      await writeFile(config, stringify({ health: { address: `127.0.0.1:${unused.port}` } }))
      const { code, stdout, stderr } = await run('localhost', '--config', config)
      assert.deepEqual([code, stdout], [1, ''])
      assert.match(stderr, /no explanation from the agent at 127\.0\.0\.1:\d+: nobody listens there/)
      await writeFile(config, 'helth: {}')
      assert.equal((await run('localhost', '--config', config)).code, 2)
    })
  })
})

suite('explain while the API server is away', () => {
  test('the zone is not synced: SERVFAIL, and why; what a snapshot has is told as such', async (t) => {
    const home = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-'))
    t.after(() => rm(home, { recursive: true, force: true }))
    const store = new ObjectStore(() => {})
    const intake = new ObjectIntake(store, new IgnoredBook({ info() {}, warn() {}, error() {} }, () => 0))
    intake.put('serviceImport', clusterSetIp('web', '10.42.0.1', 'shop'))
    const snapshotFile = join(home, 'snapshot')
    await writeSnapshot(snapshotFile, store, { nowSeconds: () => Date.now() / 1000, breathe: () => undefined })
    const unused = await startUpstream({ withUdp: false })
    await unused.stop()
    const kubeconfig = await writeKubeconfig(join(home, 'kubeconfig'), `http://127.0.0.1:${unused.port}`, {
      token: 't',
    })
    const agent = await startAgentProcess({
      clusterset: { source: 'kubernetes', kubernetes: { kubeconfig, snapshotFile } },
    })
    t.after(() => agent.stop())

    const unknown = await explained(agent, 'db.shop.svc.clusterset.local')
    assert.deepEqual([unknown.verdict.rcode, unknown.verdict.reason], ['SERVFAIL', 'not-synced'])
    assert.match(unknown.verdict.text, /source kubernetes, not connected/)
    assert.equal(unknown.clusterset?.state, 'unsynced')
    assert.deepEqual(
      unknown.response?.extendedErrors.map(({ code }) => code),
      [14],
    )

    const known = await explained(agent, 'web.shop.svc.clusterset.local')
    assert.deepEqual([known.verdict.rcode, known.clusterset?.isFromSnapshot], ['NOERROR', true])
    assert.match(known.notes.join(), /from the snapshot file/)
  })
})
