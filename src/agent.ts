/**
 * The table of contents: makes every part, hands each its neighbours, starts and stops them in order.
 *
 * Nothing is decided here but the order; each step says why it stands where it does.
 */

import { randomFillSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { cachePages } from './agent/cache-pages.ts'
import { watchKubeDnsConfig, withKubeDnsRoutes } from './agent/kube-dns-routes.ts'
import { routesOf, zoneName } from './agent/routes.ts'
import { type FollowedGroup, openGroup } from './agent/upstreams.ts'
import type { Config, LoadedConfig } from './config/config.ts'
import { watchConfig } from './config/config-watch.ts'
import { splitHostPort } from './config/syntax.ts'
import { type ControlPlane, startControlPlane } from './control/control-plane.ts'
import { isImpossibleSearchName } from './dns/policy/search-suffix.ts'
import { textOfName } from './dns/wire/name.ts'
import { typeName } from './dns/wire/record-type.ts'
import { Zone } from './dns/zone/zone.ts'
import { CounterLabels, TrafficCounters } from './observe/counters.ts'
import { openHttpListener } from './observe/http.ts'
import { createLog, type Log, LogRate } from './observe/log.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import { type Condition, probePages } from './observe/probes.ts'
import { RecordCache } from './serve/cache/record-cache.ts'
import { ListenError, serverName } from './serve/listen/listen-address.ts'
import { type ListenCounts, newListenCounts } from './serve/listen/listen-counts.ts'
import { openTcpListener } from './serve/listen/tcp.ts'
import { openUdpListener } from './serve/listen/udp-dgram.ts'
import type { Listener } from './serve/query-handler.ts'
import { Resolver } from './serve/resolve.ts'
import { SlowPath } from './serve/slow-path.ts'

export interface AgentOptions {
  readonly config: Config
  /** The file that is watched for changes; undefined for the embedded defaults. */
  readonly configPath: string | undefined
  readonly hash: string
  readonly version: string
}

export interface ListeningOn {
  readonly transport: 'udp' | 'tcp'
  readonly address: string
  readonly port: number
}

export interface RunningAgent {
  readonly listening: readonly ListeningOn[]
  /** Empties the record cache. */
  flushCache(): void
  /** Stops gracefully. Idempotent. */
  stop(): Promise<void>
}

/** Sections that listeners, sources and caches are made from; a change of them waits for a restart. */
const FIXED_SECTIONS = ['listen', 'udp', 'tcp', 'host', 'metrics', 'health', 'kubeDnsConfigDirectory'] as const

/** Milliseconds that listeners wait for the zone of a local source. */
const SYNC_WAIT_MS = 2_000
const SYNC_LOOK_MS = 5

/** Ports that the system may choose for UDP, while somebody has the same one for TCP, before we give up. */
const CHOSEN_PORT_ATTEMPTS_MAX = 20

/** The part of the time to drain that upstreams have for what is under way; the rest is for telling the clients. */
const UPSTREAMS_DRAIN_PART = 0.8

/** Seconds between two lines about the same exception. */
const PANIC_LOG_SECONDS = 10

/** Starts everything; on failure what was started is stopped again and the error passed on. */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const agent = new Agent(options)
  try {
    await agent.start()
  } catch (error) {
    await agent.stop()
    throw error
  }
  return agent
}

class Agent implements RunningAgent {
  readonly #configPath: string | undefined
  readonly #version: string
  readonly #log: Log
  readonly #zone = new Zone(Math.floor(Date.now() / 1000))
  readonly #recordCache: RecordCache
  readonly #labels = new CounterLabels()
  readonly #traffic = new TrafficCounters(this.#labels)
  readonly #listenCounts: ListenCounts = newListenCounts()
  readonly #panicRate = new LogRate(PANIC_LOG_SECONDS, nowSeconds)
  readonly #routeIds = new Map<string, number>()
  readonly #metrics: Metrics
  readonly #slowPath: SlowPath
  readonly #stops: { readonly what: string; stop(): Promise<void> | void }[] = []
  /** As the file has it, but for what waits for a restart. */
  #written: Config
  /** With the routes of the kube-dns ConfigMap: what every part is made from. */
  #config: Config
  #hash: string
  #appliedAtSeconds = Date.now() / 1000
  #reloadsFailed = 0
  #groups: FollowedGroup[] = []
  #resolver: Resolver
  /** Names denied by the search-suffix short cut. */
  #shortCuts = 0
  #controlPlane: ControlPlane | undefined
  readonly #listeners: { readonly transport: 'udp' | 'tcp'; readonly listener: Listener }[] = []
  #stopping: Promise<void> | undefined

