/**
 * A ClusterSetIP service (MCS DNS specification 2.3): its addresses at its name, and an SRV record per port that leads
 * to them. Its endpoints have no names: only those of headless services may.
 */

import type { Address } from '../../dns/wire/address.ts'
import type { RelativeName } from '../../dns/wire/name.ts'
import { type Drafts, portAndTarget } from './drafts.ts'
import type { PortFacts } from './facts.ts'
import { nameOfPort } from './names.ts'

/**
 * Without an address (none assigned yet, or garbage) the names exist and have no records: an SRV record must lead to
 * an address (RFC 2782), and a name error would be remembered longer than the assignment takes.
 */
export function addClusterSetIp(
  drafts: Drafts,
  serviceName: RelativeName,
  addresses: readonly Address[],
  ports: readonly PortFacts[],
): void {
  if (!drafts.admits(serviceName)) return
  drafts.add(serviceName)
  drafts.addAddresses(serviceName, addresses)
  for (const port of ports) {
    const service = portAndTarget(port, serviceName)
    // The service's own name carries all ports, also unnamed ones: peer finders ask there.
    if (addresses.length > 0) drafts.addService(serviceName, service)
    if (port.name === '') continue
    const portName = nameOfPort(port, serviceName)
    if (!drafts.admits(portName)) continue
    if (addresses.length > 0) drafts.addService(portName, service)
    else drafts.add(portName)
  }
}
