import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { configFromText } from '../../../src/config/config.ts'
import { writeYaml } from '../../../src/config/file.ts'
import { parseCorefile } from '../../../src/config/migrate/corefile.ts'
import { migrate } from '../../../src/config/migrate/migrate.ts'

/** The shape of the addon's manifest. */
const ADDON = `__PILLAR__DNS__DOMAIN__:53 {
    errors
    cache {
            success 9984 30
            denial 9984 5
    }
    reload
    loop
    bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__
    forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
    }
    prometheus :9253
    health __PILLAR__LOCAL__DNS__:8080
}
in-addr.arpa:53 {
    cache 30
    forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
    }
}
.:53 {
    cache 30
    forward . __PILLAR__UPSTREAM__SERVERS__
}
`
const block = (text: string) => `.:53 {\n${text}\n}\n`
const forwarding = (text: string) => block(`forward . 192.0.2.1\n${text}`)

interface Case {
  readonly promise: string
  readonly corefile: string
  readonly flags?: readonly string[]
  /** Part of the configuration, compared deeply by path. */
  readonly gives?: Readonly<Record<string, unknown>>
  readonly notes?: RegExp
}

const CASES: readonly Case[] = [
  {
    promise: "the addon's Corefile with its variables",
    corefile: ADDON,
    flags: ['-localip', '169.254.20.10,10.96.0.10', '-conf', '/etc/Corefile', '-upstreamsvc', 'kube-dns-upstream'],
    gives: {
      listen: { addresses: ['169.254.20.10', '10.96.0.10'], port: 53 },
      forward: [
        { zones: ['cluster.local', 'in-addr.arpa'], upstreams: ['10.96.0.11'], transport: 'tcp' },
        { zones: ['.'], upstreams: ['/etc/resolv.conf'], transport: 'udp' },
      ],
      cache: { maxTtlSeconds: 30, maxNegativeTtlSeconds: 5 },
      'host.rules': 'auto',
    },
    notes: /__PILLAR__CLUSTER__DNS__/,
  },
  {
    promise: "kubespray's: real addresses, its own link-local one, a sequential policy",
    corefile: `cluster.local:53 {\n bind 169.254.25.10\n forward . 10.233.0.3 {\n force_tcp\n }\n prometheus :9253\n health 169.254.25.10:9254\n}\n.:53 {\n bind 169.254.25.10\n forward . 192.0.2.1 192.0.2.2 {\n policy sequential\n }\n}\n`,
    flags: ['-localip=169.254.25.10', '-setupiptables=false'],
    gives: {
      listen: { addresses: ['169.254.25.10'], port: 53 },
      'host.rules': 'none',
      forward: [
        { zones: ['cluster.local'], upstreams: ['10.233.0.3'], transport: 'tcp' },
        { zones: ['.'], upstreams: ['192.0.2.1', '192.0.2.2'], transport: 'udp' },
      ],
    },
    notes: /policy sequential/,
  },
  {
    promise: "kops': no rules, tcp flags with two dashes",
    corefile: `cluster.local:53 {\n bind 169.254.20.10\n forward . 100.64.0.10 {\n force_tcp\n }\n}\n.:53 {\n forward . __PILLAR__UPSTREAM__SERVERS__\n}\n`,
    flags: ['--setupiptables=false', '--localip=169.254.20.10', '-skipteardown=true'],
    gives: { 'host.rules': 'none', 'host.interface': 'nodelocaldns' },
    notes: /-skipteardown/,
  },
  {
    promise: "AKS': serve_stale, log, max_concurrent, more than one address",
    corefile: `cluster.local:53 {\n log\n bind 169.254.10.10 169.254.10.11\n forward . 10.0.0.10 {\n force_tcp\n max_concurrent 1000\n }\n cache 3600 {\n success 9984\n denial 9984\n serve_stale 3600s immediate\n servfail 0\n }\n ready 169.254.10.10:8181\n}\n`,
    gives: {
      'cache.serveStale': { maxStaleSeconds: 3600 },
      'log.queries': 'all',
      listen: { addresses: ['169.254.10.10', '169.254.10.11'], port: 53 },
      forward: [{ zones: ['cluster.local'], upstreams: ['10.0.0.10'], transport: 'tcp', maxInFlight: 1000 }],
    },
    notes: /no block for "\."/,
  },
  {
    promise: 'DNS over TLS with the name to verify',
    corefile: block('forward . tls://192.0.2.53 {\n tls_servername dns.example\n health_check 5s\n}'),
    gives: { forward: [{ zones: ['.'], upstreams: ['192.0.2.53#dns.example'], transport: 'tls' }] },
  },
  {
    promise: 'an authority of its own',
    corefile: block('forward . tls://192.0.2.53 {\n tls /etc/ssl/ca.pem\n tls_servername dns.example\n}'),
    gives: {
      forward: [{ zones: ['.'], upstreams: ['192.0.2.53#dns.example'], transport: 'tls', caFile: '/etc/ssl/ca.pem' }],
    },
  },
  {
    promise: 'an authority, and a certificate of the client, which is said to be left out',
    corefile: block('forward . tls://192.0.2.53 {\n tls cert.pem key.pem /etc/ssl/ca.pem\n}'),
    gives: {
      forward: [{ zones: ['.'], upstreams: ['192.0.2.53'], transport: 'tls', caFile: '/etc/ssl/ca.pem' }],
    },
    notes: /certificates of the client/,
  },
  {
    promise: 'an IPVS recipe with a comma at the end of -localip',
    corefile: forwarding(''),
    flags: ['-localip', '169.254.20.10,'],
    gives: { listen: { addresses: ['169.254.20.10'], port: 53 } },
  },
  {
    promise: 'syncinterval as a number',
    corefile: forwarding(''),
    flags: ['-syncinterval', '60'],
    gives: { 'host.repairSeconds': 60 },
  },
  {
    promise: 'syncinterval as a duration',
    corefile: forwarding(''),
    flags: ['-syncinterval=2m'],
    gives: { 'host.repairSeconds': 120 },
  },
  {
    promise: 'a plugin without counterpart is told',
    corefile: forwarding('template ANY AAAA {\n rcode NOERROR\n}'),
    notes: /line 3: template/,
  },
  { promise: 'loadbalance becomes rotation', corefile: forwarding('loadbalance'), gives: { 'cache.rotate': true } },
  {
    promise: 'a reverse zone as a prefix',
    corefile: '10.1.0.0/16 {\n forward . 192.0.2.1\n}',
    gives: { forward: [{ zones: ['1.10.in-addr.arpa'], upstreams: ['192.0.2.1'], transport: 'udp' }] },
  },
  {
    promise: 'two blocks for one zone: the first wins, and it is told',
    corefile: forwarding('') + block('forward . 192.0.2.2'),
    notes: /has a route already/,
  },
  {
    promise: 'a host name among upstreams is left out and told',
    corefile: block('forward . 192.0.2.1 dns.example'),
    notes: /dns\.example is no address/,
  },
  {
    promise: 'the ConfigMap of kube-dns',
    corefile: forwarding(''),
    flags: ['-kubednscm', '/etc/kube-dns'],
    gives: { kubeDnsConfigDirectory: '/etc/kube-dns' },
  },
]

