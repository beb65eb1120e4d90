/**
 * The control plane's table of contents: a source of objects, what is remembered of them, and their publication.
 *
 * One function starts it; the data plane meets it only in the zone that is handed in.
 */

import type { RelativeName } from '../dns/wire/name.ts'
import type { ServiceKey } from '../dns/zone/rrset.ts'
import type { Zone, ZoneState } from '../dns/zone/zone.ts'
import { Calculator } from './calculator.ts'
import { type AskedRrset, explainService, type ServiceLook } from './explain-service.ts'
import { type AnyIgnoredReason, IgnoredBook } from './ignored-book.ts'
import type { ApiObserver } from './kubernetes-api.ts'
import { KubernetesSource } from './kubernetes-source.ts'
import type { ControlLog } from './log.ts'
import { ManifestDirectory } from './manifest-directory.ts'
import { ManifestParser } from './manifest-parser.ts'
import { ObjectIntake } from './object-intake.ts'
import { OBJECT_KINDS, type ObjectKind, ObjectStore } from './object-store.ts'
import { Publisher } from './publisher.ts'
import type { RecordSettings } from './records/records-of.ts'
import { SnapshotKeeper } from './snapshot-keeper.ts'
import type { Source, SourceStatus, WatchedNamespace } from './source.ts'
import { Turns } from './turns.ts'
import { WATCH_LIMITS, type WatchLimits } from './watch.ts'

export interface ControlSettings {
  readonly source: 'kubernetes' | 'manifests' | 'none'
  readonly manifests: { readonly directory: string }
  readonly kubernetes: {
    /** A kubeconfig file; null: the pod's service account. */
    readonly kubeconfig: string | null
    /** Namespaces to list and watch; none: all of them. */
    readonly namespaces: readonly string[]
    readonly snapshotFile: string | null
    /** Below which the pod's service account is; none: the root of the file system. */
    readonly serviceAccountRoot?: string
  }
  /** How objects become records. */
  readonly records: RecordSettings
  /** Times of the watches, where they are not the usual ones. */
  readonly watchLimits?: WatchLimits
}

export interface ControlParts {
  readonly zone: Zone
  readonly log: ControlLog
  /**
   * Names whose answers changed, and no others, in the turn of the change: what is kept of them elsewhere must go.
   * The SOA's serial is no such change, or every change would be one of every negative answer.
   */
  onNamesChanged(names: readonly RelativeName[]): void
  /**
   * The zone's word about names it does not know is another from this turn on (SERVFAIL, name error): no list of names
   * can say which answers changed.
   */
  onZoneStateChanged(state: ZoneState): void
  /** Seconds from the arrival of a change to its publication, the first sync excepted. */
  onPublished?(seconds: number): void
  /**
   * Seconds from a change in its source cluster, by that cluster's clock, to its publication here: for slices that say when
   * it was. Not at the first sync, for what was there before us took no time of ours.
   */
  onProgrammed?(serviceKind: 'headless_with_selector', seconds: number): void
  readonly apiObserver?: ApiObserver
  /** Runs the work in a later turn of the event loop (`setImmediate`). */
  soon(work: () => void): void
  /** Milliseconds of a monotonic clock. */
  nowMs(): number
  /** Seconds of the Unix epoch. */
  nowSeconds(): number
  /** From 0 to 1, 1 excluded. */
  chance(): number
}

export interface ControlStatus {
  readonly source: ControlSettings['source']
  /** Both kinds are listed and all of it is published (or there is nothing to list): true until `stop` from then on. */
  readonly synced: boolean
  /** Seconds of the Unix epoch at the first sync. */
  readonly syncedAt: number | undefined
  /** Seconds of the Unix epoch at the last change of the zone, the first sync included. */
  readonly changedAt: number | undefined
  /** Whether the source answers now: watches are open, the directory is readable. */
  readonly connected: boolean
  /** Namespaces that are named in the configuration; none: all are watched. */
  readonly namespaces: readonly WatchedNamespace[]
  /** By kind, whether all its changes are seen; without the kinds that nobody has to watch. */
  readonly watched: ReadonlyMap<ObjectKind, boolean>
  /** Seconds of the Unix epoch at the last word of the source: an event, a bookmark, a list, a change of files. */
  readonly lastEventAt: number | undefined
  readonly objects: { readonly serviceImport: number; readonly endpointSlice: number }
  /** Findings since the start by reason. */
  readonly ignored: ReadonlyMap<AnyIgnoredReason, number>
  /** Services waiting for publication. */
  readonly waiting: number
  readonly publications: number
  /** Lists after the first one of each kind. */
  readonly relists: number
  /** Failed requests and broken watches by HTTP status or error code. */
  readonly watchErrors: ReadonlyMap<string, number>
  /** The version of ServiceImport in use; null: none is served; undefined: not known (yet). */
  readonly crdVersion: string | null | undefined
  /** Whether the zone answers from a snapshot, not yet from the API. */
  readonly fromSnapshot: boolean
}

