/**
 * Submariner without its clusterset-IP mode: the import has no address, and each cluster's service address stands in a
 * slice labelled `lighthouse.submariner.io/is-headless: "false"`, ready while that cluster has backends.
 */

import type { RelativeName } from '../../dns/wire/name.ts'
import { addClusterSetIp } from './cluster-set-ip.ts'
import type { Drafts } from './drafts.ts'
import type { PortFacts, ServiceImportFacts, SliceFacts } from './facts.ts'
import { isSamePort } from './same-facts.ts'

/** The local cluster's service if it is ready, else those of all ready clusters: the answer then rotates over them. */
export function addSubmariner(
  drafts: Drafts,
  serviceName: RelativeName,
  serviceImport: ServiceImportFacts,
  slices: readonly SliceFacts[],
  localClusterId: string | undefined,
): void {
  const ready = slices.filter((slice) => slice.isServiceAddress && slice.endpoints.length > 0)
  const local = ready.filter((slice) => slice.clusterId !== undefined && slice.clusterId === localClusterId)
  const chosen = local.length > 0 ? local : ready
  const addresses = new Set(chosen.flatMap((slice) => slice.endpoints.flatMap((endpoint) => endpoint.addresses)))
  addClusterSetIp(drafts, serviceName, [...addresses], commonPorts(chosen) ?? serviceImport.ports)
}

/** The ports that all slices have, for each address must have every port; undefined where no slice tells any. */
function commonPorts(slices: readonly SliceFacts[]): readonly PortFacts[] | undefined {
  const [first, ...others] = slices.filter((slice) => slice.ports.length > 0)
  return first?.ports.filter((port) => others.every((other) => other.ports.some((one) => isSamePort(one, port))))
}
