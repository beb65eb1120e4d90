/**
 * The table of contents: makes every part, hands each its neighbours, starts and stops them in order.
 *
 * Nothing is decided here but the order; each step says why it stands where it does.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { nowSeconds } from './agent/clock-and-chance.ts'
import { ConfigInForce } from './agent/config-in-force.ts'
import { startAgentControlPlane, untilLocalSourceIsRead, untilZoneIsKnown, zoneCondition } from './agent/control.ts'
import { textOf } from './agent/error-text.ts'
import { AgentFastPath } from './agent/fast-path.ts'
import { handConnectionsOver, takeConnectionsOver } from './agent/hand-over.ts'
import { AgentHttp } from './agent/http.ts'
import { Listeners, type ListeningOn } from './agent/listeners.ts'
import { MemoryKeeper } from './agent/memory-keeper.ts'
import { metricSources } from './agent/metric-sources.ts'
import { Panics } from './agent/panics.ts'
import { Presence } from './agent/presence.ts'
import { rehearse } from './agent/rehearsal.ts'
import { Routing } from './agent/routing.ts'
import { type ServedZone, servedZones } from './agent/served-zones.ts'
import { runAllSteps, runSteps, type Step, type StopStep } from './agent/steps.ts'
import type { Config } from './config/config.ts'
import type { ControlPlane } from './control/control-plane.ts'
import { Zone } from './dns/zone/zone.ts'
import { CounterLabels, TrafficCounters } from './observe/counters.ts'
import { createLog, type Log } from './observe/log.ts'
import type { MetricSources } from './observe/metric-sources.ts'
import { createMetrics, type Metrics } from './observe/metrics.ts'
import type { Condition } from './observe/probes.ts'
import { datagramsIn } from './observe/traffic.ts'
import { RecordCache } from './serve/cache/record-cache.ts'
import { type ListenCounts, newListenCounts } from './serve/listen/listen-counts.ts'
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

/** The unit of RFC 7828. */
const DECISECOND_MS = 100

