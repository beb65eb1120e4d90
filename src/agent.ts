/**
 * The table of contents: makes every part, hands each its neighbours, starts and stops them in order.
 *
 * Nothing is decided here but the order; each step says why it stands where it does.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { nowMs, nowSeconds, unpredictableUint16 } from './agent/clock-and-chance.ts'
import { startAgentControlPlane, untilLocalSourceIsRead } from './agent/control.ts'
import { textOf } from './agent/error-text.ts'
import { AgentFastPath } from './agent/fast-path.ts'
import { type HttpPlace, type NamedHttpListener, openAgentHttp } from './agent/http.ts'
import { watchKubeDnsConfig, withKubeDnsRoutes } from './agent/kube-dns-routes.ts'
import { Listeners, type ListeningOn } from './agent/listeners.ts'
import { MemoryKeeper } from './agent/memory-keeper.ts'
import { metricSources } from './agent/metric-sources.ts'
import { Presence } from './agent/presence.ts'
import { sectionsThatWait, untilRestart } from './agent/reload.ts'
import { RouteIds } from './agent/route-ids.ts'
import { routesOf, zoneName } from './agent/routes.ts'
import { type ServedZone, servedZones } from './agent/served-zones.ts'
import { runAllSteps, runSteps, type Step, type StopStep } from './agent/steps.ts'
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
import { datagramsIn } from './observe/traffic.ts'
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
  /** Aborted when the process was told to stop: a start that waits for the node gives up. */
  readonly stopAsked?: AbortSignal
  /** Aborted when it was told so again: a stop that waits for others waits no longer. */
  readonly hurryAsked?: AbortSignal
}

export interface RunningAgent {
  readonly listening: readonly ListeningOn[]
  /** Empties the record cache. */
  flushCache(): void
  /** Stops gracefully. Idempotent. false when nobody takes the rest of the log: then Node's way out of the process never ends. */
  stop(): Promise<boolean>
}

/** The part of the time to drain that upstreams have for what is under way; the rest is for telling the clients. */
const UPSTREAMS_DRAIN_PART = 0.8

/** Milliseconds that a scrape or a probe has to finish when everything else has stopped. */
const HTTP_DRAIN_MS = 500

/** Milliseconds that open connections have to come to rest and be passed to a successor. */
const HAND_OVER_MS = 2_000

/** Milliseconds that the zone has to be known before we take over from another agent, or have clients led to us; between two looks. */
const ZONE_WAIT_MS = 10_000
const ZONE_LOOK_MS = 20

