/**
 * Which Kubernetes objects stand behind a name of the zone, and why there is nothing where there is nothing.
 *
 * For an operator who asks about one name: all of it is derived from the object store then, nothing is kept for it.
 */

import type { RelativeName } from '../dns/wire/name.ts'
import type { Rrset, ServiceKey, ServiceRecords } from '../dns/zone/rrset.ts'
import type { Finding, IgnoredBook } from './ignored-book.ts'
import type { ObjectStore } from './object-store.ts'
import { type Absence, absenceOf } from './records/absence.ts'
import type { PortFacts, ServiceImportFacts, SliceFacts } from './records/facts.ts'
import { serviceOfName } from './records/names.ts'
import { type RecordSettings, recordsOf, type ServiceFacts } from './records/records-of.ts'

export interface ExplainedSlice {
  /** `namespace/name`, as of every object here. */
  readonly object: string
  readonly cluster: string | null
  readonly ready: number
  /** null: not known, because it came from a snapshot that does not say. */
  readonly notReady: number | null
  readonly ports: readonly string[]
  /** Submariner: its endpoint is a cluster's service address. */
  readonly isServiceAddress: boolean
}

export interface ExplainedService {
  readonly namespace: string
  readonly name: string
  /** A change of its objects is not in the zone yet. */
  readonly isChangeWaiting: boolean
  readonly serviceImport: {
    readonly object: string
    readonly type: ServiceImportFacts['type']
    readonly addresses: number
    readonly ports: readonly string[]
  } | null
  readonly endpointSlices: number
  readonly readyEndpoints: number
  /** The first of them by name. */
  readonly slices: readonly ExplainedSlice[]
  /** What was left out of these objects, or made them useless. */
  readonly ignored: readonly (Finding & { readonly object: string })[]
}

export interface ServiceLook {
  readonly service: ExplainedService
  /** Why the zone has nothing at the name; undefined where it has something. */
  readonly absence: Absence | undefined
  /** The objects that an rdata of `rrsets` came from, the start that all of an rrset share left out. */
  originsOf(type: number, rdata: string): readonly string[]
}

/** An rrset of the zone, or a part of it. */
export type AskedRrset = Pick<Rrset, 'type' | 'rdata'>

/** Slices and findings that are told; a service may have a thousand. */
export const SLICES_TOLD_MAX = 50
export const FINDINGS_TOLD_MAX = 50

/** Objects that one record is said to come from. */
export const ORIGINS_TOLD_MAX = 5

export interface ExplainParts {
  readonly store: ObjectStore
  readonly ignored: IgnoredBook
  readonly settings: RecordSettings
  isWaiting(service: ServiceKey): boolean
  /** Between two slices: undefined, or resolves in a later turn of the event loop. */
  breathe(): Promise<void> | undefined
}

/**
 * What is known of the service that a name belongs to, whether there is one or not; undefined for names that can belong to
 * none. `rrsets` is what the zone has at the name, or those records of it whose origin is of interest; none and undefined ask
 * why there is none.
 */
export async function explainService(
  name: RelativeName,
  rrsets: readonly AskedRrset[] | undefined,
  parts: ExplainParts,
): Promise<ServiceLook | undefined> {
  const asked = serviceOfName(name)
  if (asked === undefined) return undefined
  const { namespace, service, below } = asked
  const key = `${namespace}/${service}`
  const facts = parts.store.of(key)
  const slices = facts.slices.toSorted((one, other) => (one.name < other.name ? -1 : 1))
  const origins = await originsAt(name, rrsets ?? [], { import: facts.import, slices }, parts)
  const told: ExplainedService = {
    namespace,
    name: service,
    isChangeWaiting: parts.isWaiting(key),
    serviceImport: facts.import === undefined ? null : explainedImport(key, facts.import),
    endpointSlices: slices.length,
    readyEndpoints: slices.reduce((sum, { endpoints }) => sum + endpoints.length, 0),
    slices: slices.slice(0, SLICES_TOLD_MAX).map(explainedSlice),
    ignored: findingsOf(namespace, key, facts, parts.ignored),
  }
  return {
    service: told,
    absence: rrsets === undefined || rrsets.length === 0 ? whyAbsent(key, below, facts, parts) : undefined,
    originsOf: (type, rdata) => origins.get(originKey(type, rdata)) ?? [],
  }
}

