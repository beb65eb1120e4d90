/** What the requests to a real API server look like, seen by a server that only writes them down: there is none on most machines. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ApiRequests } from './api-requests.ts'
import { authority } from './certificates.ts'
import { writeKubeconfig } from './kubeconfig.ts'

const RESOURCES: Readonly<Record<string, object>> = {
  '/api/v1': {
    resources: [
      { name: 'namespaces', kind: 'Namespace', namespaced: false },
      { name: 'serviceaccounts', kind: 'ServiceAccount', namespaced: true },
      { name: 'serviceaccounts/token', kind: 'TokenRequest', namespaced: true },
    ],
  },
  '/apis/rbac.authorization.k8s.io/v1': {
    resources: [{ name: 'clusterroles', kind: 'ClusterRole', namespaced: false }],
  },
}

interface Seen {
  readonly line: string
  readonly type: string | undefined
  readonly authorization: string | undefined
  readonly body: string
}

async function client(t: TestContext): Promise<{ requests: ApiRequests; seen: Seen[] } | undefined> {
  const certificates = authority(t)
  if (certificates === undefined) return undefined
  const seen: Seen[] = []
  const { certificate, key } = certificates.server()
  const server = createServer({ cert: certificate, key }, (request, response) => {
    const { method, url, headers } = request
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      seen.push({ line: `${method} ${url}`, type: headers['content-type'], authorization: headers.authorization, body })
      const document = RESOURCES[url ?? '']
      if (document !== undefined) response.end(JSON.stringify(document))
      else response.writeHead(method === 'PATCH' ? 201 : 404).end('{"kind":"Status"}')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const directory = mkdtempSync(join(tmpdir(), 'api-requests-'))
  t.after(() => {
    server.close()
    server.closeAllConnections()
    rmSync(directory, { recursive: true })
  })
  const path = join(directory, 'ca.crt')
  writeFileSync(path, certificates.certificate)
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const kubeconfig = await writeKubeconfig(join(directory, 'kubeconfig'), url, { token: 'of-the-administrator' }, path)
  return { requests: new ApiRequests(kubeconfig), seen }
}

test('an object is applied by server-side apply at the path of its kind, strictly, and as a dry run where that is wanted', async (t) => {
  const made = await client(t)
  if (made === undefined) return
  const { requests, seen } = made
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'kube-system', name: 'a' } }
  const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'b' } }
  assert.equal((await requests.apply(account, { dryRun: true })).status, 201)
  assert.deepEqual((await requests.apply(role, { dryRun: false })).body, { kind: 'Status' })
  const strictly = 'fieldManager=manifests&force=true&fieldValidation=Strict'
  assert.deepEqual(
    seen.map(({ line }) => line),
    [
      'GET /api/v1',
      `PATCH /api/v1/namespaces/kube-system/serviceaccounts/a?${strictly}&dryRun=All`,
      'GET /apis/rbac.authorization.k8s.io/v1',
      `PATCH /apis/rbac.authorization.k8s.io/v1/clusterroles/b?${strictly}`,
    ],
  )
  assert.equal(seen[1]!.type, 'application/apply-patch+yaml')
  assert.equal(seen[1]!.authorization, 'Bearer of-the-administrator')
  assert.deepEqual(JSON.parse(seen[1]!.body), account)
})

test('a kind that is not served, and an object without the namespace it needs, are told before anything is sent', async (t) => {
  const made = await client(t)
  if (made === undefined) return
  const { requests, seen } = made
  const monitor = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PodMonitor',
    metadata: { namespace: 'a', name: 'b' },
  }
  await assert.rejects(requests.apply(monitor, { dryRun: true }), /does not serve PodMonitor/)
  const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'a' } }
  await assert.rejects(requests.apply(account, { dryRun: true }), /names no namespace/)
  assert.ok(seen.every(({ line }) => line.startsWith('GET')))
})