/** Milliseconds that standard output has to take the last lines. */
const LOG_END_MS = 1_000

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
  readonly #routeIds = new RouteIds(() => void this.#recordCache.flush())
  readonly #metrics: Metrics
  readonly #slowPath: SlowPath
  readonly #fastPath: AgentFastPath
  readonly #http: NamedHttpListener[] = []
  readonly #watches: (() => void)[] = []
  readonly #presence: Presence
  readonly #stopAsked: AbortSignal | undefined
  readonly #hurryAsked: AbortSignal
  /** As the file has it, but for what waits for a restart. */
  #written: Config
  /** With the routes of the kube-dns ConfigMap: what every part is made from. */
  #config: Config
  #hash: string
  #appliedAtSeconds = Date.now() / 1000
  #reloadsFailed = 0
  /** Times that the ConfigMap of kube-dns could not be used as it was. */
  #kubeDnsProblems = 0
  #groups: FollowedGroup[] = []
  #resolver: Resolver
  /** Names denied by the search-suffix short cut. */
  #shortCuts = 0
  #controlPlane: ControlPlane | undefined
  readonly #listeners = new Listeners(this.#listenCounts)
  readonly #memory: MemoryKeeper
  #stopping: Promise<boolean> | undefined

  constructor(options: AgentOptions) {
    this.#written = options.config
    this.#config = options.config
    this.#configPath = options.configPath
    this.#hash = options.hash
    this.#version = options.version
    this.#log = createLog(options.config.log.level)
    this.#config = this.#withKubeDnsRoutes(options.config)
    this.#recordCache = new RecordCache(options.config.cache.maxBytes)
    this.#stopAsked = options.stopAsked
    this.#memory = new MemoryKeeper((error) => this.#log.warn('memory-not-given-back', { error: textOf(error) }))
    this.#hurryAsked = options.hurryAsked ?? new AbortController().signal
    this.#presence = new Presence(options.config, {
      log: this.#log,
      listening: () => this.listening,
      conditions: () => this.#readiness(),
      isOver: () => this.#isOver(),
      datagramsAnswered: () =>
        [this.#traffic, ...this.#fastPath.traffic].reduce((sum, block) => sum + datagramsIn(block), 0),
    })
    this.#fastPath = new AgentFastPath({
      log: this.#log,
      labels: this.#labels,
      config: () => this.#config,
      onRenewal: (message, server) => this.#slowPath.renew(message, server),
    })
    this.#metrics = createMetrics(
      metricSources({
        version: options.version,
        labels: this.#labels,
        traffic: this.#traffic,
        fastPath: this.#fastPath,
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
        host: () => this.#presence.host.status(),
        configMapErrors: () => this.#reloadsFailed + this.#kubeDnsProblems,
        ownQueries: () => this.#presence.ownQueries.snapshot(),
        httpListeners: () => this.#http,
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
      onResolved: (query, resolution, zoneLabel) => this.#fastPath.offer(query, resolution, zoneLabel),
      keepaliveDeciseconds: Math.floor(options.config.tcp.idleTimeoutMs / 100),
    })
  }

  get listening(): readonly ListeningOn[] {
    return this.#listeners.listening
  }

  async start(): Promise<void> {
    this.#log.info('starting', { version: this.#version, configHash: this.#hash, node: process.version })
    await runSteps(this.#startSteps(), () => this.#isOver())
    if (!this.#isOver()) this.#log.info('started', { listening: this.listening })
  }

  /** The order of starting. What leads clients to us comes after everything that answers them. */
  #startSteps(): Step[] {
    const presence = this.#presence
    return [
      // Others must see us before we use what they might take away.
      { name: 'instance', run: () => presence.join() },
      // Before there are more threads and services: the garbage of the start is swept while nobody waits for an answer.
      { name: 'memory', run: () => this.#memory.begin() },
      // Manifests are read before the first query, the API server's objects soon after.
      { name: 'control plane', run: () => this.#startControlPlane() },
      // A node that refuses us the rest has somebody to tell it.
      { name: 'http', run: () => this.#startHttp('elsewhere') },
      // The addresses must exist before anybody can listen on them.
      { name: 'interface', run: () => presence.host.untilInterface(() => this.#isOver()) },
      { name: 'http on the interface', run: () => this.#startHttp('on the interface') },
      // Beside another agent nobody is helped by one who knows less.
      {
        name: 'zone',
        run: () => (presence.hasOthers ? this.#untilZoneIsKnown() : untilLocalSourceIsRead(this.#config, this.#zone)),
      },
      // The caches are cold, but upstreams already answer.
      { name: 'listeners', run: () => this.#startListeners() },
      // Before anybody knows us to be ready: from then on a predecessor may pass us his connections.
      { name: 'connections', run: () => this.#takeConnectionsOver() },
      { name: 'watchdog', run: () => presence.startWatchdog() },
      // Who cannot answer himself shall not be given the node's traffic.
      { name: 'own queries', run: () => presence.untilAnswering() },
      // Only now may the node's traffic be led to us; failing that it is tried again while we run.
      { name: 'rules', run: () => this.#leadQueriesHere() },
      // A reload needs every part that it touches.
      { name: 'configuration', run: () => this.#watchConfig() },
      { name: 'ready', run: () => presence.keepUp() },
    ]
  }

  /** The order of stopping: everybody is told, then shown another way, then answered to the end; what others need goes last. */
  #stopSteps(): StopStep[] {
    const presence = this.#presence
    const { handoverMs, lingerMs, drainMs } = this.#config.shutdown
    let hasSuccessor = false
    return [
      { name: 'readiness', run: () => presence.sayNotReady() },
      { name: 'configuration', run: () => this.#watches.forEach((end) => end()) },
      {
        name: 'successor',
        grantedMs: handoverMs,
        run: async () => {
          hasSuccessor = await presence.untilSuccessor()
          if (hasSuccessor) this.#log.info('successor-ready', {})
        },
      },
      // New flows go to kube-dns, or to the successor's sockets.
      { name: 'rules', run: () => (hasSuccessor ? undefined : presence.release(() => this.#listeners.clientEnds())) },
      {
        name: 'steering',
        run: () => (hasSuccessor ? this.#listeners.steerAway(presence.instance, this.#log) : undefined),
      },
      // Connections that stay open would lose what is under way when they are ended.
      { name: 'connections', run: () => (hasSuccessor ? this.#handConnectionsOver() : undefined) },
      {
        name: 'lingering',
        grantedMs: lingerMs,
        run: () => (this.#listeners.listening.length > 0 ? sleep(lingerMs) : undefined),
      },
      // All that answers stops by the same deadline.
      { name: 'listeners', grantedMs: drainMs, run: () => this.#drain(drainMs) },
      { name: 'workers', run: () => this.#fastPath.stop() },
      { name: 'upstreams', run: () => this.#stopGroups(this.#groups, 0) },
      { name: 'control plane', run: () => this.#controlPlane?.stop() },
      { name: 'record cache', run: () => this.#recordCache.close() },
      { name: 'memory', run: () => this.#memory.end() },
      // The interface after the last response: without its address nothing can be sent from it.
      { name: 'interface', run: () => presence.cleanUp() },
      // Told to the end what became of the rest.
      {
        name: 'http',
        run: async () => void (await Promise.all(this.#http.map(({ listener }) => listener.stop(HTTP_DRAIN_MS)))),
      },
      // Until here it ends a stop that stands still.
      { name: 'watchdog', run: () => presence.endWatchdog() },
    ]
  }

  flushCache(): void {
    const entries = this.#recordCache.flush()
    this.#fastPath.forgetAll()
    this.#log.info('cache-flushed', { what: 'all', entries })
  }

  stop(): Promise<boolean> {
    this.#stopping ??= this.#stopAll()
    return this.#stopping
  }

  async #stopAll(): Promise<boolean> {
    this.#log.info('stopping', {})
    await runAllSteps(this.#stopSteps(), this.#log, this.#hurryAsked)
    this.#log.info('stopped', {})
    return await this.#log.end(LOG_END_MS)
  }

  #isOver(): boolean {
    return this.#stopping !== undefined || this.#stopAsked?.aborted === true
  }

  async #startControlPlane(): Promise<void> {
    this.#controlPlane = await startAgentControlPlane(
      this.#config,
      this.#zone,
      this.#log,
      this.#metrics,
      this.#fastPath,
    )
  }

  async #untilZoneIsKnown(): Promise<void> {
    const endMs = nowMs() + ZONE_WAIT_MS
    while (this.#zone.state === 'unsynced' && nowMs() < endMs && !this.#isOver()) await sleep(ZONE_LOOK_MS)
  }

  async #startListeners(): Promise<void> {
    this.#fastPath.start()
    await this.#listeners.start(this.#config, this.#fastPath.openUdp, this.#slowPath.handle, this.#log)
    this.#announceCells()
  }

  async #leadQueriesHere(): Promise<void> {
    if (!this.#presence.host.hasRules) return
    await this.#untilZoneIsKnown()
    await this.#presence.leadQueriesHere()
  }

  #takeConnectionsOver(): void {
    const path = this.#presence.connectionsPath
    if (path === undefined) return
    try {
      this.#watches.push(this.#listeners.takeOver(path, this.#log))
    } catch (error) {
      this.#log.warn('connections-not-taken-over', { error: textOf(error) })
    }
  }

  async #handConnectionsOver(): Promise<void> {
    const path = this.#presence.successorsPath
    if (path === undefined) return
    try {
      this.#log.info('connections-handed-over', await this.#listeners.handOver(path, HAND_OVER_MS))
    } catch (error) {
      // They are ended in the usual way then.
      this.#log.warn('connections-not-handed-over', { error: textOf(error) })
    }
  }

  async #drain(drainMs: number): Promise<void> {
    // What no upstream has answered by then fails while its client can still be told.
    const upstreamsEnd = setTimeout(() => {
      this.#stopGroups(this.#groups, 0).catch((error: unknown) =>
        this.#log.error('stop-failed', { what: 'upstreams', error: textOf(error) }),
      )
    }, drainMs * UPSTREAMS_DRAIN_PART)
    await this.#listeners.stop(drainMs)
    clearTimeout(upstreamsEnd)
  }

  async #startHttp(where: HttpPlace): Promise<void> {
    const ready = (): Condition[] => [...this.#readiness(), ...this.#presence.conditions()]
    const opened = openAgentHttp(this.#config, where, {
      metrics: this.#metrics,
      cache: {
        recordCache: this.#recordCache,
        packets: this.#fastPath,
        maxStaleSeconds: () => this.#config.cache.serveStale.maxStaleSeconds,
        nowSeconds,
        onFlush: (what, entries) => this.#log.info('cache-flushed', { what, entries }),
      },
      explain: {
        version: this.#version,
        instance: this.#presence.instance,
        zone: this.#zone,
        recordCache: this.#recordCache,
        fastPath: this.#fastPath,
        config: () => this.#config,
        resolver: () => this.#resolver,
        groups: () => this.#groups,
        controlPlane: () => this.#controlPlane,
        listening: () => this.listening,
        ready,
        nowSeconds,
      },
      alive: () => this.#presence.liveness(),
      ready,
      log: this.#log,
    })
    for await (const listener of opened) this.#http.push(listener)
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
      this.#watches.push(stop)
    }
    if (this.#configPath === undefined) return
    const stop = watchConfig(this.#configPath, this.#hash, {
      onChange: (loaded) => this.#reload(loaded),
      onWatchError: (error) => this.#log.warn('config-watch-failed', { error: error.message }),
    })
    this.#watches.push(stop)
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
      this.#config = this.#withKubeDnsRoutes(written)
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
    // TTLs, routes and what is logged may be others now.
    this.#fastPath.forgetAll()
    this.#announceCells()
    const gone = before.groups.filter((group) => !this.#groups.includes(group))
    this.#stopGroups(gone).catch((error: unknown) => this.#log.error('stop-failed', { error: textOf(error) }))
    return true
  }

  #withKubeDnsRoutes(config: Config): Config {
    return withKubeDnsRoutes(config, this.#log, () => void this.#kubeDnsProblems++)
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
    return new Resolver(routesOf(this.#config, this.#zone, this.#groups, this.#presence.instance, this.#routeIds), {
      recordCache: this.#recordCache,
      limits: cache,
      serveStale: cache.serveStale.enabled ? cache.serveStale : undefined,
      prefetch: cache.prefetch.enabled,
      zoneOfImpossibleSearchName: (name) =>
        clusterset.searchSuffixShortcut && isImpossibleSearchName(name, searchSuffixes)
          ? searchSuffixes.clusterDomain
          : undefined,
      onShortCut: () => this.#shortCuts++,
      nowSeconds,
      onRenewed: ({ name }) => this.#fastPath.forgetNames([name]),
      onPanic: (error, { name, type }) => {
        this.#traffic.panicked()
        this.#reportPanic(error, `${textOfName(name)} ${typeName(type)}`)
      },
      after: (delayMs, call) => {
        const timer = setTimeout(call, delayMs)
        return () => clearTimeout(timer)
      },
    })
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
