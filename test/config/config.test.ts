import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { configFromText, loadConfig } from '../../src/config/config.ts'

const problemsIn = (text: string) => {
  const loaded = configFromText(text, 'c.yaml')
  return loaded.kind === 'problems' ? loaded.problems : []
}

const cases = [
  {
    promise: 'an unknown key',
    text: 'listen: { prot: 53 }',
    problems: ['c.yaml:1: listen.prot is no setting; did you mean port?'],
  },
  {
    promise: 'a host name as upstream',
    text: 'forward:\n  - zones: [a]\n    upstreams: [kube-dns.kube-system]',
    problems: [
      'c.yaml:3: forward[0].upstreams[0] is a host name: upstreams are addresses, because nobody could resolve the name before DNS works',
    ],
  },
  {
    promise: 'a listen address that is none',
    text: 'listen:\n  addresses: [localhost]',
    problems: ['c.yaml:2: listen.addresses[0] is no IP address'],
  },
  {
    promise: 'a listen address twice, however it is spelled',
    text: 'listen: { addresses: ["::1", "0:0::1"] }',
    problems: ['c.yaml:1: listen.addresses[1] 0:0::1 stands here twice'],
  },
  {
    promise: 'a listen address beside the one that stands for all',
    text: 'listen: { addresses: ["127.0.0.1", "0.0.0.0", "::1"] }',
    problems: ['c.yaml:1: listen.addresses[0] 127.0.0.1 is in 0.0.0.0 already'],
  },
  {
    promise: 'a listen address that no machine has',
    text: 'listen: { addresses: ["::ffff:127.0.0.1", "224.0.0.1", "ff02::1", "255.255.255.255"] }',
    problems: [
      'c.yaml:1: listen.addresses[0] is an IPv4 address in IPv6 spelling: write 127.0.0.1',
      'c.yaml:1: listen.addresses[1] is no address of one machine (multicast, broadcast or reserved)',
      'c.yaml:1: listen.addresses[2] is no address of one machine (multicast, broadcast or reserved)',
      'c.yaml:1: listen.addresses[3] is no address of one machine (multicast, broadcast or reserved)',
    ],
  },
  {
    promise: 'an upstream that nobody can be',
    text: 'forward:\n  - {zones: [a], upstreams: ["0.0.0.0:53", "::", "224.0.0.251", "[::ffff:10.0.0.1]:53"]}',
    problems: [
      'c.yaml:2: forward[0].upstreams[0] is no address of a server',
      'c.yaml:2: forward[0].upstreams[1] is no address of a server',
      'c.yaml:2: forward[0].upstreams[2] is no address of one machine (multicast, broadcast or reserved)',
      'c.yaml:2: forward[0].upstreams[3] is an IPv4 address in IPv6 spelling: write 10.0.0.1',
    ],
  },
  {
    promise: 'a zone with a wildcard',
    text: 'forward:\n  - {zones: ["*.corp.example"], upstreams: [192.0.2.1]}',
    problems: ['c.yaml:2: forward[0].zones[0] has a *: a zone holds all names below it, leave the * out'],
  },
  {
    promise: 'the root as a clusterset zone',
    text: 'clusterset: { zones: ["."] }',
    problems: ['c.yaml:1: clusterset.zones[0] is the root: no name would be left to forward'],
  },
  {
    promise: 'a tag that nobody knows',
    text: 'listen: !port { port: 53 }',
    problems: ['c.yaml:1: Unresolved tag: !port'],
  },
  {
    promise: 'health where metrics listens on all addresses',
    text: 'metrics: { address: "0.0.0.0:8099" }',
    problems: ['c.yaml: health.address is taken by metrics already'],
  },
  {
    promise: 'a zone routed twice',
    text: 'forward:\n  - {zones: [a.b], upstreams: [192.0.2.1]}\n  - {zones: [A.b.], upstreams: [192.0.2.1]}',
    problems: ['c.yaml:3: forward[1].zones[0] a.b is already routed by forward[0]'],
  },
  {
    promise: 'a route for a clusterset zone',
    text: 'forward:\n  - {zones: [clusterset.local], upstreams: [192.0.2.1]}',
    problems: ['c.yaml:2: forward[0].zones[0] clusterset.local is already a clusterset zone'],
  },
  {
    promise: 'a minimum above its maximum',
    text: 'cache: { minTtlSeconds: 60 }',
    problems: ['c.yaml:1: cache.minTtlSeconds is 60, above maxTtlSeconds, which is 30'],
  },
  {
    promise: 'a value out of its range',
    text: 'listen: { port: 65536 }',
    problems: ['c.yaml:1: listen.port must be 65535 or less'],
  },
  {
    promise: 'a word that is none of the choices',
    text: 'log: { level: loud }',
    problems: ['c.yaml:1: log.level must be one of debug, info, warn, error'],
  },
  {
    promise: 'a server name that nobody verifies',
    text: 'forward:\n  - {zones: [a], upstreams: ["192.0.2.1#dns.example"]}',
    problems: ['c.yaml:2: forward[0].upstreams[0] has a #name, which only transport tls verifies'],
  },
  {
    promise: 'authorities for an upstream that shows no certificate',
    text: 'forward:\n  - {zones: [a], upstreams: ["192.0.2.1"], caFile: ca.pem}',
    problems: ['c.yaml:2: forward[0].caFile is set, but only transport tls verifies certificates'],
  },
  {
    promise: 'more connections for one client than in all',
    text: 'tcp: { connectionsMax: 50 }',
    problems: ['c.yaml:1: tcp.connectionsPerClientMax is 100, above connectionsMax, which is 50'],
  },
  {
    promise: 'metrics on the port of health',
    text: 'metrics: { address: "127.0.0.1:8099" }',
    problems: ['c.yaml: health.address is taken by metrics already'],
  },
  {
    promise: 'health on the port of DNS, however the address is spelled',
    text: 'listen: { addresses: ["::1"] }\nhealth: { address: "[0:0::1]:5353" }',
    problems: ['c.yaml:2: health.address is taken by listen already'],
  },
  {
    promise: 'rules without an interface',
    text: 'host: { rules: auto }\nlisten: { addresses: [169.254.20.10] }',
    problems: [
      'c.yaml:1: host.rules is auto without host.interface: untracked traffic needs the addresses to be on this node',
    ],
  },
  {
    promise: 'an interface that could carry no listen address',
    text: 'host: { interface: nodelocaldns }',
    problems: ['c.yaml:1: host.interface is set, but no listen address is one that an interface could carry'],
  },
  {
    promise: 'rules and a shared port for a port that is not known',
    text: 'host: { interface: a, rules: auto, stateDirectory: /run/x }\nlisten: { port: 0, addresses: [169.254.20.10] }',
    problems: [
      'c.yaml:1: host.rules is auto while listen.port is 0: rules need a port that is known',
      'c.yaml:1: host.stateDirectory is set while listen.port is 0: nobody can share a port that is chosen anew',
    ],
  },
  {
    promise: 'wildcards where the address matters that a response leaves from',
    text: 'host: { interface: a, stateDirectory: /run/x }\nlisten: { addresses: ["fd20::10", "0.0.0.0"] }',
    problems: [
      'c.yaml:2: listen.addresses[1] 0.0.0.0 with host.interface: responses over UDP would leave from another address than the one that was asked; name the addresses',
      'c.yaml:2: listen.addresses[1] 0.0.0.0 with host.stateDirectory: a wildcard cannot be handed over to the next agent without losing queries; name the addresses',
    ],
  },
  {
    promise: 'a fallback that would take everything, or nothing',
    text: 'host: { interface: a, rules: iptables, notrack: false, fallback: [10.96.0.10, "::1"] }\nlisten: { addresses: [10.96.0.10] }',
    problems: [
      'c.yaml:1: host.fallback is set while host.rules is iptables: it needs auto or nftables, whose rules go when the agent is gone',
      'c.yaml:1: host.fallback is set while host.notrack is false: everything would go there',
      'c.yaml:1: host.fallback ::1 is no ClusterIP',
      'c.yaml:1: host.fallback has 10.96.0.10, but no other listen address of that IP version is there to lead to it',
      'c.yaml:1: host.fallback has ::1, but no other listen address of that IP version is there to lead to it',
    ],
  },
  {
    promise: 'a fallback of two addresses of one IP version',
    text: 'host: { interface: a, rules: auto, fallback: [10.96.0.10, 10.96.0.11] }\nlisten: { addresses: [169.254.20.10] }',
    problems: ['c.yaml:1: host.fallback has two addresses of one IP version'],
  },
  {
    promise: 'a watchdog that hardly looks before it ends the process',
    text: 'watchdog: { intervalMs: 2000, deadlineMs: 3000 }',
    problems: ['c.yaml:1: watchdog.deadlineMs is 3000, less than three times intervalMs, which is 2000'],
  },
  {
    promise: 'a metrics address without its port',
    text: 'metrics: { address: "127.0.0.1" }',
    problems: ['c.yaml:1: metrics.address is no ADDRESS:PORT or [V6]:PORT'],
  },
  {
    promise: 'a label that is too long',
    text: `clusterset: { zones: ["${'a'.repeat(64)}.local"] }`,
    problems: ['c.yaml:1: clusterset.zones[0] is no domain name (labels of 1 to 63 octets, 255 in all)'],
  },
  {
    promise: 'a name that is too long',
    text: `clusterset: { zones: ["${'a'.repeat(62)}${`.${'a'.repeat(63)}`.repeat(3)}"] }`,
    problems: ['c.yaml:1: clusterset.zones[0] is no domain name (labels of 1 to 63 octets, 255 in all)'],
  },
  {
    promise: 'a namespace that Kubernetes would not take',
    text: 'clusterset: { kubernetes: { namespaces: [Shop] } }',
    problems: ['c.yaml:1: clusterset.kubernetes.namespaces[0] is no namespace name'],
  },
  {
    promise: 'a relative path as upstream',
    text: 'forward: [{ zones: [a], upstreams: ["./resolv.conf"] }]',
    problems: [
      'c.yaml:1: forward[0].upstreams[0] is no ADDRESS, ADDRESS:PORT, [V6]:PORT or absolute path of a resolv.conf',
    ],
  },
  {
    promise: 'an upstream on port 0',
    text: 'forward: [{ zones: [a], upstreams: ["192.0.2.1:0"] }]',
    problems: [
      'c.yaml:1: forward[0].upstreams[0] is no ADDRESS, ADDRESS:PORT, [V6]:PORT or absolute path of a resolv.conf',
    ],
  },
  { promise: 'a list as the whole file', text: '- a', problems: ['c.yaml: the file must be of type object'] },
  { promise: 'a key that stands twice', text: 'log: {}\nlog: {}', problems: ['c.yaml:2: Map keys must be unique'] },
]

