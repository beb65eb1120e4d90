/**
 * What can be done to a real API server, where KUBEBUILDER_ASSETS names a folder with one: killed, changed meanwhile, its history
 * compacted. No moment in which a known name is denied. More can be done to the in-repo one: `api-faults.test.ts`.
 */

import assert from 'node:assert/strict'
import { after, afterEach, before, suite, type TestContext, test } from 'node:test'
import type { KubernetesObject } from '../common/api-under-test.ts'
import { type RealApiServer, realApiServerFolder, startRealApiServer } from '../common/real-api-server.ts'
import { type ApiScene, followUntilSynced, neverDenied } from './api-suite.ts'
import { clusterSetIp, headless, slice, until } from './support.ts'

const folder = realApiServerFolder()
const skip = folder === undefined ? 'set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver' : false

for (const hasWatchList of [true, false]) {
  suite(`the zone survives a real API server ${hasWatchList ? 'with' : 'without'} streaming lists that`, {
    skip,
  }, () => {
    let server: RealApiServer
    let there: KubernetesObject[] = []
    before(async () => {
      server = await startRealApiServer(folder!, hasWatchList ? {} : { featureGates: 'WatchList=false' })
    })
    after(() => server?.stop())
    afterEach(async () => {
      for (const { kind, metadata } of there.splice(0)) {
        await server.remove(kind as 'ServiceImport' | 'EndpointSlice', metadata.namespace, metadata.name)
      }
    })

    const put = async (...objects: KubernetesObject[]): Promise<void> => {
      for (const object of objects) await server.apply(object)
      there.push(...objects)
    }
    const connected = (scene: ApiScene): Promise<void> =>
      until('both watches are open', () => scene.controlPlane.status().connected)
    const opened = async (t: TestContext): Promise<ApiScene> => {
      const scene = await followUntilSynced(t, await server.kubeconfig())
      await connected(scene)
      return scene
    }

    for (const [how, signal] of [
      ['is killed', 'SIGKILL'],
      ['is stopped', 'SIGTERM'],
    ] as const) {
      test(`${how} and comes back`, async (t) => {
        await put(clusterSetIp('web', '10.0.0.1'), headless('db'), slice('db-1', 'db', ['10.1.0.1']))
        const scene = await opened(t)
        await neverDenied(scene, 'web', async () => {
          await server.restart(signal)
          await connected(scene)
        })
        assert.deepEqual(scene.addressesOf('db'), ['10.1.0.1'])
        await put(clusterSetIp('new', '10.0.0.2'))
        await until('what is new is there', () => scene.addressesOf('new') !== undefined)
      })
    }

    test('comes back changed and without its history: what vanished is removed, what stayed is never denied', async (t) => {
      await put(clusterSetIp('stays', '10.0.0.1'), headless('db'))
      await server.apply(clusterSetIp('goes', '10.0.0.2'))
      await server.apply(slice('db-1', 'db', ['10.1.0.1']))
      const scene = await opened(t)
      const changed = slice('db-2', 'db', ['10.1.0.2'])
      await neverDenied(scene, 'stays', async () => {
        await server.restart('SIGKILL', async (other) => {
          await other.remove('ServiceImport', 'demo', 'goes')
          await other.remove('EndpointSlice', 'demo', 'db-1')
          await other.apply(changed)
          await server.compact()
        })
        await until('what vanished is removed', () => scene.addressesOf('goes') === undefined)
        await until('the slices are the new ones', () => scene.addressesOf('db')?.join() === '10.1.0.2')
      })
      there.push(changed)
      assert.ok((scene.controlPlane.status().watchErrors.get('410') ?? 0) >= 1)
      assert.ok(scene.controlPlane.status().relists >= 1)
    })

    test('forgets its history under open watches: they go on', async (t) => {
      await put(clusterSetIp('web', '10.0.0.1'))
      const scene = await opened(t)
      await server.compact()
      await put(clusterSetIp('new', '10.0.0.2'))
      await until('what is new is there', () => scene.addressesOf('new') !== undefined)
      assert.equal(scene.controlPlane.status().relists, 0)
    })
  })
}
