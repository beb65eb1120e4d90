/**
 * Submariner without its clusterset-IP mode: the import has no address, and each cluster's service address stands in a
 * slice labelled `lighthouse.submariner.io/is-headless: "false"`, ready while that cluster has backends.
 */

import type { RelativeName } from '../../dns/wire/name.ts'
import { addClusterSetIp } from './cluster-set-ip.ts'
import type { Drafts } from './drafts.ts'
import type { ServiceImportFacts, SliceFacts } from './facts.ts'

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
  const ports = serviceImport.ports.length > 0 ? serviceImport.ports : chosen.flatMap((slice) => slice.ports)
  addClusterSetIp(drafts, serviceName, [...addresses], ports)
}
