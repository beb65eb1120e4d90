/** What any API server under test must do; run against the real one where there is one, it checks the small one's manners. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { ApiClient, type WatchUnderTest } from './api-client.ts'
import type { ApiUnderTest, KubernetesObject } from './api-under-test.ts'
import { until } from './until.ts'

const IMPORTS = '/apis/multicluster.x-k8s.io/v1beta1/serviceimports'
const SLICES = '/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices'
const SERVICE = 'multicluster.kubernetes.io/service-name'
const STREAM = 'watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan'

export function serviceImport(name: string, ip = '10.0.0.1', namespace = 'demo'): KubernetesObject {
  return {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { name, namespace },
    spec: { type: 'ClusterSetIP', ips: [ip], ports: [{ port: 80, protocol: 'TCP' }] },
  }
}

export function slice(name: string, labels: Record<string, string>, namespace = 'demo'): KubernetesObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace, labels },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.0.1'] }],
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  }
}

/** One server for all; each test begins and ends without objects. */
export function behavesLikeAnApiServer(open: () => Promise<ApiUnderTest>): void {
  describe('any API server', { timeout: 600_000 }, () => {
    let api: ApiUnderTest
    let client: ApiClient
    const watches: WatchUnderTest[] = []
    const watch = async (path: string): Promise<WatchUnderTest> => {
      const opened = await client.watch(path)
      watches.push(opened)
      return opened
    }
    before(async () => {
      api = await open()
      client = await ApiClient.open(await api.kubeconfig())
    })
    after(async () => {
      for (const opened of watches) opened.close()
      await api.stop()
    })
    const versionNow = async (): Promise<string> => (await client.get(SLICES)).json.metadata.resourceVersion

    test('lists in order, in pages of one state', async () => {
      await api.applyMany(['a', 'b', 'c'].map((name) => slice(name, { [SERVICE]: 'pages' })))
      const selected = `${SLICES}?labelSelector=${encodeURIComponent(`${SERVICE} in (pages)`)}`
      const first = (await client.get(`${selected}&limit=2`)).json
      assert.equal(first.kind, 'EndpointSliceList')
      // Built-in kinds come without; where they are served as custom ones, with.
      const kinds = new Set(first.items.map(({ kind }) => (kind as string | undefined) ?? 'none'))
      assert.ok(kinds.size === 1 && (kinds.has('none') || kinds.has('EndpointSlice')), String([...kinds]))
      assert.equal(first.metadata.remainingItemCount, undefined)
      await api.remove('EndpointSlice', 'demo', 'c')
      const second = (await client.get(`${selected}&limit=2&continue=${first.metadata.continue}`)).json
      assert.deepEqual(
        [...first.items, ...second.items].map((item) => item.metadata.name),
        ['a', 'b', 'c'],
      )
      assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion)
      for (const name of ['a', 'b']) await api.remove('EndpointSlice', 'demo', name)
    })

    test('says kind and apiVersion with each item of a custom resource', async () => {
      await api.apply(serviceImport('kind'))
      const { kind, items } = (await client.get(IMPORTS)).json
      assert.equal(kind, 'ServiceImportList')
      assert.deepEqual(
        items.map((item) => [item.kind, item.apiVersion]),
        [['ServiceImport', 'multicluster.x-k8s.io/v1beta1']],
      )
      await api.remove('ServiceImport', 'demo', 'kind')
    })

    test('watches what is selected, and what leaves the selection as deleted', async () => {
      await api.apply(slice('s', { [SERVICE]: 'one' }))
      const { events, told } = await watch(
        `${SLICES}?watch=true&resourceVersion=${await versionNow()}&labelSelector=${encodeURIComponent(SERVICE)}`,
      )
      await api.apply(slice('s', { [SERVICE]: 'two' }))
      await api.apply(slice('s', {}))
      await api.apply(slice('s', { [SERVICE]: 'three' }))
      await api.remove('EndpointSlice', 'demo', 's')
      await until(() => events.length >= 4)
      assert.deepEqual(told(), ['MODIFIED s', 'DELETED s', 'ADDED s', 'DELETED s'])
      assert.equal((events[1]!.object.metadata['labels'] as Record<string, string>)[SERVICE], 'two')
      const versions = events.map(({ object }) => Number(object.metadata['resourceVersion']))
      assert.ok(versions.every((version, i) => i === 0 || version > versions[i - 1]!))
    })

    test('begins a watch without a version with what there is', async () => {
      await api.apply(serviceImport('there'))
      const { told } = await watch(`${IMPORTS}?watch=true`)
      await api.apply(serviceImport('there', '10.0.0.2'))
      await api.remove('ServiceImport', 'demo', 'there')
      await until(() => told().length >= 3)
      assert.deepEqual(told(), ['ADDED there', 'MODIFIED there', 'DELETED there'])
    })

    test('streams a list or says 422', async () => {
      await api.apply(serviceImport('streamed'))
      const path = `${IMPORTS}?${STREAM}&timeoutSeconds=2`
      const { status, events, told } = await watch(path)
      if (status !== 200) assert.equal(status, 422)
      else {
        await until(() => events.length >= 2)
        assert.deepEqual(told().slice(0, 2), ['ADDED streamed', 'BOOKMARK'])
        assert.deepEqual(events[1]!.object.metadata['annotations'], { 'k8s.io/initial-events-end': 'true' })
      }
      await api.remove('ServiceImport', 'demo', 'streamed')
    })

    test('says within the stream that it has not come so far', async () => {
      const { status, events } = await watch(`${IMPORTS}?${STREAM}&timeoutSeconds=5&resourceVersion=99999999999`)
      if (status !== 200) return assert.equal(status, 422)
      await until(() => events.length >= 1)
      assert.deepEqual([events[0]!.type, events[0]!.object.code, events[0]!.object.reason], ['ERROR', 504, 'Timeout'])
    })

    test('ends a watch when its time is over, with a bookmark before if it took a while and something happened', async () => {
      const query = `watch=true&allowWatchBookmarks=true&resourceVersion=${await versionNow()}`
      const quiet = await watch(`${SLICES}?${query}&timeoutSeconds=4`)
      await until(() => quiet.hasEnded())
      const short = await watch(`${SLICES}?${query}&timeoutSeconds=1`)
      const long = await watch(`${SLICES}?${query}&timeoutSeconds=5`)
      await api.apply(slice('newer', {}))
      const all = [quiet, short, long]
      await until(() => all.every((one) => one.hasEnded()))
      assert.deepEqual(
        all.map((one) => one.told()),
        [[], ['ADDED newer'], ['ADDED newer', 'BOOKMARK']],
      )
      await api.remove('EndpointSlice', 'demo', 'newer')
    })

    test('fills in what a slice does not say', async () => {
      await api.apply({ ...slice('bare', {}), ports: [{ port: 80 }] })
      const { endpoints, ports } = (await client.get(`${SLICES}/bare`)).json as unknown as KubernetesObject
      assert.deepEqual(endpoints, [{ addresses: ['10.1.0.1'], conditions: {} }])
      assert.deepEqual(ports, [{ name: '', protocol: 'TCP', port: 80 }])
      await api.remove('EndpointSlice', 'demo', 'bare')
    })

    test('takes a negative limit for none', async () => {
      assert.equal((await client.get(`${SLICES}?limit=-1&timeoutSeconds=-1`)).status, 200)
    })

    test('says of a built-in group that it has no such resource, in a Status', async () => {
      const { status, json } = await client.get('/apis/discovery.k8s.io/v1/nothing')
      assert.deepEqual([status, json.kind, json.reason], [404, 'Status', 'NotFound'])
    })

    const refused = [
      { query: 'limit=x', status: [400] },
      { query: `labelSelector=${encodeURIComponent('a in b')}`, status: [400] },
      { query: 'continue=x', status: [400] },
      { query: 'timeoutSeconds=x', status: [400] },
      { query: 'resourceVersion=x', status: [400] },
      { query: 'resourceVersionMatch=Exact', status: [422] },
      { query: 'watch=true&continue=x', status: [422] },
      { query: 'watch=true&resourceVersionMatch=NotOlderThan', status: [422] },
      { query: 'watch=true&sendInitialEvents=true', status: [422] },
      { query: 'resourceVersion=99999999999', status: [504] },
    ]
    for (const { query, status } of refused) {
      test(`refuses ${query}`, async () => {
        // A server that does not refuse it may begin to watch, and is to end it.
        assert.ok(status.includes((await client.get(`${SLICES}?${query}&timeoutSeconds=5`)).status))
      })
    }

    test('serves the versions of the CRD that are installed, and 404 without', async () => {
      await api.installCrd(['v1alpha1'])
      assert.equal((await client.get(IMPORTS)).status, 404)
      const group = await client.get('/apis/multicluster.x-k8s.io')
      assert.equal(group.json.preferredVersion.version, 'v1alpha1')
      await api.apply({ ...serviceImport('old'), apiVersion: 'multicluster.x-k8s.io/v1alpha1' })
      await api.installCrd(['v1beta1', 'v1alpha1'])
      const { told, hasEnded } = await watch(`${IMPORTS}?watch=true`)
      await until(() => told().length === 1)
      await api.removeCrd()
      assert.equal((await client.get(IMPORTS)).status, 404)
      assert.equal((await client.get('/apis/multicluster.x-k8s.io')).status, 404)
      await until(() => hasEnded())
      assert.deepEqual(told(), ['ADDED old', 'DELETED old'])
      await api.installCrd(['v1beta1'])
      assert.deepEqual(await client.names(IMPORTS), [])
    })
  })
}