  constructor(options: AgentOptions) {
    this.#written = options.config
    this.#config = options.config
    this.#configPath = options.configPath
    this.#hash = options.hash
    this.#version = options.version
    this.#log = createLog(options.config.log.level)
    this.#config = withKubeDnsRoutes(options.config, this.#log)
    this.#recordCache = new RecordCache(options.config.cache.maxBytes)
    this.#metrics = createMetrics(this.#metricSources())
    this.#groups = this.#openGroups(this.#config)
    this.#resolver = this.#newResolver()
    this.#slowPath = new SlowPath({
      resolver: () => this.#resolver,
      traffic: this.#traffic,
      queryLog: () => ({ level: this.#config.log.queries, query: (fields) => this.#log.info('query', fields) }),
      nowSeconds,
      onPanic: (error, question) => this.#reportPanic(error, question),
      rotates: () => this.#config.cache.rotate,
      keepaliveDeciseconds: Math.floor(options.config.tcp.idleTimeoutMs / 100),
    })
  }

  get listening(): readonly ListeningOn[] {
    return this.#listeners.map(({ transport, listener: { address, port } }) => ({ transport, address, port }))
  }

  async start(): Promise<void> {
    this.#log.info('starting', { version: this.#version, configHash: this.#hash, node: process.version })
    this.#onStop('record cache', () => this.#recordCache.close())
    this.#onStop('upstreams', () => this.#stopGroups(this.#groups))
    await this.#startControlPlane() // manifests are read before the first query, the API server's objects soon after
    await this.#startListeners() // the caches are cold, but upstreams already answer
    await this.#startHttp() // the kubelet asks as soon as it can, and finds listeners that are there
    this.#watchConfig() // last: a reload needs every part it touches
    this.#log.info('started', { listening: this.listening })
  }

  flushCache(): void {
    this.#log.info('cache-flushed', { what: 'all', entries: this.#recordCache.flush() })
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll()
    return this.#stopping
  }

