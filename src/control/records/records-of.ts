/** One service's objects to its records: the MCS DNS specification 1.0.0, its chapters in the files beside this one. */

import type { ServiceRecords } from '../../dns/zone/rrset.ts'
import { addClusterSetIp } from './cluster-set-ip.ts'
import { Drafts } from './drafts.ts'
import type { ServiceImportFacts, SliceFacts } from './facts.ts'
import { addHeadless } from './headless.ts'
import { type Ignored, IgnoredList } from './ignored.ts'
import { nameOfService } from './names.ts'
import { addSubmariner } from './submariner.ts'

/** Everything that is known of one service: slices without an import are no service. */
export interface ServiceFacts {
  readonly import: ServiceImportFacts | undefined
  readonly slices: readonly SliceFacts[]
}

export interface RecordSettings {
  /** Whether Submariner's per-cluster service addresses stand in for a missing clusterset IP. */
  readonly submariner: boolean
  /** This cluster's id, for Submariner's preference of the local cluster. */
  readonly localClusterId: string | undefined
  /** Octets of the longest configured zone in wire form. */
  readonly apexOctetsMax: number
}

export interface RecordsReading {
  /** Undefined without an import; empty for an import that has no name of its own, such as a headless one without endpoints. */
  readonly records: ServiceRecords | undefined
  readonly ignored: readonly Ignored[]
}

const NOT_IMPORTED: RecordsReading = { records: undefined, ignored: [] }

/** The records of a service. Pure: the same facts in whatever order give the same records. */
export function recordsOf(service: ServiceFacts, settings: RecordSettings): RecordsReading {
  const serviceImport = service.import
  if (serviceImport === undefined) return NOT_IMPORTED
  const ignored = new IgnoredList()
  const drafts = new Drafts(settings.apexOctetsMax, ignored)
  const serviceName = nameOfService(serviceImport.namespace, serviceImport.name)
  if (serviceImport.type === 'Headless') {
    addHeadless(drafts, serviceName, inOrder(service.slices))
  } else if (serviceImport.addresses.length === 0 && settings.submariner) {
    const localClusterId = settings.localClusterId?.toLowerCase()
    addSubmariner(drafts, serviceName, serviceImport, inOrder(service.slices), localClusterId)
  } else {
    addClusterSetIp(drafts, serviceName, serviceImport.addresses, serviceImport.ports)
  }
  return { records: drafts.build(serviceName), ignored: ignored.entries }
}

/** Slices by name, so that a relist in another order is no change of the zone. */
function inOrder(slices: readonly SliceFacts[]): readonly SliceFacts[] {
  return slices.length < 2 ? slices : slices.toSorted((one, other) => (one.name < other.name ? -1 : 1))
}