/** Milliseconds that standard output has to take the last lines. */
const LOG_END_MS = 1_000

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
  readonly #version: string
  readonly #log: Log
  readonly #inForce: ConfigInForce
  readonly #zone = new Zone(Math.floor(Date.now() / 1000))
  readonly #recordCache: RecordCache
  readonly #labels = new CounterLabels()
  readonly #traffic = new TrafficCounters(this.#labels)
  readonly #listenCounts: ListenCounts = newListenCounts()
  readonly #listeners = new Listeners(this.#listenCounts)
  readonly #presence: Presence
  readonly #fastPath: AgentFastPath
  readonly #metrics: Metrics
  readonly #routing: Routing
  readonly #slowPath: SlowPath
  readonly #http: AgentHttp
  readonly #memory: MemoryKeeper
  readonly #stopAsked: AbortSignal | undefined
  readonly #hurryAsked: AbortSignal
  #controlPlane: ControlPlane | undefined
  #endTakingOver: (() => void) | undefined
  #stopping: Promise<boolean> | undefined
  /** Nobody takes the connections over: clients that can be told so are. */
  #areConnectionsToEnd = false

  constructor(options: AgentOptions) {
    this.#version = options.version
    this.#stopAsked = options.stopAsked
    this.#hurryAsked = options.hurryAsked ?? new AbortController().signal
    this.#log = createLog(options.config.log.level)
    const panics = new Panics(this.#log)
    this.#memory = new MemoryKeeper((error) => this.#log.warn('memory-not-given-back', { error: textOf(error) }))
    this.#inForce = new ConfigInForce(options.config, options.hash, options.configPath, {
      log: this.#log,
      apply: (config) => this.#apply(config),
    })
    this.#recordCache = new RecordCache(options.config.cache.maxBytes, (key) => this.#fastPath.isAsked(key))
    this.#presence = new Presence(options.config, {
      log: this.#log,
      listening: () => this.listening,
      conditions: () => this.#readiness(),
      isOver: () => this.#isOver(),
      datagramsAnswered: () =>
        [this.#traffic, ...this.#fastPath.traffic].reduce((sum, block) => sum + datagramsIn(block), 0),
      workers: () => this.#fastPath.workers,
      replaceWorker: (worker, why) => this.#fastPath.replaceWorker(worker, why),
    })
    this.#fastPath = new AgentFastPath({
      log: this.#log,
      labels: this.#labels,
      config: () => this.#config,
      onRenewal: (message, server) => this.#slowPath.renew(message, server),
    })
    this.#metrics = createMetrics(this.#metricSources())
    this.#routing = new Routing(this.#config, {
      zone: this.#zone,
      recordCache: this.#recordCache,
      instance: this.#presence.instance,
      log: this.#log,
      observer: this.#metrics.upstreamObserver,
      onRenewed: ({ name }) => this.#fastPath.forgetNames([name]),
      onPanic: (error, question) => {
        this.#traffic.panicked()
        panics.report(error, question)
      },
    })
    this.#slowPath = new SlowPath({
      resolver: () => this.#routing.resolver,
      traffic: this.#traffic,
      queryLog: () => ({ level: this.#config.log.queries, query: (fields) => this.#log.info('query', fields) }),
      nowSeconds,
      onPanic: (error, question) => panics.report(error, question),
      rotates: () => this.#config.cache.rotate,
      onResolved: (query, resolution, zoneLabel) => this.#fastPath.offer(query, resolution, zoneLabel),
      keepaliveDeciseconds: () =>
        this.#areConnectionsToEnd ? 0 : Math.floor(options.config.tcp.idleTimeoutMs / DECISECOND_MS),
    })
    this.#http = this.#newHttp()
  }

  get #config(): Config {
    return this.#inForce.config
  }

  get listening(): readonly ListeningOn[] {
    return this.#listeners.listening
  }

  async start(): Promise<void> {
    this.#log.info('starting', { version: this.#version, configHash: this.#inForce.hash, node: process.version })
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
      { name: 'http', run: () => this.#http.open('elsewhere') },
      // The addresses must exist before anybody can listen on them.
      { name: 'interface', run: () => presence.host.untilInterface(() => this.#isOver()) },
      { name: 'http on the interface', run: () => this.#http.open('on the interface') },
      // The kernel gives us some of the queries from the moment on when we listen: while another agent answers them, one who
      // knows less helps nobody.
      { name: 'turn', run: () => presence.whileOthersAnswer(() => this.#zone.state === 'unsynced') },
      {
        name: 'zone',
        run: () => (presence.hasOthers ? this.#untilZoneIsKnown() : untilLocalSourceIsRead(this.#config, this.#zone)),
      },
      // From listening on, whatever holds us up holds up clients; and to start another program the kernel copies us.
      { name: 'choice of rules', run: () => presence.host.chooseRules() },
      // Code that never ran is slow: the first clients shall not wait for it.
      { name: 'rehearsal', run: () => this.#rehearse() },
      // The caches are cold, but upstreams already answer.
      { name: 'listeners', run: () => this.#startListeners() },
      // Before anybody knows us to be ready: from then on a predecessor may pass us his connections.
      {
        name: 'connections',
        run: () => {
          this.#endTakingOver = takeConnectionsOver(this.#listeners, presence.connectionsPath, this.#log)
        },
      },
      { name: 'watchdog', run: () => presence.startWatchdog() },
      // Who cannot answer himself shall not be given the node's traffic.
      { name: 'own queries', run: () => presence.untilAnswering() },
      // Only now may the node's traffic be led to us; failing that it is tried again while we run.
      { name: 'rules', run: () => this.#leadQueriesHere() },
      // A reload needs every part that it touches.
      { name: 'configuration', run: () => this.#inForce.follow() },
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
      { name: 'configuration', run: () => this.#inForce.stop() },
      { name: 'taking over', run: () => this.#endTakingOver?.() },
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
      // Not before that: whoever ended a connection would come back to us with the next.
      { name: 'keepalive', run: () => void (this.#areConnectionsToEnd = !hasSuccessor) },
      {
        name: 'steering',
        run: () => (hasSuccessor ? this.#listeners.steerAway(presence, this.#log) : undefined),
      },
      // Connections that stay open would lose what is under way when they are ended.
      {
        name: 'connections',
        run: () =>
          hasSuccessor ? handConnectionsOver(this.#listeners, presence.successorsPath, this.#log) : undefined,
      },
      {
        name: 'lingering',
        grantedMs: lingerMs,
        run: () => (this.#listeners.listening.length > 0 ? sleep(lingerMs) : undefined),
      },
      // All that answers stops by the same deadline.
      { name: 'listeners', grantedMs: drainMs, run: () => this.#drain(drainMs) },
      { name: 'workers', run: () => this.#fastPath.stop() },
      { name: 'upstreams', run: () => this.#routing.stop(0) },
      { name: 'control plane', run: () => this.#controlPlane?.stop() },
      { name: 'record cache', run: () => this.#recordCache.close() },
      { name: 'memory', run: () => this.#memory.end() },
      // The interface after the last response: without its address nothing can be sent from it.
      { name: 'interface', run: () => presence.cleanUp() },
      // Told to the end what became of the rest.
      { name: 'http', run: () => this.#http.stop() },
      // Until here it ends a stop that stands still.
      { name: 'watchdog', run: () => presence.endWatchdog() },
    ]
  }

  flushCache(): void {
    const entries = this.#recordCache.flush()
    this.#fastPath.forgetAll('operator')
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

  #untilZoneIsKnown(): Promise<void> {
    return untilZoneIsKnown(this.#zone, () => this.#isOver())
  }

  async #rehearse(): Promise<void> {
    const { forward } = this.#config
    if (forward.length === 0) return
    try {
      await rehearse(new Set(forward.map(({ transport }) => (transport === 'udp' ? 'udp' : 'tcp'))))
    } catch (error) {
      this.#log.info('rehearsal-failed', { error: textOf(error) })
    }
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

  async #drain(drainMs: number): Promise<void> {
    // What no upstream has answered by then fails while its client can still be told.
    const upstreamsEnd = setTimeout(() => {
      this.#routing
        .stop(0)
        .catch((error: unknown) => this.#log.error('stop-failed', { what: 'upstreams', error: textOf(error) }))
    }, drainMs * UPSTREAMS_DRAIN_PART)
    await this.#listeners.stop(drainMs)
    clearTimeout(upstreamsEnd)
  }

  /** What a reload replaces, or the start makes, is asked for each time. */
  #metricSources(): MetricSources {
    return metricSources({
      version: this.#version,
      labels: this.#labels,
      traffic: this.#traffic,
      fastPath: this.#fastPath,
      listenCounts: this.#listenCounts,
      recordCache: this.#recordCache,
      zone: this.#zone,
      config: () => this.#config,
      inForce: () => this.#inForce.status(),
      groups: () => this.#routing.groups,
      controlPlane: () => this.#controlPlane,
      servedZones: () => this.#servedZones(),
      searchSuffixShortCuts: () => this.#routing.shortCuts,
      host: () => this.#presence.host.status(),
      ownQueries: () => this.#presence.ownQueries.snapshot(),
      httpListeners: () => this.#http.listeners,
    })
  }

  #newHttp(): AgentHttp {
    const ready = (): Condition[] => [...this.#readiness(), ...this.#presence.conditions()]
    return new AgentHttp(this.#config, {
      log: this.#log,
      metrics: this.#metrics,
      alive: () => this.#presence.liveness(),
      ready,
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
        resolver: () => this.#routing.resolver,
        groups: () => this.#routing.groups,
        controlPlane: () => this.#controlPlane,
        listening: () => this.listening,
        ready,
        nowSeconds,
      },
    })
  }

  #readiness(): Condition[] {
    return [
      { name: 'listening', isMet: this.#listeners.listening.length > 0 },
      { name: 'not-stopping', isMet: this.#stopping === undefined },
      zoneCondition(this.#zone, this.#controlPlane),
    ]
  }

  /** Gives every part that can change while running another configuration. */
  #apply(config: Config): void {
    this.#routing.use(config)
    // TTLs, routes and what is logged may be others now.
    this.#fastPath.forgetAll('configuration')
    this.#announceCells()
  }

  /** Makes the series of every server and zone appear at the first scrape, as zeros. */
  #announceCells(): void {
    for (const { server, zone } of this.#servedZones()) this.#labels.cellOf(server, zone)
  }

  #servedZones(): ServedZone[] {
    return servedZones(this.#config, this.#listeners.servers)
  }
}
