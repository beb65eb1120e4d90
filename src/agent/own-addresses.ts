/** Which listen addresses are the node's by our doing. */

import type { Config } from '../config/config.ts'
import { familyOfAddress } from '../host/rules.ts'

/** The listen addresses that an interface can carry: a wildcard is none, and loopback exists. */
export function ownAddresses({ listen }: Config): string[] {
  return listen.addresses.filter(
    (address) => !['0.0.0.0', '::', '::1'].includes(address) && !address.startsWith('127.'),
  )
}

/** Those that are ours alone, and that the fallback leads to kube-dns when we do not answer. */
export function addressesWithFallback(config: Config): string[] {
  const { fallback } = config.host
  const versions = new Set(fallback.map(familyOfAddress))
  return ownAddresses(config).filter((address) => !fallback.includes(address) && versions.has(familyOfAddress(address)))
}
