/** Of a clusterset name: the state of the zone, what it has at the name, the objects behind it, and why something is missing. */

import type { Config } from '../../config/config.ts'
import { nearest } from '../../config/did-you-mean.ts'
import type { ControlPlane, ControlStatus } from '../../control/control-plane.ts'
import type { ExplainedService, ServiceLook } from '../../control/explain-service.ts'
import { labelsOf, type Name, textOfName } from '../../dns/wire/name.ts'
import { dataText } from '../../dns/wire/record-text.ts'
import { RecordType, typeName } from '../../dns/wire/record-type.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import { type LookedRrset, lookInZone, type ZoneLook } from '../../dns/zone/look.ts'
import type { Zone } from '../../dns/zone/zone.ts'
import { zoneSettings } from '../routes.ts'
import type { ExplainedClusterset, ExplainedRrset, Reason } from './explanation.ts'
import { RECORDS_TOLD_MAX } from './forwarding.ts'
import { rounded } from './rounded.ts'

/** Why the answer has no records. */
export interface Denial {
  readonly reason: Reason
  readonly text: string
}

export interface ClustersetParts {
  readonly zone: Zone
  config(): Config
  controlPlane(): ControlPlane | undefined
}

/** Services that are suggested. */
const SUGGESTIONS_MAX = 5

/** Names that are compared letter by letter with the asked one: each costs microseconds of everybody's event loop. */
const COMPARED_MAX = 500

export async function explainClusterset(
  question: UpstreamQuestion,
  apex: Name,
  parts: ClustersetParts,
): Promise<{ readonly part: ExplainedClusterset; readonly denial: Denial | undefined }> {
  const { zone } = parts
  const config = parts.config()
  const look = lookInZone(zone, zoneSettings(config, apex), question.name, RECORDS_TOLD_MAX)
  const controlPlane = parts.controlPlane()
  const status = controlPlane?.status()
  const isOfServices = look.owner === 'service' || look.owner === 'nobody'
  const found = isOfServices ? await controlPlane?.explain(look.name, rrsetsOf(look)) : undefined
  const service = found?.service
  const suggestions =
    service !== undefined && service.serviceImport === null ? suggestionsFor(service, controlPlane!.imports()) : []
  const part: ExplainedClusterset = {
    zone: textOfName(apex),
    state: zone.state,
    source: config.clusterset.source,
    ...explainSource(status),
    serial: zone.serial,
    services: zone.serviceCount,
    ttlSeconds: config.clusterset.ttlSeconds,
    name: { owner: look.owner, rrsets: look.rrsets.map((rrset) => explainRrset(rrset, found)) },
    service: service ?? null,
    suggestions,
  }
  const denial =
    look.owner === 'nobody' && !zone.isKnown(look.name) ? notSynced(part) : denialOf(question, look, part, found)
  return { part, denial }
}

/** What the zone has of the name, cut to what is told; undefined where the name does not exist. */
function rrsetsOf({ owner, rrsets }: ZoneLook): { type: number; rdata: string[] }[] | undefined {
  if (owner === 'nobody') return undefined
  return rrsets.map(({ type, records }) => ({ type, rdata: records.map(({ rdata }) => rdata) }))
}

function explainSource(
  status: ControlStatus | undefined,
): Pick<
  ExplainedClusterset,
  'isFromSnapshot' | 'isConnected' | 'syncedSecondsAgo' | 'lastEventSecondsAgo' | 'apiVersion' | 'watchErrors'
> {
  const ago = (at: number | undefined): number | null => (at === undefined ? null : rounded(Date.now() / 1000 - at))
  return {
    isFromSnapshot: status?.fromSnapshot === true,
    isConnected: status?.connected === true,
    syncedSecondsAgo: ago(status?.syncedAt),
    lastEventSecondsAgo: ago(status?.lastEventAt),
    apiVersion: status?.crdVersion ?? null,
    watchErrors: Object.fromEntries(status?.watchErrors ?? []),
  }
}

function explainRrset(
  { type, ttlSeconds, count, records }: LookedRrset,
  found: ServiceLook | undefined,
): ExplainedRrset {
  return {
    type: typeName(type),
    ttlSeconds,
    count,
    records: records.map(({ rdata, complete }) => {
      const octets = Buffer.from(complete, 'latin1')
      return { data: dataText(type, octets, 0, octets.length), from: found?.originsOf(type, rdata) ?? [] }
    }),
  }
}

function denialOf(
  question: UpstreamQuestion,
  { owner, rrsets, name }: ZoneLook,
  part: ExplainedClusterset,
  found: ServiceLook | undefined,
): Denial | undefined {
  if (owner === 'nobody') return nameDenial(labelsOf(name), part, found)
  const hasType = rrsets.some(({ type }) => type === question.type)
  if (hasType || question.type === RecordType.ANY) return undefined
  if (rrsets.length > 0) {
    return {
      reason: 'no-such-type',
      text: `the name exists, with ${rrsets.map(({ type }) => typeName(type)).join(' and ')} only`,
    }
  }
  if (found?.absence !== undefined) return found.absence
  return { reason: 'empty-non-terminal', text: 'the name exists for the sake of the names below it and has no records' }
}

function nameDenial(labels: readonly string[], part: ExplainedClusterset, found: ServiceLook | undefined): Denial {
  if (part.state === 'absent') {
    return {
      reason: 'no-service-import-kind',
      text: 'the API server does not serve ServiceImports (their CustomResourceDefinition is not installed): no service exists',
    }
  }
  if (found?.absence !== undefined) return found.absence
  if (labels.length === 2 && labels[1] === 'svc') {
    return { reason: 'no-such-namespace', text: `there is no ServiceImport in namespace ${labels[0]}` }
  }
  const schema = `the zone has <service>.<namespace>.svc.${part.zone} and names below`
  return { reason: 'outside-schema', text: `no name of the multi-cluster DNS schema; ${schema}` }
}

function notSynced({ state, source, isConnected, watchErrors }: ExplainedClusterset): Denial {
  const errors = Object.entries(watchErrors).map(([code, count]) => `${code} (${count} times)`)
  const why = errors.length === 0 ? '' : `; failures so far: ${errors.join(', ')}`
  const how = isConnected ? 'connected' : 'not connected'
  return {
    reason: 'not-synced',
    text: `the services${state === 'partial' ? ' of its namespace' : ''} are not known yet (source ${source}, ${how}${why}): whether the name exists cannot be said`,
  }
}

/** The same name in other namespaces, and the nearest one in its own. */
function suggestionsFor({ namespace, name }: ExplainedService, imports: Iterable<string>): string[] {
  const elsewhere: string[] = []
  const beside: string[] = []
  for (const key of imports) {
    if (key.endsWith(`/${name}`)) elsewhere.push(key)
    else if (key.startsWith(`${namespace}/`) && beside.length < COMPARED_MAX)
      beside.push(key.slice(namespace.length + 1))
  }
  const near = nearest(name, beside)
  return [...(near === undefined ? [] : [`${namespace}/${near}`]), ...elsewhere].slice(0, SUGGESTIONS_MAX)
}
