/** Every object of the manifests, applied to a real API server as a dry run, where KUBEBUILDER_ASSETS names a folder with one. */

import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { ApiRequests } from '../common/api-requests.ts'
import type { ApiUnderTest } from '../common/api-under-test.ts'
import { realApiServerFolder, startRealApiServer } from '../common/real-api-server.ts'
import { built, FOLDERS } from './built.ts'

/** Kinds of others, whose CRDs come with the Prometheus Operator and with Cilium. */
const OF_OTHERS = new Set(['PodMonitor', 'PrometheusRule', 'CiliumLocalRedirectPolicy'])

const folder = realApiServerFolder()
const skip = folder === undefined ? 'set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver' : false

suite('a dry run of the manifests on a real API server', { skip }, () => {
  let api: ApiUnderTest
  let admin: ApiRequests

  before(async () => {
    api = await startRealApiServer(folder!)
    admin = new ApiRequests(await api.kubeconfig())
  })
  after(() => api?.stop())

  for (const overlay of FOLDERS) {
    test(`${overlay} is accepted whole`, async (t) => {
      const objects = built(t, overlay)?.filter(({ kind }) => !OF_OTHERS.has(kind))
      if (objects === undefined) return
      for (const namespace of new Set(objects.flatMap(({ metadata }) => metadata.namespace ?? []))) {
        // A dry run makes none, and the objects in it would be refused.
        const made = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }
        const { status, body } = await admin.apply(made, { dryRun: false })
        assert.ok(status === 200 || status === 201, JSON.stringify(body))
      }
      for (const object of objects) {
        const { status, body } = await admin.apply(object, { dryRun: true })
        assert.ok(status === 200 || status === 201, `${object.kind} ${object.metadata.name}: ${JSON.stringify(body)}`)
      }
    })
  }

  test('would refuse a field that Kubernetes does not know', async () => {
    const wrong = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'default', name: 'wrong' },
      spec: { clusterIp: '' },
    }
    const { status, body } = await admin.apply(wrong, { dryRun: true })
    // Kubernetes says 500 to it, for want of a better code; that it means the field is in the words alone.
    assert.ok(status >= 400, `${status}`)
    assert.match((body as { message: string }).message, /clusterIp: field not declared in schema/)
  })
})