function whyAbsent(key: ServiceKey, below: readonly string[], facts: ServiceFacts, parts: ExplainParts): Absence {
  const [finding] = facts.import === undefined ? parts.ignored.findingsOf(`serviceImport ${key}`) : []
  if (finding === undefined) return absenceOf(key, below, facts, parts.settings)
  const { reason, detail } = finding
  return { reason: 'service-import-ignored', text: `ServiceImport ${key} is of no use to DNS: ${reason}, ${detail}` }
}

function explainedImport(
  object: string,
  { type, addresses, ports }: ServiceImportFacts,
): NonNullable<ExplainedService['serviceImport']> {
  return { object, type, addresses: addresses.length, ports: ports.map(portText) }
}

function explainedSlice(slice: SliceFacts): ExplainedSlice {
  return {
    object: `${slice.namespace}/${slice.name}`,
    cluster: slice.clusterId ?? null,
    ready: slice.endpoints.length,
    notReady: slice.notReady ?? null,
    ports: slice.ports.map(portText),
    isServiceAddress: slice.isServiceAddress,
  }
}

function portText({ name, protocol, port }: PortFacts): string {
  return `${name === '' ? '' : `${name} `}${port}/${protocol}`
}

/** Findings about the objects that are there, and about those that would be of this service if they were of any use. */
function findingsOf(
  namespace: string,
  key: ServiceKey,
  { slices }: ServiceFacts,
  ignored: IgnoredBook,
): (Finding & { object: string })[] {
  const known = new Set(slices.map(({ name }) => `endpointSlice ${namespace}/${name}`))
  const subjects = [`serviceImport ${key}`, `service ${key}`, ...known]
  // A slice that is of no use is not in the store, so nobody knows its service: those of the namespace are told.
  for (const subject of ignored.subjects(`endpointSlice ${namespace}/`)) {
    if (subjects.length >= SUBJECTS_LOOKED_MAX) break
    if (!known.has(subject)) subjects.push(subject)
  }
  const findings: (Finding & { object: string })[] = []
  for (const subject of subjects) {
    for (const finding of ignored.findingsOf(subject)) {
      const isUseless = !known.has(subject) && subject.startsWith('endpointSlice ')
      if (isUseless && !WHOLE_SLICE.has(finding.reason)) continue
      if (findings.length < FINDINGS_TOLD_MAX) findings.push({ object: subject, ...finding })
    }
  }
  return findings
}

/** Objects whose findings are looked through. */
const SUBJECTS_LOOKED_MAX = 2_000

/** Reasons that leave out a whole slice. */
const WHOLE_SLICE: ReadonlySet<string> = new Set(['malformed', 'name', 'address-type'])

/** Which objects, each taken alone, have the record: the import without slices, or one slice with it. */
async function originsAt(
  name: RelativeName,
  rrsets: readonly AskedRrset[],
  facts: ServiceFacts,
  parts: ExplainParts,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const origins = new Map<string, string[]>()
  const wanted = new Set(rrsets.flatMap(({ type, rdata }) => rdata.map((one) => originKey(type, one))))
  if (wanted.size === 0 || facts.import === undefined) return origins
  const serviceImport = facts.import
  const note = (records: ServiceRecords | undefined, object: string): void => {
    for (const { type, rdata } of records?.get(name) ?? []) {
      for (const one of rdata) {
        const key = originKey(type, one)
        if (!wanted.has(key)) continue
        const objects = origins.get(key)
        if (objects === undefined) origins.set(key, [object])
        else if (objects.length < ORIGINS_TOLD_MAX) objects.push(object)
      }
    }
  }
  const importName = `ServiceImport ${serviceImport.namespace}/${serviceImport.name}`
  note(recordsOf({ import: serviceImport, slices: [] }, parts.settings).records, importName)
  if (origins.size === wanted.size) return origins
  for (const slice of facts.slices) {
    const alone = recordsOf({ import: serviceImport, slices: [slice] }, parts.settings)
    note(alone.records, `EndpointSlice ${slice.namespace}/${slice.name}`)
    const pause = parts.breathe()
    if (pause !== undefined) await pause
  }
  return origins
}

function originKey(type: number, rdata: string): string {
  return `${type} ${rdata}`
}
