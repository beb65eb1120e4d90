/**
 * Why a name has no records, or does not exist: the rules of `records-of.ts` read backwards, for an operator who asks.
 *
 * The zone has been asked before; this only finds the reason in the objects.
 */

import type { ServiceKey } from '../../dns/zone/rrset.ts'
import type { ServiceImportFacts, SliceFacts } from './facts.ts'
import type { RecordSettings, ServiceFacts } from './records-of.ts'

/** Every reason; public, explained in `docs/operations.md`. */
export const ABSENCES = [
  /** No ServiceImport of that name in that namespace. */
  'no-service-import',
  /** There is one, and it is of no use to DNS. */
  'service-import-ignored',
  /** A headless service without any EndpointSlice. */
  'no-endpoint-slices',
  /** A headless service, or its part in one cluster, without a ready endpoint. */
  'no-ready-endpoints',
  /** The ServiceImport has no address yet, and nothing stands in for it. */
  'no-address',
  /** `_port._protocol`: no such port. */
  'no-such-port',
  /** `host.cluster`: no such endpoint, or it is not ready. */
  'no-such-endpoint',
  /** `host.cluster`: no ready endpoint comes from such a cluster. */
  'no-such-cluster',
  /** The name of a cluster below a service: the specification forbids it. */
  'cluster-name',
  /** Below a ClusterSetIP service: only endpoints of headless services have names. */
  'no-endpoint-names',
  /** A name between a service and what is below it, such as `_tcp.db`. */
  'name-between',
  /** The name would be too long under the longest zone. */
  'name-too-long',
] as const

export type AbsenceReason = (typeof ABSENCES)[number]

export interface Absence {
  readonly reason: AbsenceReason
  /** For a person to read. */
  readonly text: string
}

/** Names that a text repeats. */
const NAMES_TOLD_MAX = 8

/** Why the zone has nothing at `below` (labels, leftmost first; none: the service's own name) of a `service`. */
export function absenceOf(
  service: ServiceKey,
  below: readonly string[],
  { import: serviceImport, slices }: ServiceFacts,
  settings: Pick<RecordSettings, 'submariner'>,
): Absence {
  if (serviceImport === undefined) return notImported(service, slices)
  if (below.length > 0) return absenceBelow(below, serviceImport, slices)
  if (serviceImport.type === 'Headless') return withoutReady(slices) ?? TOO_LONG
  if (serviceImport.addresses.length > 0) return TOO_LONG
  return settings.submariner
    ? {
        reason: 'no-address',
        text: 'the ServiceImport has no address in spec.ips, and no cluster has a ready service address',
      }
    : { reason: 'no-address', text: 'the ServiceImport has no address in spec.ips (yet)' }
}

const TOO_LONG: Absence = { reason: 'name-too-long', text: 'the name is too long to stand under the longest zone' }

function notImported(service: ServiceKey, slices: readonly SliceFacts[]): Absence {
  const lonely =
    slices.length === 0
      ? ''
      : `, though ${slices.length} EndpointSlice${slices.length === 1 ? ' says' : 's say'} to belong to it`
  return { reason: 'no-service-import', text: `there is no ServiceImport ${service}${lonely}` }
}

function withoutReady(slices: readonly SliceFacts[], where = ''): Absence | undefined {
  if (slices.some(({ endpoints }) => endpoints.length > 0)) return undefined
  if (slices.length === 0) {
    return { reason: 'no-endpoint-slices', text: `the service is headless and has no EndpointSlice${where}` }
  }
  const notReady = slices.reduce((sum, slice) => sum + (slice.notReady ?? 0), 0)
  const why = notReady === 0 ? 'they hold none' : `${notReady} not ready`
  return { reason: 'no-ready-endpoints', text: `the service is headless and has no ready endpoint${where} (${why})` }
}

function absenceBelow(
  below: readonly string[],
  serviceImport: ServiceImportFacts,
  slices: readonly SliceFacts[],
): Absence {
  const isHeadless = serviceImport.type === 'Headless'
  const first = below[0]!
  if (first.startsWith('_')) {
    if (below.length === 1) return between(first)
    if (below.length === 2 && below[1]!.startsWith('_')) {
      return (isHeadless ? withoutReady(slices) : undefined) ?? noSuchPort(serviceImport, slices)
    }
  }
  if (!isHeadless) {
    return {
      reason: 'no-endpoint-names',
      text: 'the service is of type ClusterSetIP, and only endpoints of headless services have names',
    }
  }
  return withoutReady(slices) ?? absenceOfEndpoint(below, slices)
}

function between(label: string): Absence {
  return { reason: 'name-between', text: `nothing stands at ${label} itself, only _port._protocol does` }
}

function noSuchPort(serviceImport: ServiceImportFacts, slices: readonly SliceFacts[]): Absence {
  const ports = serviceImport.type === 'Headless' ? slices.flatMap((slice) => slice.ports) : serviceImport.ports
  const names = ports.filter(({ name }) => name !== '').map(({ name, protocol }) => `_${name}._${protocol}`)
  return { reason: 'no-such-port', text: `no port has that name and protocol; ${listed(names, 'named ports')}` }
}

function absenceOfEndpoint(below: readonly string[], slices: readonly SliceFacts[]): Absence {
  const clusterIds = slices.flatMap(({ clusterId }) => clusterId ?? [])
  const whole = below.join('.')
  if (clusterIds.includes(whole)) {
    return {
      reason: 'cluster-name',
      text: `the name of the cluster ${whole} alone never exists (MCS DNS specification)`,
    }
  }
  const clusterId = below.slice(1).join('.')
  const there = slices.filter((slice) => slice.clusterId === clusterId)
  if (clusterId === '' || there.length === 0) {
    const what = clusterId === '' ? 'an endpoint is <host>.<cluster>' : `no EndpointSlice is from cluster ${clusterId}`
    return { reason: 'no-such-cluster', text: `${what}; ${listed(clusterIds, 'clusters')}` }
  }
  const inReady = withoutReady(there, ` from cluster ${clusterId}`)
  if (inReady !== undefined) return inReady
  const hosts = there.flatMap(({ endpoints }) => endpoints.map(({ host }) => host))
  if (hosts.includes(below[0]!)) return TOO_LONG
  const text = `no ready endpoint from cluster ${clusterId} has that name; ${listed(hosts, 'ready there')}`
  return { reason: 'no-such-endpoint', text }
}

function listed(all: Iterable<string>, what: string): string {
  const names = [...new Set(all)]
  if (names.length === 0) return `${what}: none`
  const more = names.length > NAMES_TOLD_MAX ? ` and ${names.length - NAMES_TOLD_MAX} more` : ''
  return `${what}: ${names.slice(0, NAMES_TOLD_MAX).join(', ')}${more}`
}
