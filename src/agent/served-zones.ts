/** Every pair of server and zone, and what answers there: what metrics have a series for. */

import type { Config } from '../config/config.ts'

export interface ServedZone {
  /** As metrics name it: `dns://169.254.20.10:53`. */
  readonly server: string
  readonly zone: string
  /** `clusterset`, `cache` or `forward`. */
  readonly name: string
}

export function servedZones({ clusterset, forward }: Config, servers: readonly string[]): ServedZone[] {
  const label = (text: string) => (text === '.' ? text : `${text}.`)
  const zones = [
    ...clusterset.zones.map((text) => ({ zone: label(text), name: 'clusterset' })),
    ...forward.flatMap((route) =>
      route.zones.flatMap((text) => [
        { zone: label(text), name: 'cache' },
        { zone: label(text), name: 'forward' },
      ]),
    ),
  ]
  return servers.flatMap((server) => zones.map(({ zone, name }) => ({ server, zone, name })))
}
