import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { serviceImportFacts, sliceFacts } from '../../../src/control/objects.ts'
import { absenceOf } from '../../../src/control/records/absence.ts'
import type { SliceFacts } from '../../../src/control/records/facts.ts'
import { recordsOf } from '../../../src/control/records/records-of.ts'
import { relativeName } from '../../../src/dns/wire/name.ts'

const SETTINGS = { submariner: false, localClusterId: undefined, apexOctetsMax: 18 }

function importOf(spec: object) {
  return serviceImportFacts({ metadata: { namespace: 'shop', name: 'db' }, spec }).facts!
}

interface Endpoint {
  readonly hostname?: string
  readonly address: string
  readonly ready?: boolean
}

function sliceOf(name: string, cluster: string, endpoints: readonly Endpoint[]): SliceFacts {
  const labels = {
    'multicluster.kubernetes.io/service-name': 'db',
    'multicluster.kubernetes.io/source-cluster': cluster,
  }
  return sliceFacts({
    metadata: { namespace: 'shop', name, labels },
    addressType: 'IPv4',
    ports: [{ name: 'sql', port: 5432 }],
    endpoints: endpoints.map(({ hostname, address, ready }) => ({
      hostname,
      addresses: [address],
      conditions: { ready: ready !== false },
    })),
  }).facts!
}

const HEADLESS = importOf({ type: 'Headless', ports: [] })
const CLUSTER_SET_IP = importOf({ type: 'ClusterSetIP', ips: ['10.42.0.1'], ports: [{ name: 'http', port: 80 }] })
const WITHOUT_IP = importOf({ type: 'ClusterSetIP', ips: [], ports: [{ port: 80 }] })
const EAST = sliceOf('east-1', 'east', [{ hostname: 'db-0', address: '10.1.0.1' }])
const EAST_DOWN = sliceOf('east-1', 'east', [{ hostname: 'db-0', address: '10.1.0.1', ready: false }])
const WEST_DOWN = sliceOf('west-1', 'west', [{ hostname: 'db-0', address: '10.2.0.1', ready: false }])
const EMPTY = sliceOf('east-1', 'east', [])

const cases = [
  { below: [], import: undefined, slices: [], reason: 'no-service-import', says: /no ServiceImport shop\/db$/ },
  { below: [], import: undefined, slices: [EAST], reason: 'no-service-import', says: /1 EndpointSlice says to belong/ },
  { below: [], import: HEADLESS, slices: [], reason: 'no-endpoint-slices', says: /has no EndpointSlice/ },
  { below: [], import: HEADLESS, slices: [EAST_DOWN, WEST_DOWN], reason: 'no-ready-endpoints', says: /2 not ready/ },
  { below: [], import: HEADLESS, slices: [EMPTY], reason: 'no-ready-endpoints', says: /they hold none/ },
  { below: [], import: WITHOUT_IP, slices: [], reason: 'no-address', says: /no address in spec\.ips/ },
  { below: ['_http', '_udp'], import: CLUSTER_SET_IP, slices: [], reason: 'no-such-port', says: /_http\._tcp/ },
  { below: ['_http', '_tcp'], import: HEADLESS, slices: [EAST], reason: 'no-such-port', says: /_sql\._tcp/ },
  { below: ['_sql', '_tcp'], import: HEADLESS, slices: [EAST_DOWN], reason: 'no-ready-endpoints', says: /1 not ready/ },
  { below: ['_tcp'], import: CLUSTER_SET_IP, slices: [], reason: 'name-between', says: /_tcp/ },
  { below: ['db-0', 'east'], import: CLUSTER_SET_IP, slices: [EAST], reason: 'no-endpoint-names', says: /headless/ },
  { below: ['east'], import: HEADLESS, slices: [EAST], reason: 'cluster-name', says: /cluster east alone/ },
  { below: ['db-0', 'north'], import: HEADLESS, slices: [EAST], reason: 'no-such-cluster', says: /clusters: east/ },
  { below: ['db-0'], import: HEADLESS, slices: [EAST], reason: 'no-such-cluster', says: /<host>\.<cluster>/ },
  { below: ['db-9', 'east'], import: HEADLESS, slices: [EAST], reason: 'no-such-endpoint', says: /ready there: db-0/ },
  {
    below: ['db-0', 'west'],
    import: HEADLESS,
    slices: [EAST, WEST_DOWN],
    reason: 'no-ready-endpoints',
    says: /from cluster west \(1 not ready\)/,
  },
] as const

suite('why a name has nothing', () => {
  for (const { below, import: serviceImport, slices, reason, says } of cases) {
    const what = `${below.join('.') || 'the service'} of ${serviceImport?.type ?? 'no import'} with ${slices.length} slices`
    test(`${what}: ${reason}`, () => {
      const facts = { import: serviceImport, slices }
      const name = relativeName([...below, 'db', 'shop', 'svc'])!
      const rrsets = recordsOf(facts, SETTINGS).records?.get(name)
      assert.ok(rrsets === undefined || rrsets.length === 0, 'the case is one of a name without records')
      const absence = absenceOf('shop/db', below, facts, SETTINGS)
      assert.equal(absence.reason, reason)
      assert.match(absence.text, says)
    })
  }

  test('names that are too long under the longest zone are told from those that are not there', () => {
    const long = importOf({ type: 'ClusterSetIP', ips: ['10.42.0.1'] })
    const settings = { ...SETTINGS, apexOctetsMax: 250 }
    assert.equal(recordsOf({ import: long, slices: [] }, settings).records?.size, 0)
    assert.equal(absenceOf('shop/db', [], { import: long, slices: [] }, settings).reason, 'name-too-long')
  })

  test("Submariner's imports without a ready service address have none", () => {
    const settings = { ...SETTINGS, submariner: true }
    assert.match(absenceOf('shop/db', [], { import: WITHOUT_IP, slices: [] }, settings).text, /no cluster has a ready/)
  })

  test('lists a bounded number of names', () => {
    const hosts = Array.from({ length: 100 }, (_, i) => ({ hostname: `db-${i}`, address: `10.1.0.${i}` }))
    const { text } = absenceOf(
      'shop/db',
      ['x', 'east'],
      { import: HEADLESS, slices: [sliceOf('s', 'east', hosts)] },
      SETTINGS,
    )
    assert.match(text, /db-7 and 92 more$/)
  })
})
