/** The main job end to end: a real agent process, a real unbound as kube-dns and as the outside world, real dig. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import { requireProgram } from '../common/requires.ts'
import { startUnbound, type Unbound } from '../common/unbound.ts'

const run = promisify(execFile)
const EXAMPLES = new URL('../../examples/clusterset', import.meta.url).pathname

const CACHE_IMPORT = `
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceImport
metadata: { namespace: shop, name: cache }
spec: { type: ClusterSetIP, ips: ["10.42.0.99"], ports: [{ port: 6379 }] }
`

suite('agent, end to end', () => {
  let agent: AgentProcess
  let unbound: Unbound
  let manifests: string

  const dig = async (...args: string[]) => {
    const { stdout } = await run('dig', ['@127.0.0.1', '-p', String(agent.port), '+tries=1', '+time=4', ...args])
    return stdout
  }
  const short = async (...args: string[]) => (await dig('+short', ...args)).trim().split('\n').sort()
  const metric = async (pattern: RegExp) =>
    [...(await agent.metrics()).matchAll(new RegExp(pattern, 'gm'))].reduce((sum, match) => sum + Number(match[1]), 0)

  before(async (t) => {
    requireProgram(t as TestContext, 'unbound', 'unbound')
    requireProgram(t as TestContext, 'dig', 'dnsutils')
    unbound = await startUnbound([
      'kubernetes.default.svc.cluster.local. 30 IN A 10.96.0.1',
      'www.example.com. 60 IN A 192.0.2.80',
      'www.example.com. 60 IN TYPE65280 \\# 3 abcdef',
      'once.example.com. 60 IN A 192.0.2.81',
      'www.acme.local. 60 IN A 192.0.2.82',
    ])
    manifests = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-manifests-'))
    await cp(EXAMPLES, manifests, { recursive: true })
    agent = await startAgentProcess({
      listen: { addresses: ['127.0.0.1', '::1'], port: 0 },
      clusterset: { source: 'manifests', manifests: { directory: manifests } },
      forward: [
        { zones: ['cluster.local'], upstreams: [`127.0.0.1:${unbound.port}`], transport: 'tcp' },
        { zones: ['.'], upstreams: [`127.0.0.1:${unbound.port}`], transport: 'udp' },
      ],
    })
  })
  after(async () => {
    await agent?.stop()
    await unbound?.stop()
    await rm(manifests, { recursive: true, force: true })
  })

  for (const transport of ['+notcp', '+tcp']) {
    const questions = [
      { what: 'a ServiceImport', args: ['web.shop.svc.clusterset.local', 'A'], answer: ['10.42.0.80'] },
      { what: 'a ServiceImport over IPv6', args: ['web.shop.svc.clusterset.local', 'AAAA'], answer: ['fd00:42::80'] },
      {
        what: 'the ready endpoints of a headless service',
        args: ['db.shop.svc.clusterset.local', 'A'],
        answer: ['10.1.0.10', '10.1.0.11', '10.2.0.10'],
      },
      {
        what: 'SRV of a headless service',
        args: ['_sql._tcp.db.shop.svc.clusterset.local', 'SRV'],
        answer: ['db-0.east', 'db-0.west', 'db-1.east'].map(
          (host) => `0 33 5432 ${host}.db.shop.svc.clusterset.local.`,
        ),
      },
      { what: 'one endpoint by name', args: ['db-0.west.db.shop.svc.clusterset.local', 'A'], answer: ['10.2.0.10'] },
      { what: 'the version of the schema', args: ['dns-version.clusterset.local', 'TXT'], answer: ['"1.0.0"'] },
      { what: 'a name of the cluster', args: ['kubernetes.default.svc.cluster.local', 'A'], answer: ['10.96.0.1'] },
      { what: 'a name of the outside world', args: ['www.example.com', 'A'], answer: ['192.0.2.80'] },
      { what: 'a type that nobody knows', args: ['www.example.com', 'TYPE65280'], answer: ['\\# 3 ABCDEF'] },
      { what: 'localhost', args: ['localhost', 'A'], answer: ['127.0.0.1'] },
    ]
    for (const { what, args, answer } of questions) {
      test(`answers ${what} (${transport})`, async () => assert.deepEqual(await short(transport, ...args), answer))
    }

    test(`denies a service that does not exist with the zone's SOA (${transport})`, async () => {
      const text = await dig(transport, 'nobody.shop.svc.clusterset.local', 'A')
      assert.match(text, /status: NXDOMAIN/)
      assert.match(text, /flags: qr aa rd ra;/)
      assert.match(text, /clusterset\.local\.\s+5\s+IN\s+SOA\s+ns\.dns\.clusterset\.local\./)
    })
  }

  test('says BADVERS, NOTIMP, REFUSED and FORMERR where they are due', async () => {
    assert.match(await dig('+edns=1', '+noednsneg', 'www.example.com'), /status: BADVERS/)
    assert.match(await dig('+opcode=5', 'www.example.com'), /status: NOTIMP/)
    assert.match(await dig('-c', 'CH', 'version.bind', 'TXT'), /status: REFUSED/)
    assert.match(
      await dig('AXFR', '+tcp', 'clusterset.local').catch((error: { stdout: string }) => error.stdout),
      /Transfer failed/,
    )
  })

  test('echoes the question as it was spelled', async () => {
    assert.match(await dig('wEb.SHOP.svc.clusterSET.local', 'A'), /^wEb\.SHOP\.svc\.clusterSET\.local\.\s+5\s+IN\s+A/m)
  })

  test('carries an OPT exactly when the query had one', async () => {
    assert.match(await dig('+edns=0', 'www.example.com'), /EDNS: version: 0/)
    assert.doesNotMatch(await dig('+noedns', 'www.example.com'), /EDNS:/)
  })

  test('answers the second query from the cache, and the metrics show it', async () => {
    const hits = /^coredns_cache_hits_total\{[^}]*type="success"[^}]*\} (\d+)/
    await short('once.example.com', 'A')
    const before = await metric(hits)
    const asked = await metric(/^coredns_forward_requests_total\{[^}]*\} (\d+)/)
    assert.deepEqual(await short('once.example.com', 'A'), ['192.0.2.81'])
    assert.equal((await metric(hits)) - before, 1)
    assert.equal(await metric(/^coredns_forward_requests_total\{[^}]*\} (\d+)/), asked)
  })

  test('answers a ServiceImport within a second of its file, and denies it when the file is gone', async () => {
    const file = join(manifests, 'cache.yaml')
    const name = 'cache.shop.svc.clusterset.local'
    assert.match(await dig(name, 'A'), /NXDOMAIN/)
    await writeFile(file, CACHE_IMPORT)
    await until(
      async () => (await short(name, 'A'))[0] === '10.42.0.99',
      1_000,
      () => agent.output(),
    )
    await rm(file)
    await until(
      async () => (await dig(name, 'A')).includes('NXDOMAIN'),
      1_000,
      () => agent.output(),
    )
  })

  test('denies a clusterset name with a search suffix behind it without asking anybody, and counts it', async () => {
    const asked = await metric(/^coredns_forward_requests_total\{[^}]*\} (\d+)/)
    const shortCuts = /^nodelocal_mcs_search_suffix_short_cuts_total (\d+)/
    const before = await metric(shortCuts)
    for (const suffix of ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local']) {
      const denial = await dig(`web.shop.svc.clusterset.local.${suffix}`, 'A')
      assert.match(denial, /status: NXDOMAIN/)
      assert.match(denial, /^cluster\.local\.\s+5\s+IN\s+SOA\s/m)
    }
    assert.equal((await metric(shortCuts)) - before, 3)
    assert.equal(await metric(/^coredns_forward_requests_total\{[^}]*\} (\d+)/), asked)
  })

  test('tells what is cached for a name, and forgets a name, a zone or everything', async () => {
    await short('www.example.com', 'A')
    const cached = async () => {
      const { entries } = JSON.parse((await agent.health('/cache?name=WWW.example.com')).body) as {
        entries: { type: string; kind: string; upstream: string }[]
      }
      return entries.filter(({ type }) => type === 'A').map(({ kind, upstream }) => `${kind} ${upstream}`)
    }
    assert.deepEqual(await cached(), [`positive 127.0.0.1:${unbound.port}`])
    const flush = async (query: string) => (await agent.health(`/cache/flush${query}`, 'POST')).status
    assert.equal(await flush('?name=other.example.com'), 200)
    assert.equal((await cached()).length, 1)
    assert.equal(await flush('?zone=example.com'), 200)
    assert.equal((await cached()).length, 0)
    assert.equal(await flush('?name=a&zone=b'), 400)
    assert.equal((await agent.health('/cache/flush')).status, 405)
  })

  test('is alive and ready', async () => {
    assert.equal((await agent.health('/healthz')).status, 200)
    const ready = await agent.health('/readyz')
    assert.equal(ready.status, 200, ready.body)
  })

  test('applies a changed configuration without a restart, and keeps the old one when the new one is bad', async () => {
    await agent.writeConfig({ log: { level: 'loud' } })
    await until(
      () => agent.output().includes('config-refused'),
      5_000,
      () => agent.output(),
    )
    assert.deepEqual(await short('www.example.com', 'A'), ['192.0.2.80'])
    await agent.writeConfig({
      listen: { addresses: ['127.0.0.1', '::1'], port: 0 },
      clusterset: { source: 'manifests', manifests: { directory: manifests }, ttlSeconds: 7 },
      forward: [{ zones: ['.'], upstreams: [`127.0.0.1:${unbound.port}`] }],
    })
    await until(
      () => agent.output().includes('config-applied'),
      5_000,
      () => agent.output(),
    )
    assert.match(await dig('web.shop.svc.clusterset.local', 'A'), /\s7\s+IN\s+A\s+10\.42\.0\.80/)
  })

  test('takes stub domains from the ConfigMap of kube-dns, and reports what is wrong in it', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-kube-dns-'))
    const stubDomains = { 'acme.local': [`127.0.0.1:${unbound.port}`], 'bad.local': ['dns.example'] }
    await writeFile(join(directory, 'stubDomains'), JSON.stringify(stubDomains))
    const other = await startAgentProcess({
      clusterset: { source: 'none' },
      forward: [],
      kubeDnsConfigDirectory: directory,
    })
    try {
      const ask = async (name: string) => (await run('dig', ['@127.0.0.1', '-p', String(other.port), name, 'A'])).stdout
      assert.match(await ask('www.acme.local'), /192\.0\.2\.82/)
      assert.match(await ask('www.example.com'), /status: REFUSED/)
      assert.match(other.output(), /kube-dns-config-problem.*bad\.local/)
    } finally {
      await other.stop()
      await rm(directory, { recursive: true, force: true })
    }
  })

  test('answers a cached name, stale if it must, when the upstream is gone', async () => {
    await short('www.example.com', 'A')
    await unbound.stop()
    assert.deepEqual(await short('www.example.com', 'A'), ['192.0.2.80'])
    assert.match(await dig('never-asked.example.com', 'A'), /status: SERVFAIL/)
    assert.deepEqual(await short('web.shop.svc.clusterset.local', 'A'), ['10.42.0.80'])
  })

  test('stops as asked with exit code 0', async () => {
    assert.equal(await agent.stop(), 0)
  })
})
