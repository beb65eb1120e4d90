/**
 * What the zone does while it follows an API server: one suite for every server that can be put under it, the in-repo
 * one and a real one. One server serves a whole suite; each test begins without objects and with the CRDs in both versions.
 */

import assert from 'node:assert/strict'
import { after, afterEach, before, suite, type TestContext, test } from 'node:test'
import { type ControlPlane, type ControlSettings, startControlPlane } from '../../src/control/control-plane.ts'
import { WATCH_LIMITS } from '../../src/control/watch.ts'
import type { ApiUnderTest, KubernetesObject, ObjectKind } from '../common/api-under-test.ts'
import { clusterSetIp, headless, newStage, SETTINGS, type Stage, slice, until } from './support.ts'

export interface ApiScene extends Stage {
  readonly controlPlane: ControlPlane
}

/** Starts the control plane against an API server; it is stopped when the test ends. */
export async function follow(
  t: TestContext,
  /** Its path; null: the pod's service account. */
  kubeconfig: string | null,
  changes: Partial<ControlSettings['kubernetes']> & {
    limits?: Partial<typeof WATCH_LIMITS>
    nowMs?: () => number
  } = {},
): Promise<ApiScene> {
  const { limits, nowMs, ...kubernetes } = changes
  const stage = newStage()
  const controlPlane = await startControlPlane(
    {
      ...SETTINGS,
      source: 'kubernetes',
      kubernetes: { ...SETTINGS.kubernetes, kubeconfig, ...kubernetes },
      watchLimits: { ...WATCH_LIMITS, ...limits },
    },
    { ...stage.parts, ...(nowMs !== undefined && { nowMs }) },
  )
  t.after(() => controlPlane.stop())
  return { ...stage, controlPlane }
}

/** Starts the control plane and waits until the zone may deny names. */
export async function followUntilSynced(...args: Parameters<typeof follow>): Promise<ApiScene> {
  const scene = await follow(...args)
  await until('the zone is synced', () => scene.zone.state === 'synced')
  return scene
}

/** Fails the test should a name ever be missing while `during` runs. */
export async function neverDenied(scene: ApiScene, service: string, during: () => Promise<void>): Promise<void> {
  let isDenied = false
  const look = setInterval(() => {
    if (scene.addressesOf(service) === undefined) isDenied = true
  }, 1)
  try {
    await during()
  } finally {
    clearInterval(look)
  }
  assert.equal(isDenied, false, `${service} was denied`)
}

/** The objects of one test at a time, so that what it leaves can be taken away. */
class Objects {
  readonly #api: ApiUnderTest
  readonly #there = new Map<string, KubernetesObject>()
  #isCrdAsAtTheStart = true

  constructor(api: ApiUnderTest) {
    this.#api = api
  }

  async put(object: KubernetesObject): Promise<void> {
    await this.#api.apply(object)
    this.#there.set(this.#keyOf(object), object)
  }

  async delete(object: KubernetesObject): Promise<void> {
    this.#there.delete(this.#keyOf(object))
    await this.#api.remove(object.kind as ObjectKind, object.metadata.namespace, object.metadata.name)
  }

