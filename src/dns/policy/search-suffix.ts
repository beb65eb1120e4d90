/**
 * The search-suffix short cut: resolvers try `web.shop.svc.clusterset.local.<suffix>` for every suffix of their search
 * list before the name itself (`ndots:5`, and the name has four dots), twice where they want both families.
 *
 * Such names cannot exist under the Kubernetes DNS schema, whose names below `svc.<cluster domain>` have at most four
 * labels (`_port._protocol.service.namespace`). A cluster DNS of another make may hold anything: hence a setting.
 */

import { type Name, parentOf, type RelativeName, relativeName, relativeTo } from '../wire/name.ts'

export interface SearchSuffixParts {
  readonly clustersetZones: readonly Name[]
  /** The domain of the cluster's own DNS: `cluster.local`. */
  readonly clusterDomain: Name
}

/** Labels before a clusterset zone from which on a name is surely a tried suffix: with fewer, a service may be called so. */
const LABELS_MIN = 3

/** Labels that the schema has at most before `svc.<cluster domain>`. */
const SCHEMA_LABELS_MAX = 4

const SVC: RelativeName = relativeName(['svc'])!
const POD: RelativeName = relativeName(['pod'])!

/**
 * Whether `name` is `<three or more labels>.<clusterset zone>` followed by `<namespace>.svc.<cluster domain>`,
 * `svc.<cluster domain>` or `<cluster domain>`, and so long that no such service, pod or port can exist.
 */
export function isImpossibleSearchName(name: Name, parts: SearchSuffixParts): boolean {
  const below = relativeTo(name, parts.clusterDomain)
  if (below === undefined) return false
  const belowSvc = relativeTo(below, SVC)
  if (belowSvc !== undefined) {
    if (labelCount(belowSvc) <= SCHEMA_LABELS_MAX) return false
    return parts.clustersetZones.some((zone) => isTriedFor(belowSvc, zone) || isTriedFor(withoutLast(belowSvc), zone))
  }
  return relativeTo(below, POD) === undefined && parts.clustersetZones.some((zone) => isTriedFor(below, zone))
}

/** Whether `name` ends in the zone's labels and has enough before them. */
function isTriedFor(name: RelativeName, zone: Name): boolean {
  const before = relativeTo(name, zone.slice(0, -1))
  return before !== undefined && labelCount(before) >= LABELS_MIN
}

function labelCount(name: RelativeName): number {
  let count = 0
  for (let rest = name; rest !== ''; rest = parentOf(rest)) count++
  return count
}

function withoutLast(name: RelativeName): RelativeName {
  let at = 0
  let last = 0
  while (at < name.length) {
    last = at
    at += name.charCodeAt(at) + 1
  }
  return name.slice(0, last)
}
