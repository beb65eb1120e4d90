import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type KubeDnsConfig, readKubeDnsConfig, STUB_DOMAINS_MAX } from '../../../src/dns/policy/kube-dns-config.ts'
import { textOfName } from '../../../src/dns/wire/name.ts'

const check = (upstream: string): string | undefined =>
  /^[0-9.]+(:\d+)?(#[a-z.]+)?$/.test(upstream) ? undefined : `"${upstream}" is not an IP address`

function read(config: Partial<KubeDnsConfig>) {
  const { routes, problems } = readKubeDnsConfig(
    { stubDomains: undefined, upstreamNameservers: undefined, ...config },
    check,
  )
  return {
    routes: routes.map(({ zone, upstreams, transport }) => `${textOfName(zone)} ${transport} ${upstreams.join(' ')}`),
    problems: problems.map(({ path, problem }) => `${path}: ${problem}`),
  }
}

const cases: {
  promise: string
  config: Partial<KubeDnsConfig>
  routes: string[]
  problems: (string | RegExp)[]
}[] = [
  { promise: 'says nothing when there is nothing', config: {}, routes: [], problems: [] },
  { promise: 'takes an empty key for none', config: { stubDomains: ' \n' }, routes: [], problems: [] },
  {
    promise: 'makes a route of each stub domain and one for the rest',
    config: {
      stubDomains: '{"Acme.local": ["1.2.3.4", "1.2.3.4:10053"], "corp.": ["10.0.0.1"]}',
      upstreamNameservers: '["8.8.8.8", "8.8.4.4"]',
    },
    routes: ['acme.local. udp 1.2.3.4 1.2.3.4:10053', 'corp. udp 10.0.0.1', '. udp 8.8.8.8 8.8.4.4'],
    problems: [],
  },
  {
    promise: 'reads tls:// with and without a server name',
    config: { upstreamNameservers: '["tls://1.1.1.1", "tls://9.9.9.9%dns.quad.net"]' },
    routes: ['. tls 1.1.1.1 9.9.9.9#dns.quad.net'],
    problems: [],
  },
  {
    promise: 'reports a bad entry with its path and uses the others',
    config: { stubDomains: '{"acme.local": ["ns.acme.local", "1.2.3.4", 5], "b..c": ["1.1.1.1"], "d": "1.1.1.1"}' },
    routes: ['acme.local. udp 1.2.3.4'],
    problems: [
      'stubDomains["acme.local"][0]: "ns.acme.local" is not an IP address',
      'stubDomains["acme.local"][2]: is not a text',
      'stubDomains["b..c"]: is not a domain name',
      'stubDomains["d"]: is not a list of upstreams',
    ],
  },
  {
    promise: 'leaves a domain without usable upstreams out',
    config: { stubDomains: '{"a": [], "b": ["nowhere"]}' },
    routes: [],
    problems: [
      'stubDomains["a"]: has no usable upstream',
      'stubDomains["b"][0]: "nowhere" is not an IP address',
      'stubDomains["b"]: has no usable upstream',
    ],
  },
  {
    promise: 'keeps a broken key from spoiling the other',
    config: { stubDomains: '{"a": [', upstreamNameservers: '["8.8.8.8"]' },
    routes: ['. udp 8.8.8.8'],
    problems: [/^stubDomains: is not JSON/],
  },
  {
    promise: 'refuses what is JSON but not of the shape',
    config: { stubDomains: '["1.1.1.1"]', upstreamNameservers: '{"a": 1}' },
    routes: [],
    problems: ['stubDomains: is not an object of domains', 'upstreamNameservers: is not a list of upstreams'],
  },
  {
    promise: 'never lets a ConfigMap name a file',
    config: { upstreamNameservers: '["/etc/shadow", "tls:///etc/shadow"]' },
    routes: [],
    problems: [/not an IP address/, /not an IP address/, /no usable upstream/],
  },
  {
    promise: 'does not mix TLS and plain upstreams in one route',
    config: { upstreamNameservers: '["8.8.8.8", "tls://1.1.1.1"]' },
    routes: ['. udp 8.8.8.8'],
    problems: ['upstreamNameservers[1]: TLS and plain upstreams cannot share a route'],
  },
  {
    promise: 'says a domain once, whatever its case',
    config: { stubDomains: '{"a.b": ["1.1.1.1"], "A.B.": ["2.2.2.2"]}' },
    routes: ['a.b. udp 1.1.1.1'],
    problems: ['stubDomains["A.B."]: says a.b. a second time'],
  },
]

suite('kube-dns configuration', () => {
  for (const { promise, config, routes, problems } of cases) {
    test(promise, () => {
      const result = read(config)
      assert.deepEqual(result.routes, routes)
      assert.equal(result.problems.length, problems.length, result.problems.join('\n'))
      for (const [i, expected] of problems.entries()) {
        if (typeof expected === 'string') assert.equal(result.problems[i], expected)
        else assert.match(result.problems[i]!, expected)
      }
    })
  }

  test('takes a bounded number of stub domains', () => {
    const many = Object.fromEntries(Array.from({ length: STUB_DOMAINS_MAX + 5 }, (_, i) => [`d${i}`, ['1.1.1.1']]))
    const { routes, problems } = read({ stubDomains: JSON.stringify(many) })
    assert.equal(routes.length, STUB_DOMAINS_MAX)
    assert.equal(problems.length, 1)
  })
})