  /** What was started last is stopped first: nobody is told to come while the door is being shut. */
  async #stopAll(): Promise<void> {
    this.#log.info('stopping', {})
    for (const { what, stop } of this.#stops.toReversed()) {
      try {
        await stop()
      } catch (error) {
        this.#log.error('stop-failed', { what, error: textOf(error) })
      }
    }
    this.#log.info('stopped', {})
    this.#log.flush()
  }

  #onStop(what: string, stop: () => Promise<void> | void): void {
    this.#stops.push({ what, stop })
  }

  async #startControlPlane(): Promise<void> {
    const { clusterset } = this.#config
    const controlPlane = await startControlPlane(
      {
        source: clusterset.source,
        manifests: clusterset.manifests,
        kubernetes: clusterset.kubernetes,
        records: {
          submariner: clusterset.submariner,
          localClusterId: clusterset.localClusterId ?? undefined,
          apexOctetsMax: Math.max(...clusterset.zones.map((text) => zoneName(text).length)),
        },
      },
      {
        zone: this.#zone,
        log: this.#log,
        // The zone is asked for every answer, so there is nothing to forget yet.
        onNamesChanged: () => undefined,
        onZoneStateChanged: () => undefined,
        soon: (work) => void setImmediate(work),
        nowMs: () => performance.now(),
        nowSeconds: () => Date.now() / 1000,
        chance: Math.random,
      },
    )
    this.#controlPlane = controlPlane
    this.#onStop('control plane', () => controlPlane.stop())
    // Files are read in a moment; the API server may take its time, and other names do not wait for it.
    if (clusterset.source === 'kubernetes') return
    const waitEndsMs = performance.now() + SYNC_WAIT_MS
    while (this.#zone.state === 'unsynced' && performance.now() < waitEndsMs) await sleep(SYNC_LOOK_MS)
  }

  async #startListeners(): Promise<void> {
    const { listen, tcp } = this.#config
    this.#onStop('listeners', async () => {
      const { drainMs } = this.#config.shutdown
      // What no upstream has answered by then fails while its client can still be told.
      const upstreamsEnd = setTimeout(() => {
        this.#stopGroups(this.#groups, 0).catch((error: unknown) =>
          this.#log.error('stop-failed', { what: 'upstreams', error: textOf(error) }),
        )
      }, drainMs * UPSTREAMS_DRAIN_PART)
      await Promise.all(this.#listeners.map(({ listener }) => listener.stop(drainMs)))
      clearTimeout(upstreamsEnd)
    })
    const limits = {
      connectionsMax: tcp.connectionsMax,
      connectionsPerClientMax: tcp.connectionsPerClientMax,
      idleMs: tcp.idleTimeoutMs,
    }
    const { handle } = this.#slowPath
    const { udp: udpCounts, tcp: tcpCounts } = this.#listenCounts
    const open = async (address: string, attemptsLeft: number): Promise<void> => {
      const udp = await openUdpListener({ address, port: listen.port, reusePort: false }, handle, { counts: udpCounts })
      const options = { address, port: udp.port, reusePort: false, limits }
      try {
        // A port that the system chose for UDP is wanted for TCP too: clients turn from one to the other.
        const tcpListener = await openTcpListener(options, handle, { counts: tcpCounts })
        this.#listeners.push({ transport: 'udp', listener: udp }, { transport: 'tcp', listener: tcpListener })
      } catch (error) {
        await udp.stop(0)
        const isChosenPortTaken = listen.port === 0 && error instanceof ListenError && error.code === 'ADDRESS_IN_USE'
        if (!isChosenPortTaken || attemptsLeft === 0) throw error
        await open(address, attemptsLeft - 1)
      }
    }
    for (const address of listen.addresses) await open(address, CHOSEN_PORT_ATTEMPTS_MAX)
    this.#announceCells()
    this.#log.info('udp-implementation', { implementation: 'dgram', wanted: this.#config.udp.implementation })
  }

  async #startHttp(): Promise<void> {
    const onFailure = (path: string, error: unknown) => this.#log.error('http-failed', { path, error: textOf(error) })
    const open = async (what: string, text: string, pages: Parameters<typeof openHttpListener>[1]): Promise<void> => {
      const { address, port } = splitHostPort(text)!
      const listener = await openHttpListener({ address, port, reusePort: false, purpose: what }, pages, onFailure)
      this.#onStop(what, () => listener.stop(this.#config.shutdown.drainMs))
      this.#log.info('http-listening', { what, address: listener.address, port: listener.port })
    }
    await open('metrics', this.#config.metrics.address, {
      '/metrics': async () => ({
        status: 200,
        contentType: this.#metrics.contentType,
        body: await this.#metrics.render(),
      }),
    })
    await open('health', this.#config.health.address, {
      ...probePages({ alive: () => [], ready: () => this.#readiness() }),
      ...cachePages({
        recordCache: this.#recordCache,
        maxStaleSeconds: () => this.#config.cache.serveStale.maxStaleSeconds,
        nowSeconds,
        onFlush: (what, entries) => this.#log.info('cache-flushed', { what, entries }),
      }),
    })
  }

  #readiness(): Condition[] {
    const status = this.#controlPlane?.status()
    return [
      { name: 'listening', isMet: this.#listeners.length > 0 },
      { name: 'not-stopping', isMet: this.#stopping === undefined },
      {
        name: 'zone-synced',
        isMet: this.#zone.state !== 'unsynced' || status?.fromSnapshot === true,
        detail: status?.fromSnapshot === true ? 'from the snapshot file, not from the API server' : this.#zone.state,
      },
    ]
  }

  #watchConfig(): void {
    const directory = this.#written.kubeDnsConfigDirectory
    if (directory !== null) {
      const stop = watchKubeDnsConfig(directory, () => {
        if (this.#apply(this.#written)) this.#log.info('kube-dns-config-applied', { directory })
      })
      this.#onStop('kube-dns configuration watch', stop)
    }
    if (this.#configPath === undefined) return
    const stop = watchConfig(this.#configPath, this.#hash, {
      onChange: (loaded) => this.#reload(loaded),
      onWatchError: (error) => this.#log.warn('config-watch-failed', { error: error.message }),
    })
    this.#onStop('config watch', stop)
  }

  /** Applies a configuration that is good; one that is not is reported, and the old one stays in force. */
  #reload(loaded: LoadedConfig): void {
    if (loaded.kind === 'problems') {
      this.#reloadsFailed++
      for (const problem of loaded.problems) this.#log.error('config-problem', { problem })
      this.#log.error('config-refused', { problems: loaded.problems.length, inForce: this.#hash })
      return
    }
    const { hash, config: wanted } = loaded
    const inForce = this.#written
    const waiting: string[] = FIXED_SECTIONS.filter((section) => !isDeepStrictEqual(wanted[section], inForce[section]))
    if (wanted.cache.maxBytes !== inForce.cache.maxBytes) waiting.push('cache.maxBytes')
    if (!isDeepStrictEqual(sourceOf(wanted), sourceOf(inForce))) waiting.push('clusterset zones or source')
    if (waiting.length > 0) this.#log.warn('config-needs-restart', { sections: waiting })

    if (!this.#apply(untilRestart(wanted, inForce))) return
    this.#hash = hash
    this.#appliedAtSeconds = Date.now() / 1000
    this.#log.setLevel(wanted.log.level)
    this.#log.info('config-applied', { hash })
  }

  /**
   * Gives every part that can change while running what the configuration and the ConfigMap of kube-dns say now.
   * Whatever goes wrong in that, the old one stays in force: a node without DNS is worse than one with old settings.
   */
  #apply(written: Config): boolean {
    const before = { config: this.#config, groups: this.#groups }
    try {
      this.#config = withKubeDnsRoutes(written, this.#log)
      this.#groups = this.#openGroups(this.#config)
      this.#resolver = this.#newResolver()
    } catch (error) {
      this.#config = before.config
      this.#groups = before.groups
      this.#reloadsFailed++
      this.#log.error('config-failed', { error, inForce: this.#hash })
      return false
    }
    this.#written = written
    this.#announceCells()
    const gone = before.groups.filter((group) => !this.#groups.includes(group))
    this.#stopGroups(gone).catch((error: unknown) => this.#log.error('stop-failed', { error: textOf(error) }))
    return true
  }

  #openGroups(config: Config): FollowedGroup[] {
    const { port } = config.listen
    const own = config.listen.addresses.map((address) => ({ address, port }))
    const parts = {
      observer: this.#metrics.upstreamObserver,
      random: Math.random,
      randomId: unpredictableUint16,
      nowMs: () => performance.now(),
    }
    // A route that stays as it is keeps its connections and what is known of its upstreams.
    const groups = config.forward.map(
      (route) =>
        this.#groups.find((group) => isDeepStrictEqual(group.route, route)) ?? openGroup(route, own, parts, this.#log),
    )
    for (const { to } of groups.flatMap(({ group }) => group.status().upstreams)) parts.observer.know(to)
    return groups
  }

  async #stopGroups(groups: readonly FollowedGroup[], drainMs = this.#config.shutdown.drainMs): Promise<void> {
    await Promise.all(groups.map((group) => group.stop(drainMs)))
  }

  #newResolver(): Resolver {
    const { cache, clusterset } = this.#config
    const searchSuffixes = {
      clustersetZones: clusterset.zones.map(zoneName),
      clusterDomain: zoneName(clusterset.clusterDomain),
    }
    return new Resolver(
      routesOf(this.#config, this.#zone, this.#groups, (text) => this.#routeId(text)),
      {
        recordCache: this.#recordCache,
        limits: cache,
        serveStale: cache.serveStale.enabled ? cache.serveStale : undefined,
        prefetch: cache.prefetch.enabled,
        isImpossibleSearchName: (name) => {
          const isImpossible = clusterset.searchSuffixShortcut && isImpossibleSearchName(name, searchSuffixes)
          if (isImpossible) this.#shortCuts++
          return isImpossible
        },
        nowSeconds,
        onPanic: (error, { name, type }) => {
          this.#traffic.panicked()
          this.#reportPanic(error, `${textOfName(name)} ${typeName(type)}`)
        },
        after: (delayMs, call) => {
          const timer = setTimeout(call, delayMs)
          return () => clearTimeout(timer)
        },
      },
    )
  }

  /** The same upstreams keep their number, and their cached answers, over a reload. */
  #routeId(text: string): number {
    let id = this.#routeIds.get(text)
    if (id === undefined) {
      id = this.#routeIds.size
      this.#routeIds.set(text, id)
    }
    return id
  }

  /** Makes the series of every server and zone appear at the first scrape, as zeros. */
  #announceCells(): void {
    for (const { server, zone } of this.#servedZones()) this.#labels.cellOf(server, zone)
  }

  #servedZones(): { server: string; zone: string; name: string }[] {
    const { clusterset, forward } = this.#config
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
    return this.#listeners
      .filter(({ transport }) => transport === 'udp')
      .flatMap(({ listener }) =>
        zones.map(({ zone, name }) => ({ server: serverName(listener.address, listener.port), zone, name })),
      )
  }

  #reportPanic(error: unknown, question: string): void {
    this.#panicRate.once(textOf(error), (suppressed) => {
      const stack = error instanceof Error ? error.stack : String(error)
      this.#log.error('query-failed', { question, error: stack, suppressed })
    })
  }

  #metricSources(): Parameters<typeof createMetrics>[0] {
    const forwards = () => this.#groups.map(({ group, transport }) => ({ status: group.status(), transport }))
    return {
      build: { version: this.#version, revision: '' },
      labels: this.#labels,
      trafficBlocks: () => [this.#traffic],
      plugins: () => this.#servedZones(),
      cache: () => ({ ...this.#recordCache.status(), bytesMax: this.#config.cache.maxBytes, prefetchesDropped: 0 }),
      zone: () => {
        const status = this.#controlPlane?.status()
        return {
          isSynced: this.#zone.state !== 'unsynced',
          states: zoneStates(this.#zone.state, status?.fromSnapshot === true),
          searchSuffixShortCuts: this.#shortCuts,
          names: this.#zone.nameCount,
          services: this.#zone.serviceCount,
          objects: {
            serviceimports: status?.objects.serviceImport ?? 0,
            endpointslices: status?.objects.endpointSlice ?? 0,
          },
          ignoredObjects: Object.fromEntries(status?.ignored ?? []),
          watchConnected: { [this.#config.clusterset.source]: status?.connected === true ? 1 : 0 },
          lastEventAgeSeconds: status?.lastEventAt === undefined ? undefined : Date.now() / 1000 - status.lastEventAt,
        }
      },
      upstreams: () =>
        forwards().flatMap(({ status, transport }) =>
          status.upstreams.map(({ to, isHealthy, roundTripMs, openConnections, inFlight }) => ({
            to,
            transport,
            inFlight,
            connections: openConnections,
            rttSeconds: roundTripMs === undefined ? undefined : roundTripMs / 1000,
            isHealthy,
          })),
        ),
      forward: () => {
        const statuses = forwards().map(({ status }) => status)
        return {
          ignoredResponses: {
            mismatched: statuses.reduce((sum, status) => sum + status.mismatched, 0),
            malformed: statuses.reduce((sum, status) => sum + status.malformed, 0),
          },
          coalesced: statuses.reduce((sum, status) => sum + status.coalesced, 0),
          maxConcurrentRejects: statuses.reduce((sum, status) => sum + status.rejected, 0),
          healthcheckBroken: statuses.reduce((sum, status) => sum + status.healthcheckBroken, 0),
        }
      },
      listen: () => this.#listenCounts,
      config: () => ({
        hash: this.#hash,
        appliedAtSeconds: this.#appliedAtSeconds,
        reloadsFailed: this.#reloadsFailed,
      }),
      setupErrors: () => ({}),
    }
  }
}

/** 1 for the state that the zone is in. */
function zoneStates(state: Zone['state'], isFromSnapshot: boolean): Record<string, number> {
  const now = isFromSnapshot ? 'snapshot' : state
  return Object.fromEntries(['unsynced', 'synced', 'absent', 'snapshot'].map((one) => [one, one === now ? 1 : 0]))
}

/** A configuration that is wanted, with what waits for a restart as it is in force: every part must see the same. */
function untilRestart(wanted: Config, inForce: Config): Config {
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

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function nowSeconds(): number {
  return performance.now() / 1000
}

/** Ids drawn at a time: one system call for a thousand queries. */
const randomPool = new Uint16Array(1024)
let randomsLeft = 0

/** Sixteen bits that nobody can guess (RFC 5452 section 4.3). */
function unpredictableUint16(): number {
  if (randomsLeft === 0) {
    randomFillSync(randomPool)
    randomsLeft = randomPool.length
  }
  return randomPool[--randomsLeft]!
}
