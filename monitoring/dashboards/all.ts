import { CLUSTERSET } from './clusterset.ts'
import { FLEET } from './fleet.ts'
import { NODE } from './node.ts'
import type { Dashboard } from './panels.ts'

/** By the name of their file in manifests/grafana. */
export const DASHBOARDS: ReadonlyMap<string, Dashboard> = new Map([
  ['fleet.json', FLEET],
  ['node.json', NODE],
  ['clusterset.json', CLUSTERSET],
])
