import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { PodMonitor, PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import { DaemonSet, Deployment } from 'kubernetes-models/apps/v1'
import { ClusterRole, ClusterRoleBinding, Role, RoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1'
import { ConfigMap, Service, ServiceAccount } from 'kubernetes-models/v1'
import ts from 'typescript'
import { DASHBOARDS } from '../../monitoring/dashboards/all.ts'
import { configFromText } from '../../src/config/config.ts'
import { built, FOLDERS, type ManifestObject } from './built.ts'

const ROOT = new URL('../../', import.meta.url).pathname

type Quantities = { cpu?: string; memory?: string }
type PodTemplate = {
  spec: {
    hostNetwork?: boolean
    terminationGracePeriodSeconds?: number
    volumes: { name: string; hostPath?: { path: string } }[]
    containers: Container[]
    initContainers?: Container[]
  }
}
type Probe = { httpGet?: { path: string }; timeoutSeconds?: number }
type Container = {
  name: string
  livenessProbe?: Probe
  readinessProbe?: Probe
  startupProbe?: Probe
  resources?: { requests?: Quantities; limits?: Quantities }
  ports?: unknown
  securityContext?: { capabilities?: { drop?: string[]; add?: string[] }; readOnlyRootFilesystem?: boolean }
  volumeMounts?: { name: string; mountPath: string }[]
}

const OPERATOR = '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'

/** By kind: the module whose type and whose schema an object is held against. */
const MODELS = {
  DaemonSet: { module: 'kubernetes-models/apps/v1', model: DaemonSet },
  Deployment: { module: 'kubernetes-models/apps/v1', model: Deployment },
  ClusterRole: { module: 'kubernetes-models/rbac.authorization.k8s.io/v1', model: ClusterRole },
  ClusterRoleBinding: { module: 'kubernetes-models/rbac.authorization.k8s.io/v1', model: ClusterRoleBinding },
  Role: { module: 'kubernetes-models/rbac.authorization.k8s.io/v1', model: Role },
  RoleBinding: { module: 'kubernetes-models/rbac.authorization.k8s.io/v1', model: RoleBinding },
  ConfigMap: { module: 'kubernetes-models/v1', model: ConfigMap },
  Service: { module: 'kubernetes-models/v1', model: Service },
  ServiceAccount: { module: 'kubernetes-models/v1', model: ServiceAccount },
  PodMonitor: { module: OPERATOR, model: PodMonitor },
  PrometheusRule: { module: OPERATOR, model: PrometheusRule },
} as const

suite('manifests', () => {
  for (const folder of FOLDERS) {
    suite(folder, () => {
      test('builds, and every object is what the schema of its kind asks for', (t) => {
        const objects = built(t, folder)
        if (objects === undefined) return
        assert.ok(objects.length > 0)
        for (const object of objects) {
          const name = `${object.kind} ${object.metadata.name}`
          if (object.kind in MODELS) validated(object, MODELS[object.kind as keyof typeof MODELS].model, name)
          // No schema of Cilium's is at hand; its object is small, and looked at below.
          else assert.equal(object.kind, 'CiliumLocalRedirectPolicy')
        }
      })

      test('has a good configuration', (t) => {
        const objects = built(t, folder)
        for (const { data } of objects ?? []) {
          const text = data?.['config.yaml']
          if (text === undefined) continue
          const loaded = configFromText(text, folder)
          assert.deepEqual(loaded.kind === 'problems' ? loaded.problems : [], [])
        }
      })

      test('gives an agent what it needs and no more', (t) => {
        const objects = built(t, folder)
        for (const object of objects ?? []) {
          if (object.kind !== 'DaemonSet') continue
          const loaded = configFromText(
            objects!.find(({ kind }) => kind === 'ConfigMap')!.data!['config.yaml']!,
            folder,
          )
          assert.ok(loaded.kind === 'config')
          const { host, clusterset, health, shutdown } = loaded.config
          const { spec } = (object as unknown as { spec: { template: PodTemplate } }).spec.template
          const [agent] = spec.containers as [Container]
          const usesIptables = ['auto', 'iptables'].includes(host.rules)
          const has = (path: string | null | undefined) =>
            path === null ||
            path === undefined ||
            (agent.volumeMounts ?? []).some(({ mountPath }) => path.startsWith(`${mountPath}/`) || path === mountPath)
          assert.equal(agent.securityContext?.readOnlyRootFilesystem, true)
          assert.deepEqual(agent.securityContext?.capabilities?.drop, ['ALL'])
          assert.deepEqual(agent.securityContext?.capabilities?.add, [
            ...(host.interface === null ? [] : ['NET_ADMIN']),
            'NET_BIND_SERVICE',
            ...(usesIptables ? ['NET_RAW'] : []),
          ])
          assert.ok(has(host.stateDirectory), 'host.stateDirectory is mounted')
          assert.ok(has(health.readyFile), 'health.readyFile is mounted')
          assert.ok(has(clusterset.kubernetes.snapshotFile), 'the snapshot file is mounted')
          assert.equal(has('/run/xtables.lock'), usesIptables)
          // Without the host's network each Pod has its own addresses; with it, a declared port would forbid the surge.
          assert.equal(agent.ports === undefined, spec.hostNetwork === true)
          const stopMs = shutdown.handoverMs + shutdown.lingerMs + shutdown.drainMs
          assert.ok(stopMs + 10_000 <= (spec.terminationGracePeriodSeconds ?? 30) * 1000)
        }
      })
    })
  }

  test('probe with time for real queries, reserve memory and bound it, and never bound the CPU', (t) => {
    const containers = FOLDERS.flatMap((folder) => built(t, folder) ?? []).flatMap((object) => {
      if (object.kind !== 'DaemonSet' && object.kind !== 'Deployment') return []
      const { spec } = (object as unknown as { spec: { template: PodTemplate } }).spec.template
      return [...spec.containers, ...(spec.initContainers ?? [])].filter(({ name }) => name === 'nodelocal-mcs')
    })
    const mebibytes = (quantity: string | undefined): number => Number(/^(\d+)Mi$/.exec(quantity ?? '')?.[1])
    for (const { livenessProbe, readinessProbe, startupProbe, resources } of containers) {
      assert.equal(livenessProbe?.httpGet?.path, '/healthz')
      for (const probe of [livenessProbe, startupProbe]) assert.ok((probe?.timeoutSeconds ?? 1) >= 5)
      assert.ok(readinessProbe !== undefined || startupProbe?.httpGet?.path === '/readyz')
      assert.match(resources?.requests?.cpu ?? '', /^\d+m$/)
      assert.equal(resources?.limits?.cpu, undefined)
      assert.ok(mebibytes(resources?.limits?.memory) >= 2 * mebibytes(resources?.requests?.memory))
    }
  })

  test('bring the dashboards as ConfigMaps that Grafana looks for, whole', (t) => {
    const objects = built(t, 'manifests/overlays/monitoring')
    if (objects === undefined) return
    const dashboards = objects.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1')
    const files = dashboards.flatMap(({ data }) => Object.keys(data ?? {}))
    assert.deepEqual(files.sort(), [...DASHBOARDS.keys()].sort())
    for (const { kind, data } of dashboards) {
      assert.equal(kind, 'ConfigMap')
      for (const [file, text] of Object.entries(data ?? {}))
        assert.equal((JSON.parse(text) as { title: string }).title, DASHBOARDS.get(file)!.title)
    }
  })

  test('have no field that Kubernetes does not know', (t) => {
    const directory = mkdtempSync(join(ROOT, 'test/manifests/.types-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const objects = FOLDERS.flatMap((folder) => built(t, folder) ?? []).filter(({ kind }) => kind in MODELS)
    const lines = objects.map((object, i) => {
      const { module } = MODELS[object.kind as keyof typeof MODELS]
      return `export const o${i}: import('${module}').I${object.kind} = ${JSON.stringify(withoutTexts(object))}`
    })
    assert.deepEqual(typeErrors(directory, lines.join('\n')), [])
    // So that this test can fail: a field with a mistake in it is found.
    const wrong = "export const o: import('kubernetes-models/v1').IService = { spec: { clusterIp: '10.96.0.11' } }"
    assert.match(typeErrors(directory, wrong).join(), /clusterIp/)
  })

  test('lead queries for kube-dns to the named ports of the agent where Cilium replaces kube-proxy', (t) => {
    const objects = built(t, 'manifests/overlays/cilium')
    if (objects === undefined) return
    const policy = objects.find(({ kind }) => kind === 'CiliumLocalRedirectPolicy') as unknown as {
      spec: { redirectBackend: { toPorts: { name: string; protocol: string }[] } }
    }
    const daemonSet = objects.find(({ kind }) => kind === 'DaemonSet') as unknown as { spec: { template: PodTemplate } }
    assert.deepEqual(
      policy.spec.redirectBackend.toPorts.map(({ name, protocol }) => ({ name, protocol })),
      (daemonSet.spec.template.spec.containers[0]!.ports as { name: string; protocol: string }[]).map(
        ({ name, protocol }) => ({ name, protocol }),
      ),
    )
  })
})

function validated(object: object, Model: new (data: never) => { validate(): void }, name: string): void {
  try {
    new Model(object as never).validate()
  } catch (error) {
    throw new Error(`${name}: ${String(error)}`, { cause: error })
  }
}

/** Texts of ConfigMaps are long and of no type. */
function withoutTexts(object: ManifestObject): object {
  return object.data === undefined ? object : { ...object, data: {} }
}

function typeErrors(directory: string, source: string): string[] {
  const file = join(directory, 'objects.ts')
  writeFileSync(file, source)
  const program = ts.createProgram([file], {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    target: ts.ScriptTarget.ES2024,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
  })
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
}