suite('config', () => {
  for (const { promise, text, problems } of cases) {
    test(`reports ${promise}, with its place`, () => assert.deepEqual(problemsIn(text), problems))
  }

  test('reports every problem at once', () => {
    const text =
      'listen: { addresses: [x], prot: 1 }\ncache: { minTtlSeconds: 60, maxBytes: lots }\nlog: { level: loud }'
    assert.deepEqual(problemsIn(text).length, 5)
  })

  test('has the defaults of the operator contract', () => {
    const loaded = configFromText('', 'c.yaml')
    assert.ok(loaded.kind === 'config')
    const { listen, clusterset, forward, cache, udp, host, metrics, health, log } = loaded.config
    assert.deepEqual(udp, { threads: 1, batchSlots: 64, gatherMicros: 200, implementation: 'auto' })
    assert.deepEqual(
      [host, log],
      [
        {
          interface: null,
          interfaceType: 'dummy',
          rules: 'none',
          notrack: true,
          fallback: [],
          repairSeconds: 10,
          stateDirectory: null,
        },
        { level: 'info', queries: 'none' },
      ],
    )
    assert.deepEqual(listen, { addresses: ['127.0.0.1'], port: 5353 })
    assert.deepEqual(
      [clusterset.zones, clusterset.ttlSeconds, clusterset.source],
      [['clusterset.local'], 5, 'manifests'],
    )
    assert.deepEqual(
      [clusterset.manifests, clusterset.kubernetes],
      [{ directory: './examples/clusterset' }, { kubeconfig: null, namespaces: [], snapshotFile: null }],
    )
    assert.deepEqual(
      forward.map(({ zones, upstreams, transport }) => ({ zones, upstreams, transport })),
      [{ zones: ['.'], upstreams: ['/etc/resolv.conf'], transport: 'udp' }],
    )
    assert.deepEqual(cache, {
      maxBytes: 16_777_216,
      maxTtlSeconds: 30,
      minTtlSeconds: 0,
      maxNegativeTtlSeconds: 5,
      serveStale: { enabled: true, maxStaleSeconds: 3600, clientTimeoutMs: 1800 },
      prefetch: { enabled: true },
      rotate: false,
    })
    assert.deepEqual([metrics.address, health.address], ['127.0.0.1:9253', '127.0.0.1:8099'])
  })

  test('takes every spelling of an upstream', () => {
    const upstreams = '["10.96.0.11", "10.96.0.11:5353", "[fd00::1]:53", "fd00::1", "/etc/resolv.conf"]'
    assert.deepEqual(problemsIn(`forward: [{ zones: ["."], upstreams: ${upstreams} }]`), [])
  })

  test('refuses aliases that multiply', () => {
    const lines = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefg'.split('').map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdef'[i]}`).join()}]`),
    ]
    assert.match(problemsIn(lines.join('\n'))[0]!, /alias/i)
  })

  test('takes any number of listeners on port 0, which is another port for each', () => {
    const text = 'listen: { port: 0 }\nmetrics: { address: "127.0.0.1:0" }\nhealth: { address: "127.0.0.1:0" }'
    assert.deepEqual(problemsIn(text), [])
  })

  test('adds no route of its own to those that are written', () => {
    const loaded = configFromText('forward: [{ zones: [corp.example], upstreams: [192.0.2.1] }]', 'c.yaml')
    assert.ok(loaded.kind === 'config')
    assert.deepEqual(
      loaded.config.forward.map(({ zones }) => zones),
      [['corp.example']],
    )
  })

  test('refuses a file that never ends, without reading it to its end', async () => {
    const loaded = await loadConfig('/dev/zero')
    assert.deepEqual(loaded, { kind: 'problems', problems: ['/dev/zero: is larger than 1048576 octets'] })
  })

  test('tells configurations apart by their hash, and calls the same one the same', () => {
    const hashOf = (text: string) => {
      const loaded = configFromText(text, 'c.yaml')
      return loaded.kind === 'config' ? loaded.hash : undefined
    }
    assert.equal(hashOf('log: {}'), hashOf('log: {}'))
    assert.notEqual(hashOf('log: {}'), hashOf('udp: {}'))
  })
})
