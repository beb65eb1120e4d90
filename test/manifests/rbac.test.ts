/**
 * The roles of the manifests are sufficient and minimal: the agent runs with exactly what they grant, is refused nothing and
 * asks for all of it; without any one verb of them it does not follow its objects. On the in-repo API server, and on a real one
 * where KUBEBUILDER_ASSETS names a folder with it.
 */

import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { configFromText } from '../../src/config/config.ts'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import type { KubernetesObject } from '../common/api-under-test.ts'
import { askUdp } from '../common/ask.ts'
import { type Access, granted, type RbacObject, textOfAccess, without } from '../common/rbac.ts'
import { realApiServerFolder } from '../common/real-api-server.ts'
import { responseFromBytes } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'
import { readExposition } from '../observe/exposition.ts'
import { built, FOLDERS, type ManifestObject } from './built.ts'
import { ACCOUNT, type ClusterOptions, type RbacCluster, startInRepoCluster, startRealCluster } from './rbac-cluster.ts'

const SETTLE_MS = 30_000
/** A namespace that the overlay for namespaces names too. */
const NAMESPACE = 'shop'

const RBAC_KINDS = new Set(['ClusterRole', 'ClusterRoleBinding', 'Role', 'RoleBinding'])

const IN_REPO = 'the in-repo API server'
const realFolder = realApiServerFolder()
const clusters: { what: string; start(options: ClusterOptions): Promise<RbacCluster> }[] = [
  { what: IN_REPO, start: startInRepoCluster },
]
if (realFolder === undefined) {
  test('roles on a real API server', {
    skip: 'set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver',
  }, () => {})
} else clusters.push({ what: 'a real API server', start: (options) => startRealCluster(realFolder, options) })

for (const { what, start } of clusters) {
  for (const folder of ['manifests/base', 'manifests/overlays/namespaced']) {
    suite(`the roles of ${folder} on ${what}`, () => {
      test('are what the agent needs and asks for, with streamed lists and with pages', async (t) => {
        const manifests = built(t, folder)
        if (manifests === undefined) return
        const roles = rolesOf(manifests)
        const asked = new Set<string>()
        for (const hasWatchList of [true, false]) {
          const cluster = await start({ hasWatchList })
          t.after(() => cluster.stop())
          await cluster.grant(roles)
          const agent = await agentIn(t, cluster, manifests)
          await follows(agent, cluster)
          // What an agent asks later in its life: watches that end, versions that come and go.
          await cluster.api.installCrd(['v1alpha1'])
          await cluster.api.installCrd(['v1beta1', 'v1alpha1'])
          await follows(agent, cluster)
          assert.equal(await requestsRefused(agent), 0, agent.output())
          for (const access of cluster.accesses ?? []) asked.add(access)
        }
        // A real one does not tell what it was asked; there the next tests say that nothing is too much.
        if (asked.size > 0) assert.deepEqual([...asked].sort(), granted(roles, ACCOUNT).map(textOfAccess).sort())
      })

      // Where it is told what was asked, one folder is proof enough: the other's roles differ in their namespaces alone.
      if (what === IN_REPO && folder !== 'manifests/base') return
      for (const verb of ['list', 'watch']) {
        for (const [group, resource] of [
          ['multicluster.x-k8s.io', 'serviceimports'],
          ['discovery.k8s.io', 'endpointslices'],
        ] as const) {
          test(`do not suffice without ${verb} of ${resource}`, async (t) => {
            const manifests = built(t, folder)
            if (manifests === undefined) return
            // A streamed list is a watch; only servers without them are asked for lists.
            const cluster = await start({ hasWatchList: verb === 'watch' })
            t.after(() => cluster.stop())
            const roles = rolesOf(manifests)
            const fewer = without(roles, { verb, group, resource })
            assert.equal(granted(fewer, ACCOUNT).length, granted(roles, ACCOUNT).length - 1)
            await cluster.grant(fewer)
            const agent = await agentIn(t, cluster, manifests)
            await until(
              async () => (await requestsRefused(agent)) > 0 && (await isWatched(agent, resource)) === false,
              SETTLE_MS,
              () => agent.output(),
            )
            assert.match(agent.output(), /"event":"watch-failed".*"code":"403"/)
            assert.equal((await agent.health('/readyz')).status, 503)
          })
        }
      }
    })
  }
}