export interface ControlPlane {
  status(): ControlStatus
  /** What stands behind a name of the zone; see `explainService`. */
  explain(name: RelativeName, rrsets: readonly AskedRrset[] | undefined): Promise<ServiceLook | undefined>
  /** Services that a ServiceImport names, for suggestions. */
  imports(): Iterable<ServiceKey>
  /** Ends watching; the zone keeps what it has. */
  stop(): Promise<void>
}

const NO_SOURCE_STATUS: SourceStatus = {
  connected: true,
  namespaces: [],
  watched: new Map(),
  lastEventAt: undefined,
  relists: 0,
  watchErrors: new Map(),
  crdVersion: undefined,
  fromSnapshot: false,
}

/** Starts the source. Resolves as soon as it runs: for "synced", ask the status or the zone. */
export async function startControlPlane(settings: ControlSettings, parts: ControlParts): Promise<ControlPlane> {
  const ignored = new IgnoredBook(parts.log, () => parts.nowMs())
  let publishedAt: number | undefined
  const turns = new Turns({ soon: (work) => parts.soon(work), nowMs: () => parts.nowMs() })
  const calculator = new Calculator(settings.records, {
    of: (service) => store.of(service),
    published: (service) => parts.zone.recordsOf(service),
    onIgnored: (service, findings) => ignored.report(`service ${service}`, findings),
    isSpent: () => turns.isSpent(),
  })
  const publisher: Publisher = new Publisher({
    zone: parts.zone,
    calculate: (service) => calculator.calculate(service),
    onNamesChanged: (names) => parts.onNamesChanged(names),
    onPublished: (_, { waitedMs, triggeredAtMs }) => {
      if (!sync.isSynced) return
      publishedAt = parts.nowSeconds()
      parts.onPublished?.(waitedMs / 1000)
      for (const atMs of triggeredAtMs) {
        const seconds = parts.nowSeconds() - atMs / 1000
        // A clock that is ahead of ours measures nothing.
        if (seconds >= 0) parts.onProgrammed?.('headless_with_selector', seconds)
      }
    },
    onFailure: (service, failure) =>
      parts.log.error('publication-failed', {
        service,
        error: failure instanceof Error ? (failure.stack ?? failure.message) : String(failure),
      }),
    turns,
    after: (ms, work) => void setTimeout(work, ms).unref(),
    nowMs: () => parts.nowMs(),
  })
  const store: ObjectStore = new ObjectStore((service, triggeredAtMs) => publisher.touch(service, triggeredAtMs))
  const intake = new ObjectIntake(store, ignored)
  const sync: Sync = new Sync(parts, publisher, store)
  const source = await startSource(settings, parts, { intake, ignored, sync, store, turns })

  return {
    status: () => ({
      source: settings.source,
      synced: sync.isSynced,
      syncedAt: sync.syncedAt,
      changedAt: publishedAt ?? sync.syncedAt,
      objects: { serviceImport: store.count('serviceImport'), endpointSlice: store.count('endpointSlice') },
      ignored: ignored.counts,
      waiting: publisher.waitingCount,
      publications: publisher.counts.publications,
      ...source.status(),
    }),
    explain: (name, rrsets) =>
      explainService(name, rrsets, {
        store,
        ignored,
        settings: settings.records,
        isWaiting: (service) => publisher.isWaiting(service),
        breathe: () => turns.breathe(),
      }),
    imports: () => store.keys('serviceImport'),
    stop: () => source.stop(),
  }
}

/** Decides when the zone may deny names: when everything listed is published, and not a turn earlier. */
export class Sync {
  readonly #parts: ControlParts
  readonly #publisher: Publisher
  readonly #store: ObjectStore
  /** Services that were in the zone at our start. */
  readonly #inherited: Set<ServiceKey>
  /** Namespaces of which all is published, while that is not said of the whole zone. */
  readonly #known = new Set<string>()
  #syncedAt: number | undefined
  #epoch = 0

  constructor(parts: ControlParts, publisher: Publisher, store: ObjectStore) {
    this.#parts = parts
    this.#publisher = publisher
    this.#store = store
    this.#inherited = new Set(parts.zone.services())
  }

  get isSynced(): boolean {
    return this.#syncedAt !== undefined
  }

  get syncedAt(): number | undefined {
    return this.#syncedAt
  }

