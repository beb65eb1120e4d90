/** Whether facts say the same: every list of the API tells all objects anew, and most of them have not changed. */

import type { EndpointFacts, PortFacts, ServiceImportFacts, SliceFacts } from './facts.ts'

export function isSameImport(one: ServiceImportFacts, other: ServiceImportFacts): boolean {
  return (
    one.namespace === other.namespace &&
    one.name === other.name &&
    one.type === other.type &&
    isSameList(one.addresses, other.addresses, Object.is) &&
    isSameList(one.ports, other.ports, isSamePort)
  )
}

export function isSameSlice(one: SliceFacts, other: SliceFacts): boolean {
  return (
    one.namespace === other.namespace &&
    one.name === other.name &&
    one.service === other.service &&
    one.isServiceAddress === other.isServiceAddress &&
    one.notReady === other.notReady &&
    hasSameFrame(one, other) &&
    isSameList(one.endpoints, other.endpoints, isSameEndpoint)
  )
}

/** Whether two slices give their endpoints the same names and ports. */
export function hasSameFrame(one: SliceFacts, other: SliceFacts): boolean {
  return one.clusterId === other.clusterId && isSameList(one.ports, other.ports, isSamePort)
}

export function isSameEndpoint(one: EndpointFacts, other: EndpointFacts): boolean {
  return one.host === other.host && isSameList(one.addresses, other.addresses, Object.is)
}

export function isSamePort(one: PortFacts, other: PortFacts): boolean {
  return one.name === other.name && one.protocol === other.protocol && one.port === other.port
}

function isSameList<Item>(
  one: readonly Item[],
  other: readonly Item[],
  isSame: (one: Item, other: Item) => boolean,
): boolean {
  if (one.length !== other.length) return false
  for (let i = 0; i < one.length; i++) if (!isSame(one[i]!, other[i]!)) return false
  return true
}
