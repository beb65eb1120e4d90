/** The control plane as the configuration wants it, writing into the agent's zone. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config/config.ts'
import { type ControlPlane, startControlPlane } from '../control/control-plane.ts'
import type { Name, RelativeName } from '../dns/wire/name.ts'
import type { Zone } from '../dns/zone/zone.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Condition } from '../observe/probes.ts'
import { nowMs } from './clock-and-chance.ts'
import { zoneName } from './routes.ts'

/** Milliseconds that listeners wait for the zone of a local source. */
const SYNC_WAIT_MS = 2_000
const SYNC_LOOK_MS = 5

/** Changed names that are forgotten one by one, in a turn; when there are more, forgetting everything is quicker. */
const FORGET_NAMES_MAX = 5_000

/** Milliseconds between two lines about that, at least: a storm of changes has one in every few turns. */
const FLUSH_TOLD_EVERY_MS = 60_000

/** Whoever answers from what the zone said before. */
export interface PacketForgetter {
  /** `apexes`: below each of which the names stand. */
  forgetNames(names: readonly RelativeName[], apexes: readonly Name[]): void
  /** False when there was nothing to forget. */
  forgetAll(reason: 'changed-names' | 'zone-state'): boolean
}

export function startAgentControlPlane(
  { clusterset }: Config,
  zone: Zone,
  log: Log,
  metrics: Pick<Metrics, 'dnsProgrammed' | 'zonePublished' | 'apiObserver'>,
  packets: PacketForgetter,
): Promise<ControlPlane> {
  const apexes = clusterset.zones.map(zoneName)
  let tellFlushFromMs = 0
  const tellFlush = (names: number): void => {
    if (nowMs() < tellFlushFromMs) return
    tellFlushFromMs = nowMs() + FLUSH_TOLD_EVERY_MS
    log.info('packet-cache-flushed', { names, namesMax: FORGET_NAMES_MAX })
  }
  return startControlPlane(
    {
      source: clusterset.source,
      manifests: clusterset.manifests,
      kubernetes: clusterset.kubernetes,
      records: {
        submariner: clusterset.submariner,
        localClusterId: clusterset.localClusterId ?? undefined,
        apexOctetsMax: Math.max(...apexes.map((apex) => apex.length)),
      },
    },
    {
      zone,
      log,
      // In the turn of the change: the next query is answered from what is new.
      onNamesChanged: (names) => {
        const changed = names.length * apexes.length
        if (changed > FORGET_NAMES_MAX) {
          if (packets.forgetAll('changed-names')) tellFlush(changed)
        } else packets.forgetNames(names, apexes)
      },
      onZoneStateChanged: () => void packets.forgetAll('zone-state'),
      onPublished: (seconds) => metrics.zonePublished(seconds),
      apiObserver: metrics.apiObserver,
      onProgrammed: (serviceKind, seconds) => metrics.dnsProgrammed(serviceKind, seconds),
      soon: (work) => void setImmediate(work),
      nowMs,
      nowSeconds: () => Date.now() / 1000,
      chance: Math.random,
    },
  )
}

/** Files are read in a moment; the API server may take its time, and other names do not wait for it. */
export async function untilLocalSourceIsRead({ clusterset }: Config, zone: Zone): Promise<void> {
  if (clusterset.source === 'kubernetes') return
  const waitEndsMs = nowMs() + SYNC_WAIT_MS
  while (zone.state === 'unsynced' && nowMs() < waitEndsMs) await sleep(SYNC_LOOK_MS)
}

/** Milliseconds that the zone has to be known before we take over from another agent, or have clients led to us; between two looks. */
const ZONE_WAIT_MS = 10_000
const ZONE_LOOK_MS = 20

/** Waits, for a while, until the zone may be asked about any name. */
export async function untilZoneIsKnown(zone: Zone, isOver: () => boolean): Promise<void> {
  const endMs = nowMs() + ZONE_WAIT_MS
  while (!zone.isWhole && nowMs() < endMs && !isOver()) await sleep(ZONE_LOOK_MS)
}

/** Namespaces that a condition names. */
const NAMESPACES_TOLD_MAX = 10

/** Of what is not known yet; undefined where all is, or where no namespaces are named. */
function missingNamespaces(zone: Zone, controlPlane: ControlPlane | undefined): string | undefined {
  if (zone.isWhole) return undefined
  const missing = controlPlane?.status().namespaces.filter(({ isListed }) => !isListed) ?? []
  if (missing.length === 0) return undefined
  const told = missing
    .slice(0, NAMESPACES_TOLD_MAX)
    .map(({ name, failures }) => (failures.length === 0 ? name : `${name} (${failures.join(', ')})`))
  const more = missing.length - told.length
  return `not listed: ${told.join(', ')}${more === 0 ? '' : ` and ${more} more`}`
}

/** Whether the zone can answer, and from what. */
export function zoneCondition(zone: Zone, controlPlane: ControlPlane | undefined): Condition {
  const isFromSnapshot = controlPlane?.status().fromSnapshot === true
  const state = isFromSnapshot ? 'from the snapshot file, not from the API server' : zone.state
  const missing = missingNamespaces(zone, controlPlane)
  return {
    name: 'zone-synced',
    isMet: zone.isWhole || isFromSnapshot,
    detail: missing === undefined ? state : `${state}; ${missing}`,
  }
}
