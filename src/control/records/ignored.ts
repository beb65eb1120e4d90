/** What was left out of the zone and why: logged once, counted per reason, never a reason to leave out anything else. */

/** Every reason; a metric's label values, explained in `docs/operations.md`. */
export const IGNORED_REASONS = [
  /** Not an object of the kind, or without what makes it one. */
  'malformed',
  /** The name of an import or of its namespace is no DNS label, so it can be no Service. */
  'name',
  /** `spec.type` is neither ClusterSetIP nor Headless. */
  'type',
  /** An address that is none, such as `None`. */
  'address',
  /** A slice of type FQDN: it holds names, and a service has addresses. */
  'address-type',
  /** An endpoint's hostname is no DNS label; the address names it. */
  'hostname',
  /** A slice does not say its cluster: its addresses are published, names below the service are not. */
  'no-cluster-id',
  /** A slice's cluster id is not made of DNS labels; as `no-cluster-id`. */
  'cluster-id',
  /** A port that is not an integer from 1 to 65535. */
  'port',
  /** A port name that is no DNS label; the port is published at the service's own name only. */
  'port-name',
  /** A protocol other than TCP, UDP and SCTP. */
  'protocol',
  /** Ports or addresses of one object beyond what is read of them. */
  'too-many',
  /** A name of more than 255 octets under the longest configured zone. */
  'name-too-long',
] as const

export type IgnoredReason = (typeof IGNORED_REASONS)[number]

export interface Ignored {
  readonly reason: IgnoredReason
  /** The first thing that was ignored for this reason, for a person to read; bounded. */
  readonly detail: string
  /** How many things were ignored for this reason. */
  readonly count: number
}

/** Characters of a value that a detail repeats. */
const DETAIL_VALUE_MAX = 80

/** Gathers what one object or service had ignored, one entry per reason: bounded whatever the object holds. */
export class IgnoredList {
  readonly #byReason = new Map<IgnoredReason, { reason: IgnoredReason; detail: string; count: number }>()

  /** `value` is what was ignored, shown as JSON and cut; `where` is its path in the object. */
  add(reason: IgnoredReason, where: string, value: unknown, count = 1): void {
    const known = this.#byReason.get(reason)
    if (known === undefined) this.#byReason.set(reason, { reason, detail: `${where}: ${shown(value)}`, count })
    else known.count += count
  }

  get entries(): readonly Ignored[] {
    return [...this.#byReason.values()]
  }
}

function shown(value: unknown): string {
  // Whole objects are never shown: they may be large, and the path tells where to look.
  const text = typeof value === 'object' && value !== null ? 'an object' : (JSON.stringify(value) ?? 'missing')
  return text.length > DETAIL_VALUE_MAX ? `${text.slice(0, DETAIL_VALUE_MAX)}…` : text
}