  /** No version: the CRD is removed, and its objects with it. */
  async serveImports(versions: readonly ('v1beta1' | 'v1alpha1')[]): Promise<void> {
    this.#isCrdAsAtTheStart = versions.length === 2
    if (versions.length > 0) return await this.#api.installCrd(versions)
    for (const [key, { kind }] of this.#there) if (kind === 'ServiceImport') this.#there.delete(key)
    await this.#api.removeCrd()
  }

  async clear(): Promise<void> {
    if (!this.#isCrdAsAtTheStart) await this.serveImports(['v1beta1', 'v1alpha1'])
    for (const object of this.#there.values()) await this.delete(object)
  }

  #keyOf({ kind, metadata }: KubernetesObject): string {
    return `${kind} ${metadata.namespace}/${metadata.name}`
  }
}

export function zoneFollows(name: string, start: () => Promise<ApiUnderTest>): void {
  suite(`the zone follows ${name}`, { timeout: 1_800_000 }, () => {
    let server: ApiUnderTest
    let objects: Objects
    before(async () => {
      server = await start()
      objects = new Objects(server)
    })
    afterEach(() => objects.clear())
    after(() => server?.stop())

    const opened = async (...given: KubernetesObject[]): Promise<Objects & { kubeconfig: string }> => {
      for (const object of given) await objects.put(object)
      return Object.assign(objects, { kubeconfig: await server.kubeconfig() })
    }

    test('everything that is there is published before anything is denied', async (t) => {
      const api = await opened(
        clusterSetIp('web', '10.0.0.1'),
        headless('db'),
        slice('db-1', 'db', ['10.1.0.1', '10.1.0.2']),
      )
      const scene = await followUntilSynced(t, api.kubeconfig)
      assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
      assert.deepEqual(scene.addressesOf('db'), ['10.1.0.1', '10.1.0.2'])
      const { synced, crdVersion, objects } = scene.controlPlane.status()
      assert.deepEqual({ synced, crdVersion }, { synced: true, crdVersion: 'v1beta1' })
      assert.deepEqual(objects, { serviceImport: 2, endpointSlice: 1 })
      await until('both watches are open', () => scene.controlPlane.status().connected)
    })

    test('an empty cluster is synced too', async (t) => {
      const api = await opened()
      const { controlPlane } = await followUntilSynced(t, api.kubeconfig)
      assert.deepEqual(controlPlane.status().objects, { serviceImport: 0, endpointSlice: 0 })
    })

    test('imports and slices are added, changed and deleted', async (t) => {
      const api = await opened()
      const { addressesOf } = await followUntilSynced(t, api.kubeconfig)
      await api.put(clusterSetIp('web', '10.0.0.1'))
      await until('the import is there', () => addressesOf('web')?.[0] === '10.0.0.1')
      await api.put(clusterSetIp('web', '10.0.0.2'))
      await until('the import is changed', () => addressesOf('web')?.[0] === '10.0.0.2')
      await api.delete(clusterSetIp('web', '10.0.0.2'))
      await until('the import is gone', () => addressesOf('web') === undefined)

      await api.put(headless('db'))
      await api.put(slice('db-1', 'db', ['10.1.0.1']))
      await until('the slice is there', () => addressesOf('db')?.length === 1)
      await api.put(slice('db-1', 'db', ['10.1.0.1', '10.1.0.2']))
      await until('the slice is changed', () => addressesOf('db')?.length === 2)
      await api.delete(slice('db-1', 'db', []))
      await until('the slice is gone', () => addressesOf('db') === undefined)
    })

    test('a slice may come before its import', async (t) => {
      const api = await opened()
      const { addressesOf, controlPlane } = await followUntilSynced(t, api.kubeconfig)
      await api.put(slice('db-1', 'db', ['10.1.0.1']))
      await until('the slice is known', () => controlPlane.status().objects.endpointSlice === 1)
      assert.equal(addressesOf('db'), undefined)
      await api.put(headless('db'))
      await until('both are published', () => addressesOf('db')?.length === 1)
    })

    test('a slice may move to another service, and lose its label', async (t) => {
      const api = await opened(headless('a'), headless('b'), slice('s', 'a', ['10.1.0.1']))
      const { addressesOf } = await followUntilSynced(t, api.kubeconfig)
      assert.deepEqual(addressesOf('a'), ['10.1.0.1'])
      await api.put(slice('s', 'b', ['10.1.0.1']))
      await until('it moved', () => addressesOf('a') === undefined && addressesOf('b')?.length === 1)
      const plain = slice('s', 'b', ['10.1.0.1'])
      await api.put({ ...plain, metadata: { name: 's', namespace: 'demo', labels: {} } })
      await until('it is no slice of ours', () => addressesOf('b') === undefined)
    })

    test('a change is measured once, from its arrival and from the time that its slice tells', async (t) => {
      const changed = (name: string, addresses: string[], secondsAgo: number): KubernetesObject => {
        const made = slice(name, 'db', addresses)
        const at = new Date(Date.now() - secondsAgo * 1000).toISOString()
        const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': at }
        return { ...made, metadata: { ...made.metadata, annotations } }
      }
      const first = changed('db-1', ['10.1.0.1'], 1000)
      const api = await opened(headless('db'), first)
      const { addressesOf, published, programmed } = await followUntilSynced(t, api.kubeconfig)
      // What was there before took no time of ours.
      assert.deepEqual([published, programmed], [[], []])
      await api.put(changed('db-2', ['10.1.0.2'], 100))
      await until('the change is published', () => addressesOf('db')?.length === 2)
      // Changed without a new time, from a clock that is ahead, and without any time.
      await api.put({ ...first, endpoints: [{ addresses: ['10.1.0.9'] }] })
      await until('the change is published', () => addressesOf('db')?.includes('10.1.0.9') === true)
      await api.put(changed('db-3', ['10.1.0.3'], -1000))
      await api.put(slice('db-4', 'db', ['10.1.0.4']))
      await until('the changes are published', () => addressesOf('db')?.length === 4)
      assert.ok(published.length >= 3 && published.every((seconds) => seconds >= 0), String(published))
      assert.equal(programmed.length, 1)
      assert.ok(programmed[0]! >= 100, String(programmed))
    })

    test('slices of local services are not even asked for', async (t) => {
      const local = slice('web-abc', 'web', ['10.9.0.1'])
      const api = await opened(headless('web'), {
        ...local,
        metadata: { ...local.metadata, labels: { 'kubernetes.io/service-name': 'web' } },
      })
      const { controlPlane, addressesOf } = await followUntilSynced(t, api.kubeconfig)
      assert.equal(controlPlane.status().objects.endpointSlice, 0)
      assert.equal(addressesOf('web'), undefined)
    })

    test('a service may change its type there and back', async (t) => {
      const api = await opened(headless('web'), slice('web-1', 'web', ['10.1.0.1']))
      const { addressesOf } = await followUntilSynced(t, api.kubeconfig)
      assert.deepEqual(addressesOf('web'), ['10.1.0.1'])
      await api.put(clusterSetIp('web', '10.0.0.1'))
      await until('it has a clusterset IP', () => addressesOf('web')?.[0] === '10.0.0.1')
      await api.put(headless('web'))
      await until('it is headless again', () => addressesOf('web')?.[0] === '10.1.0.1')
    })

    test('restricted to namespaces, one of them named twice, others are not seen', async (t) => {
      const api = await opened(
        clusterSetIp('a', '10.0.0.1', 'one'),
        clusterSetIp('b', '10.0.0.2', 'two'),
        clusterSetIp('c', '10.0.0.3', 'three'),
      )
      const { addressesOf } = await followUntilSynced(t, api.kubeconfig, { namespaces: ['one', 'three', 'one'] })
      assert.deepEqual(addressesOf('a', 'one'), ['10.0.0.1'])
      assert.deepEqual(addressesOf('c', 'three'), ['10.0.0.3'])
      assert.equal(addressesOf('b', 'two'), undefined)
      await api.put(clusterSetIp('d', '10.0.0.4', 'three'))
      await until('a new one is seen', () => addressesOf('d', 'three') !== undefined)
    })

    test('v1alpha1 is good enough where nothing newer is served, and left when something is', async (t) => {
      const api = await opened()
      await api.serveImports(['v1alpha1'])
      await api.put({ ...clusterSetIp('web', '10.0.0.1'), apiVersion: 'multicluster.x-k8s.io/v1alpha1' })
      const { controlPlane, addressesOf } = await followUntilSynced(t, api.kubeconfig)
      assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
      assert.equal(controlPlane.status().crdVersion, 'v1alpha1')
      // The end of an open watch is what tells that the CRD changed.
      await until('both watches are open', () => controlPlane.status().connected)
      await api.serveImports(['v1beta1', 'v1alpha1'])
      await until('the newer version is in use', () => controlPlane.status().crdVersion === 'v1beta1')
      assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    })

    test('CRDs may be absent, come and go', async (t) => {
      const api = await opened()
      await api.serveImports([])
      const { zone, addressesOf, controlPlane, log, states } = await follow(t, api.kubeconfig)
      await until('their absence is known', () => zone.state === 'absent')
      assert.equal(controlPlane.status().crdVersion, null)
      assert.ok(log.some(({ event }) => event === 'crds-absent'))
      await api.serveImports(['v1beta1', 'v1alpha1'])
      await api.put(clusterSetIp('web', '10.0.0.1'))
      await until('they are served and listed', () => zone.state === 'synced')
      await until('an import is there', () => addressesOf('web') !== undefined)
      await until('both watches are open', () => controlPlane.status().connected)
      await api.serveImports([])
      await until('the import is gone', () => addressesOf('web') === undefined)
      await until('their absence is known again', () => zone.state === 'absent')
      assert.deepEqual(states, ['absent', 'unsynced', 'synced', 'absent'])
    })

    test('a service of thousands of endpoints is published whole, and follows one of them', async (t) => {
      const api = await opened(headless('big'))
      const addresses = (i: number): string[] => Array.from({ length: 100 }, (_, j) => `10.${64 + i}.0.${j}`)
      for (let i = 0; i < 20; i++) await api.put(slice(`big-${i}`, 'big', addresses(i)))
      const { addressesOf, zone } = await followUntilSynced(t, api.kubeconfig)
      assert.equal(addressesOf('big')?.length, 2_000)
      // Each endpoint's name, the service's own and its port's.
      assert.equal(zone.nameCount, 2_002)
      await api.put(slice('big-7', 'big', addresses(7).slice(1)))
      await until('one endpoint is gone', () => addressesOf('big')?.length === 1_999)
      assert.equal(addressesOf('10-71-0-0.east.big'), undefined)
      for (let i = 0; i < 16; i++) await api.delete(slice(`big-${i}`, 'big', []))
      await until('most of it is gone', () => addressesOf('big')?.length === 400)
      assert.equal(zone.nameCount, 402)
    })

    // The last one: what it leaves goes with the server.
    test('10,000 services with 100,000 endpoints are published, and one of them changes', {
      timeout: 900_000,
    }, async (t) => {
      const addresses = (i: number): string[] =>
        Array.from({ length: 20 }, (_, j) => `10.${100 + j}.${i >> 8}.${i & 255}`)
      const all: KubernetesObject[] = []
      for (let i = 0; i < 5_000; i++) {
        all.push(
          clusterSetIp(`v${i}`, `10.${i >> 8}.${i & 255}.1`),
          headless(`h${i}`),
          slice(`h${i}-1`, `h${i}`, addresses(i)),
        )
      }
      await server.applyMany(all)
      const { controlPlane, addressesOf, zone } = await followUntilSynced(t, await server.kubeconfig())
      assert.deepEqual(controlPlane.status().objects, { serviceImport: 10_000, endpointSlice: 5_000 })
      assert.equal(zone.serviceCount, 10_000)
      for (const i of [0, 1, 2_499, 4_999]) {
        assert.deepEqual(addressesOf(`v${i}`), [`10.${i >> 8}.${i & 255}.1`])
        assert.equal(addressesOf(`h${i}`)?.length, 20)
      }
      await server.apply(slice('h2499-1', 'h2499', addresses(2_499).slice(1)))
      await until('one endpoint is gone', () => addressesOf('h2499')?.length === 19)
    })
  })
}
