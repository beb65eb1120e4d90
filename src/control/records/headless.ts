/**
 * A headless service (MCS DNS specification 2.4): the addresses of all ready endpoints of all clusters at its name, each
 * endpoint's own name, and SRV records from every port to every endpoint. No ready endpoint, no name.
 */

import type { RelativeName } from '../../dns/wire/name.ts'
import { type Drafts, portAndTarget } from './drafts.ts'
import type { EndpointFacts, PortFacts, SliceFacts } from './facts.ts'
import { nameOfCluster, nameOfEndpoint, nameOfPort } from './names.ts'

interface PortOwner {
  readonly port: PortFacts
  /** The port's own name; undefined where it has none. */
  readonly name: RelativeName | undefined
}

export function addHeadless(drafts: Drafts, serviceName: RelativeName, slices: readonly SliceFacts[]): void {
  if (!drafts.admits(serviceName)) return
  for (const slice of slices) {
    if (slice.endpoints.length === 0) continue
    for (const endpoint of slice.endpoints) drafts.addAddresses(serviceName, endpoint.addresses)
    // A target needs a cluster id: `<host>.<service>` would be a name that the specification does not know.
    if (slice.clusterId === undefined) continue
    const clusterName = nameOfCluster(slice.clusterId, serviceName)
    const owners = slice.ports.map((port) => portOwner(drafts, port, serviceName))
    for (const endpoint of slice.endpoints) addEndpoint(drafts, serviceName, clusterName, owners, endpoint)
  }
}

function addEndpoint(
  drafts: Drafts,
  serviceName: RelativeName,
  clusterName: RelativeName,
  owners: readonly PortOwner[],
  endpoint: EndpointFacts,
): void {
  const target = nameOfEndpoint(endpoint.host, clusterName)
  if (!drafts.admits(target)) return
  drafts.addAddresses(target, endpoint.addresses)
  for (const { port, name } of owners) {
    const service = portAndTarget(port, target)
    drafts.addService(serviceName, service)
    if (name !== undefined) drafts.addService(name, service)
  }
}

function portOwner(drafts: Drafts, port: PortFacts, serviceName: RelativeName): PortOwner {
  const name = port.name === '' ? undefined : nameOfPort(port, serviceName)
  return { port, name: name !== undefined && drafts.admits(name) ? name : undefined }
}
