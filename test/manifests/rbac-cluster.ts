/** A cluster in which an agent has exactly what roles grant: the in-repo API server with the same rules, or a real one. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../common/agent-process.ts'
import { ApiRequests, type AppliedObject } from '../common/api-requests.ts'
import type { ApiUnderTest } from '../common/api-under-test.ts'
import { startFakeApiServer } from '../common/fake-api-server.ts'
import { writeKubeconfig } from '../common/kubeconfig.ts'
import { type Access, allows, granted, type RbacObject } from '../common/rbac.ts'
import { startRealApiServer } from '../common/real-api-server.ts'

/** Whom the DaemonSet runs as. */
export const ACCOUNT = { namespace: 'kube-system', name: 'nodelocal-mcs' }

export interface RbacCluster {
  readonly api: ApiUnderTest
  /** Of the service account, which may do what `grant` said last. */
  readonly kubeconfig: string
  /** What was asked of resources so far; undefined where the server does not tell. */
  readonly accesses: ReadonlySet<string> | undefined
  /** From now on the account has what these objects grant, and nothing else. */
  grant(objects: readonly RbacObject[]): Promise<void>
  stop(): Promise<void>
}

export interface ClusterOptions {
  /** Whether lists are streamed (WatchList), or asked for by pages. */
  readonly hasWatchList: boolean
}

export async function startInRepoCluster({ hasWatchList }: ClusterOptions): Promise<RbacCluster> {
  let grants: readonly Access[] = []
  const api = await startFakeApiServer({
    hasWatchList,
    tokens: ['of-the-account'],
    allows: (asked) => allows(grants, asked),
  })
  return {
    api,
    kubeconfig: await api.kubeconfig({ token: 'of-the-account' }),
    accesses: api.accesses,
    grant: (objects) => {
      grants = granted(objects, ACCOUNT)
      return Promise.resolve()
    },
    stop: () => api.stop(),
  }
}

/** Milliseconds until what was applied is what the authorizer says; it follows by a watch of its own. */
const GRANT_MS = 30_000

export async function startRealCluster(folder: string, { hasWatchList }: ClusterOptions): Promise<RbacCluster> {
  const api = await startRealApiServer(folder, hasWatchList ? {} : { featureGates: 'WatchList=false' })
  const directory = mkdtempSync(join(tmpdir(), 'rbac-cluster-'))
  const stop = async (): Promise<void> => {
    await api.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    const admin = new ApiRequests(await api.kubeconfig())
    const applied = async (object: AppliedObject): Promise<void> => {
      const { status, body } = await admin.apply(object, { dryRun: false })
      assert.ok(status === 200 || status === 201, `${object.kind} ${object.metadata.name}: ${JSON.stringify(body)}`)
    }
    // The API server makes it too, some time after it is ready.
    await applied({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: ACCOUNT.namespace } })
    await applied({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: ACCOUNT })
    const path = `/api/v1/namespaces/${ACCOUNT.namespace}/serviceaccounts/${ACCOUNT.name}/token`
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } }
    const reply = await admin.send('POST', path, request)
    assert.equal(reply.status, 201, JSON.stringify(reply.body))
    const { token } = (reply.body as { status: { token: string } }).status
    const authority = join(directory, 'ca.crt')
    writeFileSync(authority, admin.authority)
    let known: readonly RbacObject[] = []
    return {
      api,
      kubeconfig: await writeKubeconfig(join(directory, 'kubeconfig'), api.url, { token }, authority),
      accesses: undefined,
      grant: async (objects) => {
        const everything = [...granted(known, ACCOUNT), ...granted(objects, ACCOUNT)]
        for (const object of known) {
          const { status } = await admin.send('DELETE', await admin.pathOf(object))
          assert.equal(status, 200)
        }
        for (const { metadata } of objects) {
          if (metadata.namespace === undefined) continue
          await applied({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: metadata.namespace } })
        }
        for (const object of objects) await applied(object)
        known = objects
        const now = granted(objects, ACCOUNT)
        for (const asked of everything) {
          await until(
            async () => (await isAllowed(admin, asked)) === allows(now, asked),
            GRANT_MS,
            () => `the authorizer does not follow: ${JSON.stringify(asked)}`,
          )
        }
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function isAllowed(admin: ApiRequests, { verb, group, resource, namespace }: Access): Promise<boolean> {
  const { body } = await admin.send('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: `system:serviceaccount:${ACCOUNT.namespace}:${ACCOUNT.name}`,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${ACCOUNT.namespace}`, 'system:authenticated'],
      resourceAttributes: { verb, group, resource, ...(namespace !== undefined && { namespace }) },
    },
  })
  return (body as { status?: { allowed?: boolean } }).status?.allowed === true
}