  /** Everything is listed and in the store, or (`absent`) nothing can be, because the API has no such kind. */
  settle(state: 'synced' | 'absent'): void {
    // What an earlier source left in the zone and this one does not know is gone. Later on the store tells what goes.
    for (const service of this.#inherited) if (!this.#store.hasImport(service)) this.#publisher.touch(service)
    this.#inherited.clear()
    this.#known.clear()
    const epoch = ++this.#epoch
    this.#publisher.afterPublication(() => {
      if (epoch !== this.#epoch) return
      this.#syncedAt ??= this.#parts.nowSeconds()
      if (!this.#setState(state)) return
      const objects = { imports: this.#store.count('serviceImport'), slices: this.#store.count('endpointSlice') }
      this.#parts.log.info('zone-synced', { state, ...objects })
    })
  }

  /** Everything in one namespace is listed and in the store, and `namespaces` are all that there are. */
  settleNamespace(namespace: string, namespaces: readonly string[]): void {
    if (this.#known.has(namespace)) return
    for (const service of this.#inherited) {
      if (!service.startsWith(`${namespace}/`)) continue
      this.#inherited.delete(service)
      if (!this.#store.hasImport(service)) this.#publisher.touch(service)
    }
    const epoch = this.#epoch
    this.#publisher.afterPublication(() => {
      if (epoch !== this.#epoch) return
      this.#known.add(namespace)
      this.#parts.zone.becomePartial(namespaces.filter((one) => !this.#known.has(one)))
      this.#parts.onZoneStateChanged('partial')
    })
  }

  /** The kinds appeared and are not listed yet: what they hold must not be denied. */
  unsettle(): void {
    this.#epoch++
    this.#known.clear()
    this.#setState('unsynced')
  }

  /** False when that is the zone's state already. */
  #setState(state: Exclude<ZoneState, 'partial'>): boolean {
    if (this.#parts.zone.state === state) return false
    this.#parts.zone.state = state
    this.#parts.onZoneStateChanged(state)
    return true
  }
}

interface SourceParts {
  readonly intake: ObjectIntake
  readonly ignored: IgnoredBook
  readonly sync: Sync
  readonly store: ObjectStore
  readonly turns: Turns
}

async function startSource(settings: ControlSettings, parts: ControlParts, own: SourceParts): Promise<Source> {
  switch (settings.source) {
    case 'none':
      own.sync.settle('synced')
      return { status: () => NO_SOURCE_STATUS, stop: () => Promise.resolve() }
    case 'manifests':
      return startManifests(settings.manifests.directory, parts, own)
    case 'kubernetes':
      return startKubernetes(settings, parts, own)
  }
}

async function startManifests(directory: string, parts: ControlParts, own: SourceParts): Promise<Source> {
  let lastEventAt: number | undefined
  let isConnected = false
  const manifests = new ManifestDirectory(directory, {
    intake: own.intake,
    parser: new ManifestParser(),
    ignored: own.ignored,
    turns: own.turns,
    log: parts.log,
    nowSeconds: () => parts.nowSeconds(),
    onListed: () => own.sync.settle('synced'),
    onChanged: () => {
      lastEventAt = parts.nowSeconds()
    },
    onReachable: (isReachable) => {
      isConnected = isReachable
    },
  })
  await manifests.start()
  return {
    status: () => {
      const watched = new Map(OBJECT_KINDS.map((kind) => [kind, isConnected]))
      return { ...NO_SOURCE_STATUS, connected: isConnected, watched, lastEventAt }
    },
    stop: () => manifests.stop(),
  }
}

async function startKubernetes(settings: ControlSettings, parts: ControlParts, own: SourceParts): Promise<Source> {
  // Loaded here alone: a node that serves manifests has no use for the package behind this door, which is large.
  const { openKubernetesApi } = await import('./kubernetes-api.ts')
  const { namespaces } = settings.kubernetes
  const api = openKubernetesApi({ ...settings.kubernetes, userAgent: 'nodelocal-mcs', observer: parts.apiObserver })
  const source = new KubernetesSource(namespaces, {
    api,
    intake: own.intake,
    ignored: own.ignored,
    log: parts.log,
    limits: settings.watchLimits ?? WATCH_LIMITS,
    turns: own.turns,
    onSettled: (state) => own.sync.settle(state),
    onNamespaceSettled: (namespace, all) => own.sync.settleNamespace(namespace, all),
    onUnsettled: () => own.sync.unsettle(),
    hasImports: () => own.store.count('serviceImport') > 0,
    nowMs: () => parts.nowMs(),
    nowSeconds: () => parts.nowSeconds(),
    chance: () => parts.chance(),
  })
  const path = settings.kubernetes.snapshotFile
  if (path === null) {
    source.start()
    return source
  }
  const keeper = new SnapshotKeeper(path, {
    log: parts.log,
    store: own.store,
    clock: { nowSeconds: () => parts.nowSeconds(), breathe: () => own.turns.breathe() },
  })
  const isFromSnapshot = await keeper.read(namespaces)
  source.start()
  keeper.start(() => source.isSettled && own.sync.isSynced)
  return {
    status: () => ({ ...source.status(), fromSnapshot: isFromSnapshot && !own.sync.isSynced }),
    stop: async () => {
      await source.stop()
      await keeper.stop()
    },
  }
}
