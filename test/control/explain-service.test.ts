import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  type ExplainParts,
  explainService,
  FINDINGS_TOLD_MAX,
  ORIGINS_TOLD_MAX,
  SLICES_TOLD_MAX,
} from '../../src/control/explain-service.ts'
import { IgnoredBook } from '../../src/control/ignored-book.ts'
import { ObjectIntake } from '../../src/control/object-intake.ts'
import { ObjectStore } from '../../src/control/object-store.ts'
import { recordsOf } from '../../src/control/records/records-of.ts'
import { relativeName } from '../../src/dns/wire/name.ts'
import { clusterSetIp, headless, slice } from './support.ts'

const SETTINGS = { submariner: false, localClusterId: undefined, apexOctetsMax: 18 }

/** What is known of objects, and of a name below `demo.svc`. */
function stage(...objects: { readonly kind?: string }[]) {
  const ignored = new IgnoredBook({ info() {}, warn() {}, error() {} }, () => 0)
  const store = new ObjectStore(() => {})
  const intake = new ObjectIntake(store, ignored)
  for (const object of objects) intake.put(object.kind === 'ServiceImport' ? 'serviceImport' : 'endpointSlice', object)
  let breaths = 0
  const parts: ExplainParts = {
    store,
    ignored,
    settings: SETTINGS,
    isWaiting: (service) => service === 'demo/changing',
    breathe: () => {
      breaths++
      return Promise.resolve()
    },
  }
  const look = async (...labels: string[]) => {
    const name = relativeName([...labels, 'demo', 'svc'])!
    const rrsets = recordsOf(store.of(`demo/${labels.at(-1)}`), SETTINGS).records?.get(name)
    return { rrsets, breaths: () => breaths, ...(await explainService(name, rrsets, parts))! }
  }
  return { look, parts }
}

/** A change of an object that is a mistake. */
function broken<Kind extends object>(object: Kind, changes: object): Kind {
  return { ...object, ...changes }
}

suite('the objects behind a name', () => {
  test('a record of a ClusterSetIP service comes from its ServiceImport', async () => {
    const { rrsets, service, absence, originsOf } = await stage(clusterSetIp('web', '10.0.0.1')).look('web')
    assert.equal(absence, undefined)
    assert.deepEqual(service.serviceImport, {
      object: 'demo/web',
      type: 'ClusterSetIP',
      addresses: 1,
      ports: ['http 80/tcp'],
    })
    for (const { type, rdata } of rrsets!) {
      for (const one of rdata) assert.deepEqual(originsOf(type, one), ['ServiceImport demo/web'])
    }
  })

  test('records of a headless service come each from its EndpointSlice', async () => {
    const { look } = stage(
      headless('db'),
      slice('db-1', 'db', ['10.1.0.1']),
      slice('db-2', 'db', ['10.1.0.2', '10.1.0.1']),
    )
    const { rrsets, originsOf, service } = await look('db')
    const byType = (type: number) =>
      rrsets!.find((rrset) => rrset.type === type)!.rdata.map((one) => originsOf(type, one))
    const both = ['EndpointSlice demo/db-1', 'EndpointSlice demo/db-2']
    assert.deepEqual(byType(1), [both, ['EndpointSlice demo/db-2']])
    assert.deepEqual(byType(33), [both, ['EndpointSlice demo/db-2']])
    assert.deepEqual(
      service.slices.map(({ object, cluster, ready, notReady }) => ({ object, cluster, ready, notReady })),
      [
        { object: 'demo/db-1', cluster: 'east', ready: 1, notReady: 0 },
        { object: 'demo/db-2', cluster: 'east', ready: 2, notReady: 0 },
      ],
    )
    assert.equal(service.readyEndpoints, 3)
  })

  test('counts the endpoints that are not ready, of which no record tells', async () => {
    const half = broken(slice('db-1', 'db', []), {
      endpoints: [
        { addresses: ['10.1.0.1'], conditions: { ready: false } },
        { addresses: ['10.1.0.2'], conditions: { ready: false } },
        { addresses: ['10.1.0.3'] },
      ],
    })
    const { service } = await stage(headless('db'), half).look('db')
    assert.deepEqual([service.slices[0]!.ready, service.slices[0]!.notReady], [1, 2])
  })

  test('what was ignored of the objects is told with its reason', async () => {
    const web = broken(clusterSetIp('web', '10.0.0.1'), {
      spec: { type: 'ClusterSetIP', ips: ['10.0.0.1', 'None'], ports: [{ port: 0 }, { port: -1 }] },
    })
    const { service } = await stage(web, broken(slice('web-1', 'web', []), { addressType: 'FQDN' })).look('web')
    assert.deepEqual(service.ignored, [
      { object: 'serviceImport demo/web', reason: 'address', detail: 'spec.ips: "None"', count: 1 },
      { object: 'serviceImport demo/web', reason: 'port', detail: 'spec.ports[0].port: 0', count: 2 },
      { object: 'endpointSlice demo/web-1', reason: 'address-type', detail: 'addressType: "FQDN"', count: 1 },
    ])
  })

  test('a ServiceImport that is of no use is the reason, not its absence', async () => {
    const { absence, service } = await stage(broken(clusterSetIp('web', ''), { spec: { type: 'Cluster' } })).look('web')
    assert.equal(service.serviceImport, null)
    assert.deepEqual(absence, {
      reason: 'service-import-ignored',
      text: 'ServiceImport demo/web is of no use to DNS: type, spec.type: "Cluster"',
    })
  })

  test('a service that is not there is told with the slices that say to belong to it', async () => {
    const { absence, service } = await stage(slice('db-1', 'db', ['10.1.0.1'])).look('db')
    assert.equal(absence?.reason, 'no-service-import')
    assert.equal(service.endpointSlices, 1)
  })

  test('a change that waits for its publication is told', async () => {
    assert.equal((await stage().look('changing')).service.isChangeWaiting, true)
    assert.equal((await stage().look('web')).service.isChangeWaiting, false)
  })

  test('a name that can be of no service is of none', async () => {
    const { parts } = stage()
    assert.equal(await explainService(relativeName(['web', 'demo'])!, undefined, parts), undefined)
    assert.equal(await explainService('', undefined, parts), undefined)
  })

  test('of a large service a bounded part is told, and the event loop is let go between its slices', async () => {
    const many = Array.from({ length: 200 }, (_, i) => slice(`db-${1000 + i}`, 'db', ['10.1.0.1']))
    const { service, originsOf, breaths, rrsets } = await stage(headless('db'), ...many).look('db')
    assert.equal(service.endpointSlices, 200)
    assert.equal(service.slices.length, SLICES_TOLD_MAX)
    assert.equal(originsOf(1, rrsets![0]!.rdata[0]!).length, ORIGINS_TOLD_MAX)
    assert.equal(breaths(), 200)
  })

  test('of many findings a bounded part is told', async () => {
    const many = Array.from({ length: 200 }, (_, i) => broken(slice(`web-${i}`, 'web', []), { addressType: 'FQDN' }))
    const { service } = await stage(clusterSetIp('web', '10.0.0.1'), ...many).look('web')
    assert.equal(service.ignored.length, FINDINGS_TOLD_MAX)
  })
})
