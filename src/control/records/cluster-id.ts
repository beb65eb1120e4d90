/** Cluster ids (KEP-1645, KEP-2149) as names: one label, or several joined by dots. */

import { LABEL_OCTETS_MAX } from '../../dns/wire/name.ts'

/** A label value may hold underscores (and upper case, which DNS does not tell apart); so may ours. */
const CLUSTER_LABEL = /^[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?$/

/** Octets of a DNS subdomain as Kubernetes limits them for a ClusterProperty (KEP-2149: fewer than 128). */
const CLUSTER_ID_OCTETS_MAX = 127

/** The cluster id in lower case; undefined when it is not made of DNS labels. */
export function clusterIdFrom(text: string): string | undefined {
  const id = text.toLowerCase()
  if (id.length > CLUSTER_ID_OCTETS_MAX) return undefined
  return id.split('.').every((label) => label.length <= LABEL_OCTETS_MAX && CLUSTER_LABEL.test(label)) ? id : undefined
}
