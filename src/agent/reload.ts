/** Which parts of a changed configuration come into force at once, and which wait for a restart. Pure. */

import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/config.ts'

/** Sections that listeners, sources and caches are made from; a change of them waits for a restart. */
const FIXED_SECTIONS = ['listen', 'udp', 'tcp', 'host', 'metrics', 'health', 'kubeDnsConfigDirectory'] as const

/** What differs and waits for a restart, as the log names it. */
export function sectionsThatWait(wanted: Config, inForce: Config): string[] {
  const waiting: string[] = FIXED_SECTIONS.filter((section) => !isDeepStrictEqual(wanted[section], inForce[section]))
  if (wanted.cache.maxBytes !== inForce.cache.maxBytes) waiting.push('cache.maxBytes')
  if (!isDeepStrictEqual(sourceOf(wanted), sourceOf(inForce))) waiting.push('clusterset zones or source')
  return waiting
}

/** A configuration that is wanted, with what waits for a restart as it is in force: every part must see the same. */
export function untilRestart(wanted: Config, inForce: Config): Config {
  const fixed = Object.fromEntries(FIXED_SECTIONS.map((section) => [section, inForce[section]]))
  return {
    ...wanted,
    ...fixed,
    clusterset: { ...wanted.clusterset, ...sourceOf(inForce) },
    cache: { ...wanted.cache, maxBytes: inForce.cache.maxBytes },
  }
}

/** What the control plane is started from. */
function sourceOf({ clusterset }: Config): Partial<Config['clusterset']> {
  const { zones, source, manifests, kubernetes, submariner, localClusterId } = clusterset
  return { zones, source, manifests, kubernetes, submariner, localClusterId }
}
