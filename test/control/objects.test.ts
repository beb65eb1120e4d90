import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { ADDRESSES_MAX, PORTS_MAX, serviceImportFacts, sliceFacts } from '../../src/control/objects.ts'
import { IGNORED_REASONS } from '../../src/control/records/ignored.ts'

const IMPORT = { metadata: { namespace: 'shop', name: 'web' }, spec: { type: 'ClusterSetIP' } }
const LABELS = {
  'multicluster.kubernetes.io/service-name': 'web',
  'multicluster.kubernetes.io/source-cluster': 'east',
}
const SLICE = { metadata: { namespace: 'shop', name: 'web-1', labels: LABELS }, addressType: 'IPv4' }

function withSpec(spec: object): unknown {
  return { ...IMPORT, spec: { ...IMPORT.spec, ...spec } }
}

function withLabels(labels: object): unknown {
  return { ...SLICE, metadata: { ...SLICE.metadata, labels } }
}

suite('objects', () => {
  const imports = [
    { promise: 'an object without metadata', object: { spec: { type: 'Headless' } }, reasons: ['malformed'] },
    {
      promise: 'a name of two labels',
      object: { ...IMPORT, metadata: { namespace: 'n', name: 'a.b' } },
      reasons: ['name'],
    },
    {
      promise: 'a name in upper case',
      object: { ...IMPORT, metadata: { namespace: 'n', name: 'A' } },
      reasons: ['name'],
    },
    {
      promise: 'a namespace that is no label',
      object: { ...IMPORT, metadata: { namespace: '', name: 'a' } },
      reasons: ['name'],
    },
    { promise: 'a type of its own', object: withSpec({ type: 'ExternalName' }), reasons: ['type'] },
  ]
  for (const { promise, object, reasons } of imports) {
    test(`ignores an import: ${promise}`, () => {
      const { facts, ignored } = serviceImportFacts(object)
      assert.equal(facts, undefined)
      assert.deepEqual(
        ignored.map(({ reason }) => reason),
        reasons,
      )
    })
  }

  const parts = [
    { promise: 'ips that are none', spec: { ips: ['None', '10.0.0.1', 7] }, ignored: [['address', 2]] },
    { promise: 'ips that are no list', spec: { ips: '10.0.0.1' }, ignored: [] },
    { promise: 'ports that are none', spec: { ports: [{ port: 0 }, { port: 1.5 }, {}, null] }, ignored: [['port', 4]] },
    { promise: 'names of ports', spec: { ports: [{ port: 1, name: 'a b' }] }, ignored: [['port-name', 1]] },
    { promise: 'protocols', spec: { ports: [{ port: 1, protocol: 'ICMP' }] }, ignored: [['protocol', 1]] },
    { promise: 'protocols that are objects', spec: { ports: [{ port: 1, protocol: {} }] }, ignored: [['protocol', 1]] },
  ]
  for (const { promise, spec, ignored } of parts) {
    test(`keeps an import and tells what of it was ignored: ${promise}`, () => {
      const reading = serviceImportFacts(withSpec(spec))
      assert.notEqual(reading.facts, undefined)
      assert.deepEqual(
        reading.ignored.map(({ reason, count }) => [reason, count]),
        ignored,
      )
    })
  }

  const slices = [
    { promise: 'a local slice has nothing to do with us', object: withLabels({}), isKept: false, reasons: [] },
    {
      promise: 'a slice of a service that is no label',
      object: withLabels({ ...LABELS, 'multicluster.kubernetes.io/service-name': 'A.b' }),
      isKept: false,
      reasons: ['name'],
    },
    { promise: 'FQDN', object: { ...SLICE, addressType: 'FQDN' }, isKept: false, reasons: ['address-type'] },
    {
      promise: 'no cluster id',
      object: withLabels({ 'multicluster.kubernetes.io/service-name': 'web' }),
      isKept: true,
      reasons: ['no-cluster-id'],
    },
    {
      promise: 'a broken cluster id',
      object: withLabels({ ...LABELS, 'multicluster.kubernetes.io/source-cluster': '-a' }),
      isKept: true,
      reasons: ['cluster-id'],
    },
    {
      promise: 'hostnames that are no labels',
      object: { ...SLICE, endpoints: [{ hostname: 'a.b', addresses: ['10.0.0.1'] }] },
      isKept: true,
      reasons: ['hostname'],
    },
    {
      promise: 'endpoints that are none',
      object: { ...SLICE, endpoints: [null, 1, { addresses: 'x' }, { addresses: ['x'] }] },
      isKept: true,
      reasons: ['address'],
    },
  ]
  for (const { promise, object, isKept, reasons } of slices) {
    test(`reads a slice: ${promise}`, () => {
      const { facts, ignored } = sliceFacts(object)
      assert.equal(facts !== undefined, isKept)
      assert.deepEqual(
        ignored.map(({ reason }) => reason),
        reasons,
      )
    })
  }

  test('reads no more ports and addresses of an object than a turn has time for, and tells how many are left out', () => {
    const ports = Array.from({ length: PORTS_MAX + 3 }, (_, i) => ({ name: `p${i}`, port: i + 1 }))
    const addresses = (from: number, count: number): string[] =>
      Array.from({ length: count }, (_, i) => `10.${(from + i) >> 16}.${((from + i) >> 8) & 255}.${(from + i) & 255}`)
    const endpoints = [
      { hostname: 'a', addresses: addresses(0, ADDRESSES_MAX - 2) },
      { addresses: addresses(ADDRESSES_MAX, 5) },
      { hostname: 'c', addresses: addresses(0, 1) },
    ]
    const { facts, ignored } = sliceFacts({ ...SLICE, ports, endpoints })
    assert.equal(facts!.ports.length, PORTS_MAX)
    assert.deepEqual(
      facts!.endpoints.map((endpoint) => [endpoint.host, endpoint.addresses.length]),
      [
        ['a', ADDRESSES_MAX - 2],
        ['10-0-39-16', 1],
        ['10-0-39-17', 1],
      ],
    )
    assert.deepEqual(
      ignored.map(({ reason, count }) => [reason, count]),
      [['too-many', 3 + 3 + 1]],
    )
    const imported = serviceImportFacts(withSpec({ ips: addresses(0, ADDRESSES_MAX + 1), ports }))
    assert.deepEqual([imported.facts!.addresses.length, imported.facts!.ports.length], [ADDRESSES_MAX, PORTS_MAX])
    assert.deepEqual(
      imported.ignored.map(({ reason, count }) => [reason, count]),
      [['too-many', 1 + 3]],
    )
  })

  test('keeps what it tells of a value short, however long the value is', () => {
    const { ignored } = serviceImportFacts(withSpec({ ips: ['x'.repeat(100_000)] }))
    assert.ok(ignored[0]!.detail.length < 200)
  })

  test('never throws, whatever JSON it is given, and gives only reasons from the list', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (one, other, third) => {
        const readings = [
          serviceImportFacts(one),
          serviceImportFacts(withSpec({ ips: one, ports: other })),
          serviceImportFacts(withSpec({ ips: [one, other], ports: [third, { port: 1, name: one, protocol: other }] })),
          sliceFacts(one),
          sliceFacts(withLabels({ ...LABELS, 'multicluster.kubernetes.io/source-cluster': one })),
          sliceFacts({ ...SLICE, addressType: one, endpoints: other, ports: third }),
          sliceFacts({
            ...SLICE,
            endpoints: [{ addresses: [one, '10.0.0.1'], hostname: other, conditions: third }, one],
          }),
        ]
        for (const { ignored } of readings) {
          for (const { reason } of ignored) assert.ok(IGNORED_REASONS.includes(reason))
        }
      }),
    )
  })
})
