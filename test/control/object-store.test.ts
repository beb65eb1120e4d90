import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ObjectStore } from '../../src/control/object-store.ts'
import type { ServiceImportFacts, SliceFacts } from '../../src/control/records/facts.ts'

const HTTP = { name: 'http', protocol: 'tcp', port: 80 } as const

const importFacts = (changes: Partial<ServiceImportFacts> = {}): ServiceImportFacts => ({
  namespace: 'demo',
  name: 'db',
  type: 'ClusterSetIP',
  addresses: ['\x0a\0\0\x01'],
  ports: [{ ...HTTP }],
  ...changes,
})

const sliceFacts = (changes: Partial<SliceFacts> = {}): SliceFacts => ({
  namespace: 'demo',
  name: 'db-1',
  service: 'db',
  clusterId: 'c1',
  isServiceAddress: false,
  ports: [{ ...HTTP }],
  endpoints: [{ host: 'a', addresses: ['\x0a\x01\0\x01'] }],
  notReady: 0,
  ...changes,
})

function storeWithTouches(): { store: ObjectStore; touches: [string, number | undefined][] } {
  const touches: [string, number | undefined][] = []
  return { store: new ObjectStore((service, atMs) => touches.push([service, atMs])), touches }
}

suite('object store', () => {
  test('what is seen again, as in every list, touches no service and is no change to write down', () => {
    const { store, touches } = storeWithTouches()
    store.putImport('demo/db', importFacts())
    store.putSlice('demo/db-1', 'demo/db', sliceFacts(), 1)
    const { changes } = store
    const former = store.of('demo/db')
    touches.length = 0
    store.putImport('demo/db', importFacts())
    store.putSlice('demo/db-1', 'demo/db', sliceFacts(), 2)
    assert.deepEqual([touches, store.changes], [[], changes])
    assert.equal(store.of('demo/db').slices[0], former.slices[0])
    // The time of a change that DNS does not see belongs to no later one.
    store.putSlice('demo/db-1', 'demo/db', sliceFacts({ clusterId: 'c2' }), 2)
    assert.deepEqual(touches, [['demo/db', undefined]])
  })

  const importChanges: Partial<ServiceImportFacts>[] = [
    { type: 'Headless' },
    { addresses: [] },
    { addresses: ['\x0a\0\0\x02'] },
    { addresses: ['\x0a\0\0\x01', '\x0a\0\0\x02'] },
    { ports: [] },
    { ports: [{ ...HTTP, name: 'web' }] },
    { ports: [{ ...HTTP, protocol: 'udp' }] },
    { ports: [{ ...HTTP, port: 81 }] },
  ]
  for (const changes of importChanges) {
    test(`an import that differs in ${JSON.stringify(changes)} touches its service`, () => {
      const { store, touches } = storeWithTouches()
      store.putImport('demo/db', importFacts())
      store.putImport('demo/db', importFacts(changes))
      assert.equal(touches.length, 2)
      assert.deepEqual(store.of('demo/db').import, importFacts(changes))
    })
  }

  const sliceChanges: Partial<SliceFacts>[] = [
    { clusterId: 'c2' },
    { clusterId: undefined },
    { isServiceAddress: true },
    { notReady: 1 },
    { ports: [{ ...HTTP, port: 81 }] },
    { endpoints: [] },
    { endpoints: [{ host: 'b', addresses: ['\x0a\x01\0\x01'] }] },
    { endpoints: [{ host: 'a', addresses: ['\x0a\x01\0\x02'] }] },
    { endpoints: [{ host: 'a', addresses: ['\x0a\x01\0\x01', '\x0a\x01\0\x02'] }] },
  ]
  for (const changes of sliceChanges) {
    test(`a slice that differs in ${JSON.stringify(changes)} touches its service`, () => {
      const { store, touches } = storeWithTouches()
      store.putSlice('demo/db-1', 'demo/db', sliceFacts())
      store.putSlice('demo/db-1', 'demo/db', sliceFacts(changes))
      assert.equal(touches.length, 2)
      assert.deepEqual(store.of('demo/db').slices, [sliceFacts(changes)])
    })
  }

  test('a slice that moves to another service touches both, and is found at the new one alone', () => {
    const { store, touches } = storeWithTouches()
    store.putSlice('demo/db-1', 'demo/db', sliceFacts())
    store.putSlice('demo/db-1', 'demo/web', sliceFacts({ service: 'web' }))
    assert.deepEqual(
      touches.map(([service]) => service),
      ['demo/db', 'demo/db', 'demo/web'],
    )
    assert.deepEqual(store.of('demo/db').slices, [])
    assert.equal(store.of('demo/web').slices.length, 1)
  })
})
