/** @kubernetes/client-node's door: what we use of it, and nothing else of it anywhere. */

import { loadAllYaml } from '@kubernetes/client-node'

/** The documents of a YAML text as Kubernetes reads it, empty ones left out; throws on what is no YAML. */
export function parseManifests(text: string): unknown[] {
  return (loadAllYaml(text) as unknown[]).filter((document) => document !== null && document !== undefined)
}