const BAD: readonly (readonly [promise: string, corefile: string, flags: readonly string[], problem: RegExp])[] = [
  ['nothing at all', '', [], /no server block/],
  ['a brace that stays open', '.:53 {\n errors\n', [], /still open/],
  ['a brace that closes nothing', '}\n', [], /closes nothing/],
  ['a zone without block', '.:53\n', [], /has no block/],
  ['a quote that stays open', '.:53 {\n log "a\n}\n', [], /quote/],
  ['a flag that is none', forwarding(''), ['-locallip', '1'], /no flag -locallip/],
  ['a flag without value', forwarding(''), ['-localip'], /needs a value/],
]

suite('migrate from NodeLocal DNSCache', () => {
  for (const { promise, corefile, flags = [], gives = {}, notes } of CASES) {
    test(promise, () => {
      const migration = migrate(corefile, flags)
      assert.deepEqual(migration.problems, [])
      const loaded = configFromText(writeYaml(migration.config!), 'migrated')
      assert.deepEqual(loaded.kind === 'problems' ? loaded.problems : [], [])
      for (const [path, value] of Object.entries(gives)) assert.deepEqual(at(migration.config, path), value, path)
      if (notes !== undefined) assert.match(migration.notes.join('\n'), notes)
    })
  }

  for (const [promise, corefile, flags, problem] of BAD) {
    test(`tells of ${promise}`, () => {
      const { config, problems } = migrate(corefile, flags)
      assert.equal(config, undefined)
      assert.match(problems.join('\n'), problem)
    })
  }

  test('takes any text', () => {
    const words = fc.constantFrom(
      '{',
      '}',
      '\n',
      ' ',
      '.:53',
      'forward',
      'cache',
      '"',
      '#',
      'bind',
      '192.0.2.1',
      'tls://',
      '\u0000',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(words, fc.string())), (parts) => {
        const text = parts.join(' ')
        assert.ok(parseCorefile(text).problems.length <= 20)
        migrate(text, [])
      }),
    )
  })

  test('as a command: configuration on standard output, notes on standard error', (t) => {
    const main = new URL('../../../cmd/nodelocal-mcs/main.ts', import.meta.url).pathname
    const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-migrate-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const corefile = join(directory, 'Corefile')
    writeFileSync(corefile, ADDON)
    const run = (flags: readonly string[]) =>
      spawnSync(process.execPath, [main, 'migrate', corefile, ...flags], { encoding: 'utf8' })
    const good = run(['-localip', '169.254.20.10,10.96.0.10'])
    assert.equal(good.status, 0, good.stderr)
    assert.match(good.stdout, /^listen:/)
    assert.match(good.stderr, /^note: /m)
    assert.equal(run(['-nonsense']).status, 2)
  })
})

function at(value: unknown, path: string): unknown {
  return path.split('.').reduce((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value)
}
