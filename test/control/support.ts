/** What the control plane's tests share: a settled clock, a log that is a list, objects as Kubernetes writes them. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlParts, ControlSettings } from '../../src/control/control-plane.ts'
import { relativeName } from '../../src/dns/wire/name.ts'
import { RecordType } from '../../src/dns/wire/record-type.ts'
import { Zone, type ZoneState } from '../../src/dns/zone/zone.ts'
import type { KubernetesObject } from '../common/api-under-test.ts'

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error'
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface Stage {
  readonly zone: Zone
  readonly log: LogLine[]
  readonly parts: ControlParts
  /** Names that changed, per turn. */
  readonly changes: (readonly string[])[]
  /** States of the zone in their order, the first one (unsynced) excepted. */
  readonly states: ZoneState[]
  /** Seconds of every measured change, from its arrival and from its source. */
  readonly published: number[]
  readonly programmed: number[]
  /** Addresses at `service.namespace` (A), or at a name below a service, as dotted quads in order; undefined when the name does not exist. */
  addressesOf(service: string, namespace?: string): string[] | undefined
}

export function newStage(): Stage {
  const zone = new Zone(1)
  const log: LogLine[] = []
  const changes: (readonly string[])[] = []
  const states: ZoneState[] = []
  const published: number[] = []
  const programmed: number[] = []
  const into = (level: LogLine['level']) => (event: string, fields: LogLine['fields']) =>
    void log.push({ level, event, fields })
  const parts: ControlParts = {
    zone,
    log: { info: into('info'), warn: into('warn'), error: into('error') },
    onNamesChanged: (names) => void changes.push([...names]),
    onZoneStateChanged: (state) => void states.push(state),
    soon: setImmediate,
    nowMs: () => performance.now(),
    onPublished: (seconds) => void published.push(seconds),
    onProgrammed: (_, seconds) => void programmed.push(seconds),
    nowSeconds: () => Date.now() / 1000,
    chance: Math.random,
  }
  const addressesOf = (service: string, namespace = 'demo'): string[] | undefined =>
    zone
      .find(relativeName([...service.split('.'), namespace, 'svc'])!)
      ?.find((rrset) => rrset.type === RecordType.A)
      ?.rdata.map((rdata) => [...Buffer.from(rdata, 'latin1')].join('.'))
      .sort()
  return { zone, log, parts, changes, states, published, programmed, addressesOf }
}

export const SETTINGS: ControlSettings = {
  source: 'none',
  manifests: { directory: '/nonexistent' },
  kubernetes: { kubeconfig: null, namespaces: [], snapshotFile: null },
  records: { submariner: false, localClusterId: undefined, apexOctetsMax: 18 },
}

/** Waits until the condition holds; a deadline far beyond any machine's slowness makes a failure a failure. */
export async function until(promise: string, condition: () => boolean, deadlineMs = 60_000): Promise<void> {
  const endMs = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`never came true: ${promise}`)
    await sleep(5)
  }
}

export function clusterSetIp(name: string, address: string, namespace = 'demo'): KubernetesObject {
  return {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { name, namespace },
    spec: { type: 'ClusterSetIP', ips: [address], ports: [{ name: 'http', protocol: 'TCP', port: 80 }] },
  }
}

export function headless(name: string, namespace = 'demo'): KubernetesObject {
  return {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { name, namespace },
    spec: { type: 'Headless', ports: [] },
  }
}

export function slice(
  name: string,
  service: string,
  addresses: readonly string[],
  namespace = 'demo',
): KubernetesObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name,
      namespace,
      labels: {
        'multicluster.kubernetes.io/service-name': service,
        'multicluster.kubernetes.io/source-cluster': 'east',
      },
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  }
}
