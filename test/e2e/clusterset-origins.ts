/**
 * Where the objects of a table come from: a directory of manifests, the in-repo API server, and a real one where
 * KUBEBUILDER_ASSETS names a folder with it. What a real one does not admit is not there, and its own reason is kept.
 */

import assert from 'node:assert/strict'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AgentProcess, until } from '../common/agent-process.ts'
import { ApiRefusal } from '../common/api-admin.ts'
import type { ApiUnderTest, KubernetesObject, ObjectKind } from '../common/api-under-test.ts'
import { startFakeApiServer } from '../common/fake-api-server.ts'
import { granted, type RbacObject } from '../common/rbac.ts'
import type { VectorTable } from '../common/vectors.ts'
import { ACCOUNT, type RbacCluster, startRealCluster } from '../manifests/rbac-cluster.ts'

const SETTLE_MS = 20_000

export interface Origin {
  readonly what: string
  /** Why a table cannot be reached from here. */
  readonly skips: Readonly<Record<string, string>>
  open(table: VectorTable): Promise<OpenedOrigin>
  /** After the last table. */
  end?(): Promise<void>
}

export interface OpenedOrigin {
  /** The agent's `clusterset` settings. */
  readonly clusterset: object
  readonly refused: readonly RefusedObject[]
  /** Resolves when the zone is in the table's state. */
  reached(agent: AgentProcess): Promise<void>
  close(): Promise<void>
}

export interface RefusedObject {
  readonly object: KubernetesObject
  /** In the server's words. */
  readonly why: string
}

export const MANIFESTS: Origin = {
  what: 'manifests',
  skips: {
    unsynced: 'a directory is read before the first query',
    partial: 'a directory has all namespaces',
    absent: 'a directory knows no CRDs',
  },
  open: async (table) => {
    const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-vectors-'))
    await copyFile(table.objectsFile, join(directory, 'objects.yaml'))
    return {
      clusterset: { source: 'manifests', manifests: { directory } },
      refused: [],
      reached: (agent) => isInState(agent, 'synced'),
      close: () => rm(directory, { recursive: true, force: true }),
    }
  },
}

export const IN_REPO_API: Origin = {
  what: 'the API',
  skips: {},
  open: async (table) => {
    const { namespaces, missing } = table.settings
    const api = await startFakeApiServer({ allows: ({ namespace }) => !missing.includes(namespace ?? '') })
    await api.applyMany(table.objects as KubernetesObject[])
    // Imports are known and slices are not: the zone is not synced and stays so.
    if (table.settings.state === 'unsynced') api.faults.hold({ resource: 'endpointslices' })
    return {
      clusterset: {
        source: 'kubernetes',
        kubernetes: { kubeconfig: await api.kubeconfig(), namespaces: [...namespaces, ...missing] },
      },
      refused: [],
      reached: (agent) => reachedFromApi(agent, api, table, table.objects as KubernetesObject[]),
      close: () => api.stop(),
    }
  },
}

/** One server for all tables: each takes its objects away. */
export function realApi(folder: string): Origin {
  let cluster: RbacCluster | undefined
  return {
    what: 'a real API server',
    skips: { partial: 'what is granted there, here, is granted in all namespaces' },
    open: async (table) => {
      cluster ??= await startRealCluster(folder, { hasWatchList: true })
      const { api, kubeconfig, grant } = cluster
      const { admitted, refused } = await admittedOf(api, table.objects as KubernetesObject[])
      // Who may not list the slices knows the imports alone: the zone is not synced and stays so.
      await grant(
        rolesFor(table.settings.state === 'unsynced' ? ['serviceimports'] : ['serviceimports', 'endpointslices']),
      )
      return {
        clusterset: { source: 'kubernetes', kubernetes: { kubeconfig } },
        refused,
        reached: (agent) => reachedFromApi(agent, api, table, admitted),
        close: async () => {
          if (table.settings.state === 'absent') return await api.installCrd(['v1beta1', 'v1alpha1'])
          for (const { kind, metadata } of admitted) {
            await api.remove(kind as ObjectKind, metadata.namespace, metadata.name)
          }
        },
      }
    },
    end: async () => await cluster?.stop(),
  }
}