suite('the roles of the manifests', () => {
  for (const folder of FOLDERS) {
    test(`${folder}: are those of the base, or for namespaces alone, and the agent's account has them`, (t) => {
      const manifests = built(t, folder)
      const base = built(t, 'manifests/base')
      if (manifests === undefined || base === undefined) return
      const daemonSet = manifests.find(({ kind }) => kind === 'DaemonSet') as
        | (ManifestObject & { spec: { template: { spec: { serviceAccountName: string } } } })
        | undefined
      const roles = rolesOf(manifests)
      if (daemonSet === undefined) return assert.deepEqual(roles, [])
      assert.equal(daemonSet.spec.template.spec.serviceAccountName, ACCOUNT.name)
      assert.equal(daemonSet.metadata.namespace, ACCOUNT.namespace)
      assert.ok(manifests.some(({ kind, metadata }) => kind === 'ServiceAccount' && metadata.name === ACCOUNT.name))
      const { namespaces } = configOf(manifests).clusterset.kubernetes
      if (namespaces.length === 0) return assert.deepEqual(roles, rolesOf(base))
      const inEach = granted(rolesOf(base), ACCOUNT).flatMap(({ verb, group, resource }) =>
        namespaces.map((namespace): Access => ({ verb, group, resource, namespace })),
      )
      assert.deepEqual(granted(roles, ACCOUNT), inEach)
    })
  }
})

function rolesOf(manifests: readonly ManifestObject[]): RbacObject[] {
  return manifests.filter(({ kind }) => RBAC_KINDS.has(kind))
}

function configOf(manifests: readonly ManifestObject[]) {
  const text = manifests.find(({ kind }) => kind === 'ConfigMap')!.data!['config.yaml']!
  const loaded = configFromText(text, 'config.yaml')
  assert.ok(loaded.kind === 'config')
  return loaded.config
}

/** An agent that looks for what the manifests' configuration says, as their service account. */
async function agentIn(
  t: TestContext,
  cluster: RbacCluster,
  manifests: readonly ManifestObject[],
): Promise<AgentProcess> {
  const { namespaces } = configOf(manifests).clusterset.kubernetes
  const agent = await startAgentProcess({
    clusterset: { source: 'kubernetes', kubernetes: { kubeconfig: cluster.kubeconfig, namespaces } },
    forward: [],
  })
  t.after(() => agent.stop())
  return agent
}

let changes = 0

/** A new import with an endpoint is answered. */
async function follows(agent: AgentProcess, { api }: RbacCluster): Promise<void> {
  const name = `change-${++changes}`
  const address = `10.42.0.${changes}`
  await api.applyMany(headless(name, address))
  const query = queryBytes({ name: `${name}.${NAMESPACE}.svc.clusterset.local.`, type: 1, class: 1 })
  await until(
    async () => responseFromBytes(await askUdp(agent.port, query)).answer.some((record) => record.endsWith(address)),
    SETTLE_MS,
    () => agent.output(),
  )
}

function headless(name: string, address: string): KubernetesObject[] {
  const labels = {
    'multicluster.kubernetes.io/service-name': name,
    'multicluster.kubernetes.io/source-cluster': 'east',
  }
  return [
    {
      apiVersion: 'multicluster.x-k8s.io/v1beta1',
      kind: 'ServiceImport',
      metadata: { namespace: NAMESPACE, name },
      spec: { type: 'Headless', ports: [{ name: 'tcp', protocol: 'TCP', port: 80 }] },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: NAMESPACE, name: `${name}-east`, labels },
      addressType: 'IPv4',
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
      ports: [{ name: 'tcp', protocol: 'TCP', port: 80 }],
    },
  ]
}

async function requestsRefused(agent: AgentProcess): Promise<number> {
  const name = 'coredns_kubernetes_rest_client_requests_total'
  const samples =
    readExposition(await agent.metrics())
      .get(name)
      ?.samples.get(name) ?? []
  return samples.filter(({ labels }) => labels['code'] === '403').reduce((sum, { value }) => sum + value, 0)
}

async function isWatched(agent: AgentProcess, resource: string): Promise<boolean | undefined> {
  const name = 'nodelocal_mcs_watch_connected'
  const samples =
    readExposition(await agent.metrics())
      .get(name)
      ?.samples.get(name) ?? []
  const value = samples.find(({ labels }) => labels['kind'] === resource)?.value
  return value === undefined ? undefined : value === 1
}
