/**
 * The table of contents: makes every part, hands each its neighbours, starts and stops them in order.
 *
 * Nothing is decided here but the order; each step says why it stands where it does.
 */

import { isDeepStrictEqual } from 'node:util'
import { nowMs, nowSeconds, unpredictableUint16 } from './agent/clock-and-chance.ts'
import { startAgentControlPlane, untilLocalSourceIsRead } from './agent/control.ts'
import { textOf } from './agent/error-text.ts'
import { openAgentHttp } from './agent/http.ts'
import { watchKubeDnsConfig, withKubeDnsRoutes } from './agent/kube-dns-routes.ts'
import { Listeners, type ListeningOn } from './agent/listeners.ts'
import { metricSources } from './agent/metric-sources.ts'
import { sectionsThatWait, untilRestart } from './agent/reload.ts'
import { routesOf, zoneName } from './agent/routes.ts'
import { type ServedZone, servedZones } from './agent/served-zones.ts'
import { type FollowedGroup, openGroup } from './agent/upstreams.ts'
import type { Config, LoadedConfig } from './config/config.ts'
import { watchConfig } from './config/config-watch.ts'
import type { ControlPlane } from './control/control-plane.ts'
import { isImpossibleSearchName } from './dns/policy/search-suffix.ts'
import { textOfName } from './dns/wire/name.ts'
import { typeName } from './dns/wire/record-type.ts'
import { Zone } from './dns/zone/zone.ts'
import { CounterLabels, TrafficCounters } from './observe/counters.ts'
import { createLog, type Log, LogRate } from './observe/log.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import type { Condition } from './observe/probes.ts'
import { RecordCache } from './serve/cache/record-cache.ts'
import { type ListenCounts, newListenCounts } from './serve/listen/listen-counts.ts'
import { Resolver } from './serve/resolve.ts'
import { SlowPath } from './serve/slow-path.ts'

export interface AgentOptions {
  readonly config: Config
  /** The file that is watched for changes; undefined for the embedded defaults. */
  readonly configPath: string | undefined
  readonly hash: string
  readonly version: string
}

export interface RunningAgent {
  readonly listening: readonly ListeningOn[]
  /** Empties the record cache. */
  flushCache(): void
  /** Stops gracefully. Idempotent. */
  stop(): Promise<void>
}

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
  readonly #listeners = new Listeners(this.#listenCounts)
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
    this.#metrics = createMetrics(
      metricSources({
        version: options.version,
        labels: this.#labels,
        traffic: this.#traffic,
        listenCounts: this.#listenCounts,
        recordCache: this.#recordCache,
        zone: this.#zone,
        config: () => this.#config,
        inForce: () => ({
          hash: this.#hash,
          appliedAtSeconds: this.#appliedAtSeconds,
          reloadsFailed: this.#reloadsFailed,
        }),
        groups: () => this.#groups,
        controlPlane: () => this.#controlPlane,
        servedZones: () => this.#servedZones(),
        searchSuffixShortCuts: () => this.#shortCuts,
      }),
    )
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
    return this.#listeners.listening
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
    const controlPlane = await startAgentControlPlane(this.#config, this.#zone, this.#log)
    this.#controlPlane = controlPlane
    this.#onStop('control plane', () => controlPlane.stop())
    await untilLocalSourceIsRead(this.#config, this.#zone)
  }

  async #startListeners(): Promise<void> {
    this.#onStop('listeners', async () => {
      const { drainMs } = this.#config.shutdown
      // What no upstream has answered by then fails while its client can still be told.
      const upstreamsEnd = setTimeout(() => {
        this.#stopGroups(this.#groups, 0).catch((error: unknown) =>
          this.#log.error('stop-failed', { what: 'upstreams', error: textOf(error) }),
        )
      }, drainMs * UPSTREAMS_DRAIN_PART)
      await this.#listeners.stop(drainMs)
      clearTimeout(upstreamsEnd)
    })
    await this.#listeners.start(this.#config, this.#slowPath.handle)
    this.#announceCells()
    this.#log.info('udp-implementation', { implementation: 'dgram', wanted: this.#config.udp.implementation })
  }

  async #startHttp(): Promise<void> {
    const opened = openAgentHttp(this.#config, {
      metrics: this.#metrics,
      cache: {
        recordCache: this.#recordCache,
        maxStaleSeconds: () => this.#config.cache.serveStale.maxStaleSeconds,
        nowSeconds,
        onFlush: (what, entries) => this.#log.info('cache-flushed', { what, entries }),
      },
      ready: () => this.#readiness(),
      log: this.#log,
    })
    for await (const { what, listener } of opened) {
      this.#onStop(what, () => listener.stop(this.#config.shutdown.drainMs))
    }
  }

  #readiness(): Condition[] {
    const status = this.#controlPlane?.status()
    return [
      { name: 'listening', isMet: this.#listeners.listening.length > 0 },
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
    const waiting = sectionsThatWait(wanted, inForce)
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
      nowMs,
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

  #servedZones(): ServedZone[] {
    return servedZones(this.#config, this.#listeners.servers)
  }

  #reportPanic(error: unknown, question: string): void {
    this.#panicRate.once(textOf(error), (suppressed) => {
      const stack = error instanceof Error ? error.stack : String(error)
      this.#log.error('query-failed', { question, error: stack, suppressed })
    })
  }
}