/** One at a time, that one refusal is of one object. What is no refusal of an object's content is a failure. */
async function admittedOf(
  api: ApiUnderTest,
  objects: readonly KubernetesObject[],
): Promise<{ admitted: KubernetesObject[]; refused: RefusedObject[] }> {
  const admitted: KubernetesObject[] = []
  const refused: RefusedObject[] = []
  for (const object of objects) {
    try {
      await api.apply(object)
      admitted.push(object)
    } catch (failure) {
      if (!(failure instanceof ApiRefusal) || !failure.isOfContent) throw failure
      refused.push({ object, why: failure.reason.replaceAll(/\s+/g, ' ') })
    }
  }
  return { admitted, refused }
}

function rolesFor(resources: readonly string[]): RbacObject[] {
  const metadata = { name: 'tables' }
  const rules = resources.map((resource) => ({
    apiGroups: [resource === 'serviceimports' ? 'multicluster.x-k8s.io' : 'discovery.k8s.io'],
    resources: [resource],
    verbs: ['list', 'watch'],
  }))
  const roles: RbacObject[] = [
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata, rules },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: metadata.name },
      subjects: [{ kind: 'ServiceAccount', ...ACCOUNT }],
    },
  ]
  assert.equal(granted(roles, ACCOUNT).length, 2 * resources.length)
  return roles
}

async function reachedFromApi(
  agent: AgentProcess,
  api: ApiUnderTest,
  { settings }: VectorTable,
  objects: readonly KubernetesObject[],
): Promise<void> {
  if (settings.state === 'unsynced') {
    const imports = objects.filter(({ kind }) => kind === 'ServiceImport').length
    return await until(
      async () => (await agent.metrics()).includes(`nodelocal_mcs_zone_objects{kind="serviceimports"} ${imports}`),
      SETTLE_MS,
      () => agent.output(),
    )
  }
  await isInState(agent, settings.missing.length > 0 ? 'partial' : 'synced')
  if (settings.state !== 'absent') return
  await api.removeCrd()
  await isInState(agent, 'absent')
}

function isInState(agent: AgentProcess, state: string): Promise<void> {
  return until(
    async () => (await agent.metrics()).includes(`nodelocal_mcs_zone_state{state="${state}"} 1`),
    SETTLE_MS,
    () => agent.output(),
  )
}

const SERVICE_NAME_LABEL = 'multicluster.kubernetes.io/service-name'

/** Why a name cannot be asked for here: an object that its answers come from was refused. Undefined when it can be. */
export function refusalBehind(
  name: string,
  zones: readonly string[],
  { refused, objects }: { readonly refused: readonly RefusedObject[]; readonly objects: readonly KubernetesObject[] },
): string | undefined {
  const zone = zones.find((one) => name.toLowerCase().endsWith(`.${one}`))
  if (zone === undefined) return undefined
  const labels = name
    .toLowerCase()
    .slice(0, -zone.length - 1)
    .split('.')
  if (labels.at(-1) !== 'svc') return undefined
  const [namespace, service] = [labels.at(-2), labels.at(-3)]
  const isOf = ({ metadata }: KubernetesObject): boolean =>
    metadata.namespace === namespace && (service === undefined || serviceOf(metadata) === service)
  const behind = refused.filter(({ object }) => isOf(object))
  // A namespace's own name is there as long as any of its services is.
  if (service === undefined && objects.some((object) => isOf(object) && !behind.some((one) => one.object === object)))
    return undefined
  if (behind.length === 0) return undefined
  return behind.map(({ object, why }) => `${object.kind} ${object.metadata.name} was refused: ${why}`).join('; ')
}

function serviceOf(metadata: KubernetesObject['metadata']): string {
  const labels = metadata['labels'] as Readonly<Record<string, string>> | undefined
  return labels?.[SERVICE_NAME_LABEL] ?? metadata.name
}
