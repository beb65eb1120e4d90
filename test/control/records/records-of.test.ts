/** What the tables in `test/vectors` cannot say: properties, and the two directions of sharing. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { serviceImportFacts, sliceFacts } from '../../../src/control/objects.ts'
import type { SliceFacts } from '../../../src/control/records/facts.ts'
import { recordsOf } from '../../../src/control/records/records-of.ts'
import { LABEL_OCTETS_MAX, labelsOf, relativeName } from '../../../src/dns/wire/name.ts'
import { RecordType } from '../../../src/dns/wire/record-type.ts'
import { PORT_OCTETS } from '../../../src/dns/zone/rrset.ts'

const APEX_OCTETS = 18
const SETTINGS = { submariner: false, localClusterId: undefined, apexOctetsMax: APEX_OCTETS }

function importOf(spec: object) {
  return serviceImportFacts({ metadata: { namespace: 'shop', name: 'db' }, spec }).facts!
}

function sliceOf(name: string, clusterId: unknown, parts: object): SliceFacts {
  const labels = {
    'multicluster.kubernetes.io/service-name': 'db',
    'multicluster.kubernetes.io/source-cluster': clusterId,
    'lighthouse.submariner.io/is-headless': 'false',
  }
  return sliceFacts({ metadata: { namespace: 'shop', name, labels }, ...parts }).facts!
}

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
const endpoint = fc.record(
  {
    addresses: fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string(), fc.jsonValue()), { maxLength: 3 }),
    hostname: fc.oneof(label, fc.string(), fc.jsonValue()),
    conditions: fc.oneof(fc.constant({ ready: true }), fc.constant({ ready: false }), fc.jsonValue()),
  },
  { requiredKeys: [] },
)
const port = fc.record(
  {
    name: fc.oneof(label, fc.constant(''), fc.jsonValue()),
    port: fc.oneof(fc.integer({ min: -1, max: 70_000 }), fc.jsonValue()),
    protocol: fc.constantFrom('TCP', 'UDP', 'SCTP', 'X', null),
  },
  { requiredKeys: [] },
)
const slice = fc
  .tuple(
    fc.stringMatching(/^[a-z]{1,8}$/),
    fc.oneof(
      label,
      fc.tuple(label, label).map((labels) => labels.join('.')),
      fc.jsonValue(),
    ),
    fc.record({ endpoints: fc.array(endpoint, { maxLength: 4 }), ports: fc.array(port, { maxLength: 3 }) }),
  )
  .map(([name, clusterId, parts]) => sliceOf(name, clusterId, parts))
const service = fc.record({
  import: fc
    .record({
      type: fc.constantFrom('Headless', 'ClusterSetIP'),
      ips: fc.array(fc.oneof(fc.ipV4(), fc.string()), { maxLength: 2 }),
      ports: fc.array(port, { maxLength: 3 }),
    })
    .map(importOf),
  slices: fc.array(slice, { maxLength: 4 }),
})

suite('records of a service', () => {
  test('hold for any objects: names fit, rrsets are no sets of nothing, SRV targets have addresses', () => {
    fc.assert(
      fc.property(service, fc.boolean(), fc.integer({ min: 1, max: 200 }), (service, submariner, apexOctetsMax) => {
        const { records } = recordsOf(service, { submariner, localClusterId: 'a', apexOctetsMax })
        assert.notEqual(records, undefined)
        for (const [name, rrsets] of records!) {
          assert.ok(name.length + apexOctetsMax <= 255)
          assert.ok(labelsOf(name).every((label) => label.length <= LABEL_OCTETS_MAX))
          assert.equal(new Set(rrsets.map(({ type }) => type)).size, rrsets.length)
          for (const { type, rdata } of rrsets) {
            assert.ok(rdata.length > 0)
            assert.equal(new Set(rdata).size, rdata.length)
            if (type !== RecordType.SRV) continue
            for (const one of rdata) {
              const target = records!.get(one.slice(PORT_OCTETS))
              assert.ok(target?.some(({ type }) => type !== RecordType.SRV))
            }
          }
        }
      }),
    )
  })

  test('are the same whatever the order of the slices', () => {
    fc.assert(
      fc.property(service, (service) => {
        // Objects of one kind and namespace have different names.
        const slices = [...new Map(service.slices.map((slice) => [slice.name, slice])).values()]
        const one = recordsOf({ ...service, slices }, SETTINGS)
        const other = recordsOf({ ...service, slices: slices.toReversed() }, SETTINGS)
        assert.deepEqual(one, other)
      }),
    )
  })

  test('do not exist without an import', () => {
    const slices = [sliceOf('a', 'east', { endpoints: [{ addresses: ['10.0.0.1'] }] })]
    assert.equal(recordsOf({ import: undefined, slices }, SETTINGS).records, undefined)
  })

  test('are empty for a headless service without ready endpoints', () => {
    const { records } = recordsOf({ import: importOf({ type: 'Headless' }), slices: [] }, SETTINGS)
    assert.deepEqual(records, new Map())
  })

  test('keep the services of a single port once', () => {
    const endpoints = [{ addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.2'] }]
    const slices = [sliceOf('a', 'east', { endpoints, ports: [{ name: 'sql', port: 5432 }] })]
    const { records } = recordsOf({ import: importOf({ type: 'Headless' }), slices }, SETTINGS)
    const srvAt = (...labels: string[]) =>
      records!.get(relativeName(labels)!)!.find(({ type }) => type === RecordType.SRV)
    assert.equal(srvAt('db', 'shop', 'svc'), srvAt('_sql', '_tcp', 'db', 'shop', 'svc'))
  })

  test('hold an address once that two clusters have', () => {
    const parts = { endpoints: [{ addresses: ['10.0.0.1'], hostname: 'h' }] }
    const slices = [sliceOf('a', 'east', parts), sliceOf('b', 'west', parts)]
    for (const spec of [{ type: 'Headless' }, { type: 'ClusterSetIP' }]) {
      const { records } = recordsOf({ import: importOf(spec), slices }, { ...SETTINGS, submariner: true })
      const rrsets = records!.get(relativeName(['db', 'shop', 'svc'])!)!
      assert.deepEqual(rrsets, [{ type: RecordType.A, rdata: ['\n\0\0\x01'], rdataStart: '' }])
    }
  })

  test('change with the type of the import', () => {
    const slices = [sliceOf('a', 'east', { endpoints: [{ addresses: ['10.0.0.1'], hostname: 'h' }] })]
    const names = (spec: object) => [...recordsOf({ import: importOf(spec), slices }, SETTINGS).records!.keys()]
    assert.equal(names({ type: 'Headless' }).length, 2)
    assert.equal(names({ type: 'ClusterSetIP', ips: ['10.42.0.1'] }).length, 1)
  })

  test('tell a name that is too long, once for the service, with its number', () => {
    const long = 'x'.repeat(63)
    const endpoints = ['a', 'b', 'c'].map((last) => ({ addresses: ['10.0.0.1'], hostname: `${long.slice(1)}${last}` }))
    const slices = [sliceOf('a', `${'y'.repeat(60)}.${'z'.repeat(60)}`, { endpoints })]
    const { records, ignored } = recordsOf(
      { import: importOf({ type: 'Headless' }), slices },
      { ...SETTINGS, apexOctetsMax: 60 },
    )
    assert.equal(records!.size, 1)
    assert.deepEqual(
      ignored.map(({ reason, count }) => [reason, count]),
      [['name-too-long', 3]],
    )
  })
})
