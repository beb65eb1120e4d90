/**
 * This agent's presence on its node: interface and rules, the other agents, the watchdog, and the word "ready".
 *
 * Each method is one step of a start or a stop; `agent.ts` has the order and the reasons. Without interface, rules and state
 * directory (a sidecar, a try on a laptop) most of them have nothing to do.
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config/config.ts'
import type { OtherInstance } from '../host/instances.ts'
import type { ClientEnd } from '../host/rules.ts'
import { LifeSign } from '../observe/life-sign.ts'
import type { Log } from '../observe/log.ts'
import { OwnQueryCounters } from '../observe/own-query-counters.ts'
import type { Condition } from '../observe/probes.ts'
import { nowMs } from './clock-and-chance.ts'
import { textOf } from './error-text.ts'
import { HostSetup } from './host-setup.ts'
import type { ListeningOn } from './listeners.ts'
import { liveness } from './liveness.ts'
import { Neighbours } from './neighbours.ts'
import { addressesWithFallback } from './own-addresses.ts'
import { askOurselves, type OwnTarget } from './own-query.ts'
import { startWatchdog, type Watchdog } from './watchdog.ts'

export interface PresenceParts {
  readonly log: Log
  listening(): readonly ListeningOn[]
  /** What else must hold for us to be ready. */
  conditions(): readonly Condition[]
  /** Whether the start is to be given up. */
  isOver(): boolean
  /** Datagrams that were answered since the start. */
  datagramsAnswered(): number
  /** The numbers of each UDP worker. */
  workers(): readonly SharedArrayBuffer[]
  replaceWorker(worker: number, why: string): void
}

/** Milliseconds for an own query at the start, and between two. */
const OWN_QUERY_MS = 500
const OWN_QUERY_PAUSE_MS = 20

/** Milliseconds that all own queries have before the start says what is wrong, or goes on without what rules must lead here. */
const OWN_QUERIES_MS = 3_000

/** The same where rules have yet to lead some of them here: those that come by themselves come at once. */
const OWN_QUERIES_UNLED_MS = 200

/** Milliseconds between two looks at others, while we wait for one. */
const OTHERS_LOOK_MS = 100

/** Milliseconds between two looks at whether we know enough to answer, and of them between two looks at who else answers. */
const TURN_LOOK_MS = 20
const TURN_OTHERS_LOOK_MS = 500

/** Looks at another one that would remove, before it is left to him; and at one that tells nothing, before he is taken to stay. */
const YIELDING_LOOKS = 5
const UNKNOWN_LOOKS = 5

/** Milliseconds between two looks at whether we are ready; while we are, nobody waits for the news. */
const READINESS_LOOK_MS = 500
const READINESS_LOST_LOOK_MS = 2_000

/** Milliseconds that somebody who takes the interface away has for it. */
const REMOVING_MS = 10_000

/** UDP sockets that the watchdog asks one address from, where several sockets of ours share it. */
const WATCHDOG_SOURCES_MAX = 8

/** Milliseconds beyond all that the configuration grants after which a stop is stuck. */
const STOP_GRACE_MS = 10_000

export class Presence {
  /** Names this process among the agents of the node. */
  readonly instance = randomBytes(4).toString('hex')
  readonly host: HostSetup
  /** Of the watchdog's queries. */
  readonly ownQueries = new OwnQueryCounters()
  readonly #config: Config
  readonly #parts: PresenceParts
  readonly #neighbours: Neighbours
  #watchdog: Watchdog | undefined
  readonly #lifeSign = new LifeSign()
  #lifeSignTimer: NodeJS.Timeout | undefined
  #readinessLook: NodeJS.Timeout | undefined
  #isToldReady = false
  #isReadyFileRefused = false
  #isLeaving = false
  #isStarted = false
  #looking: Promise<Condition[]> | undefined

  constructor(config: Config, parts: PresenceParts) {
    this.#config = config
    this.#parts = parts
    this.host = new HostSetup(config, { log: parts.log, instance: this.instance, wait: sleep })
    this.#neighbours = new Neighbours({
      directory: config.host.stateDirectory,
      instance: this.instance,
      lookSeconds: config.host.repairSeconds,
      log: parts.log,
      onRefused: (text) => this.host.stateDirectoryFailed(text),
    })
  }

  /** Whether another agent of this node may share our sockets. */
  get isShared(): boolean {
    return this.#config.host.stateDirectory !== null
  }

  /** Who goes on in our place; undefined without one. */
  get successor(): string | undefined {
    return this.#neighbours.successor
  }

  /** Where he takes connections. */
  get successorsPath(): string | undefined {
    return this.#neighbours.connectionsPath(this.successor)
  }

  /** Where we take the connections of a predecessor; undefined where there can be none. */
  get connectionsPath(): string | undefined {
    return this.#neighbours.connectionsPath(this.instance)
  }

  get hasOthers(): boolean {
    return this.#neighbours.others.length > 0
  }

  /** What must hold besides the zone: the rules are there and our own queries came back. */
  conditions(): Condition[] {
    const { hasRules, isRulesReady } = this.host
    return [
      { name: 'started', isMet: this.#isStarted },
      ...(hasRules ? [{ name: 'rules', isMet: isRulesReady, detail: this.host.status().backend }] : []),
    ]
  }

  async join(): Promise<void> {
    // One that was killed left it behind, and a probe would believe it.
    const { readyFile } = this.#config.health
    if (readyFile !== null) rmSync(readyFile, { force: true })
    await this.#neighbours.join()
    // Whoever is taking the interface away would take it from us.
    const endMs = nowMs() + REMOVING_MS
    while (this.#isThere('removing') && nowMs() < endMs && !this.#parts.isOver()) {
      await sleep(OTHERS_LOOK_MS)
      await this.#neighbours.look()
    }
  }

  /**
   * Waits for as long as we know too little and another agent of this node answers; for hours, if need be. Who tells nothing of
   * himself is not waited for: he may stand still.
   */
  async whileOthersAnswer(knowsTooLittle: () => boolean): Promise<void> {
    const { log, isOver } = this.#parts
    let isSaid = false
    for (let lookMs = nowMs(); knowsTooLittle() && !isOver(); await sleep(TURN_LOOK_MS)) {
      if (isSaid && nowMs() < lookMs) continue
      await this.#neighbours.look()
      if (!this.#isThere('ready', 'leaving')) return
      if (!isSaid) log.info('waits-beside-others', { others: this.#neighbours.others })
      isSaid = true
      lookMs = nowMs() + TURN_OTHERS_LOOK_MS
    }
  }

  startWatchdog(): void {
    const { watchdog, udp } = this.#config
    if (!watchdog.enabled) return
    const { log, datagramsAnswered } = this.#parts
    const tell = (): void => this.#lifeSign.tell(datagramsAnswered())
    this.#lifeSignTimer = setInterval(tell, watchdog.intervalMs / 2).unref()
    this.#watchdog = startWatchdog(
      {
        targets: this.#targets(),
        instance: this.instance,
        intervalMs: watchdog.intervalMs,
        deadlineMs: watchdog.deadlineMs,
        udpSources: udp.threads === 1 ? 1 : Math.min(WATCHDOG_SOURCES_MAX, udp.threads * 2),
        counts: this.ownQueries.memory,
        lifeSign: this.#lifeSign.memory,
        areLedHere: this.host.hasRules,
        workers: this.#parts.workers(),
      },
      {
        onFailure: (error) => log.error('watchdog-failed', { error: textOf(error) }),
        onStillWorker: (worker, stillMs) => {
          const why = `it stood still for ${Math.round(stillMs)} ms`
          log.error('worker-stuck', { worker, why })
          this.#parts.replaceWorker(worker, why)
        },
      },
    )
  }

  /** Until we answer ourselves, if need be over some addresses only: the ClusterIP may still be led elsewhere. */
  async untilAnswering(): Promise<void> {
    const { log, isOver } = this.#parts
    let isSaid = false
    for (;;) {
      const { hasRules } = this.host
      const silent = await this.#silentTargets(hasRules ? OWN_QUERIES_UNLED_MS : OWN_QUERIES_MS)
      if (silent.length === 0 || isOver()) return
      const isAnswering = silent.length < this.#targets().length
      // What rules have yet to lead here is asked again when they are there; what somebody else leads away is his business.
      if (!isSaid && !(hasRules && isAnswering)) log.error('own-query-unanswered', { silent })
      isSaid = true
      if (isAnswering) return
    }
  }

  /** Writes the rules, and takes them back when queries led by them do not come to us. */
  async leadQueriesHere(): Promise<boolean> {
    if (!this.host.hasRules) return true
    const others = new Set(this.#neighbours.others.map(({ id }) => id))
    if (!(await this.host.ensureRules((id) => others.has(id)))) return false
    const silent = await this.#silentTargets(OWN_QUERIES_MS)
    if (silent.length === 0 || !this.host.hasRules || this.#parts.isOver()) return true
    this.#parts.log.error('own-query-unanswered', { silent })
    if (silent.length === this.#targets().length) await this.host.removeRules()
    return false
  }

  /** From here on what goes missing is put back, and whether we are ready is told as it changes. */
  keepUp(): void {
    this.#isStarted = true
    this.host.keepUp()
    const look = (): void => {
      this.#tellReadiness()
      const nextMs = this.#isToldReady ? READINESS_LOST_LOOK_MS : READINESS_LOOK_MS
      this.#readinessLook = setTimeout(look, nextMs).unref()
    }
    look()
  }

  /** Whether we answer, by queries through every listen address; nothing is asked before we listen, and after we were told to stop. */
  async liveness(): Promise<Condition[]> {
    if (!this.#isStarted || this.#isLeaving) return []
    // Probes that come meanwhile hear the same.
    this.#looking ??= liveness(this.#targets(), this.host.hasRules).finally(() => (this.#looking = undefined))
    return await this.#looking
  }

  /** Nobody shall come to us any more. */
  sayNotReady(): void {
    this.#isLeaving = true
    clearTimeout(this.#readinessLook)
    if (this.#isToldReady) this.#tell(false)
    this.#neighbours.tell('leaving')
    this.#neighbours.keepJoinedNoMore()
    const { handoverMs, lingerMs, drainMs } = this.#config.shutdown
    this.#watchdog?.stopBy(handoverMs + lingerMs + drainMs + STOP_GRACE_MS)
  }

  /** Whether another agent is ready to go on in our place; one that starts has some time to get ready. */
  async untilSuccessor(): Promise<boolean> {
    const endMs = nowMs() + this.#config.shutdown.handoverMs
    for (;;) {
      await this.#neighbours.look()
      if (this.successor !== undefined) return true
      if (!this.#isThere('starting') || nowMs() > endMs) return false
      await sleep(OTHERS_LOOK_MS)
    }
  }

  /** New flows go to kube-dns; a successor's rules are not ours to take. */
  async release(connections: () => readonly ClientEnd[]): Promise<void> {
    this.host.leave()
    await this.host.releaseRules(connections)
  }

  /** What is ours alone goes; what another agent uses stays. */
  async cleanUp(): Promise<void> {
    this.host.leave()
    this.#neighbours.tell('removing')
    if (await this.#isLast()) {
      await this.host.removeRules()
      await this.host.removeInterface()
    } else {
      this.#neighbours.tell('left')
      await this.host.removeOwnRules()
      this.#parts.log.info('interface-left', { others: this.#neighbours.others })
    }
    await this.#neighbours.leave()
  }

  endWatchdog(): void {
    this.#watchdog?.end()
    clearInterval(this.#lifeSignTimer)
  }

  /**
   * Of several that would remove at the same time, one does: that with the first name, when the others are gone. Who said that
   * he leaves it to others uses nothing any more; who would remove may be about to say so, because he saw us before we stopped. Who
   * tells nothing may be ending at this moment, and he left the rest to us.
   */
  async #isLast(): Promise<boolean> {
    const endMs = nowMs() + REMOVING_MS
    for (let yielded = 0, unknown = 0; ; ) {
      // Whom nobody sees cannot tell others to wait, and who cannot look does not know whose it is.
      if (!this.#neighbours.isSeen || !(await this.#neighbours.look())) return false
      const staying = this.#neighbours.others.filter(({ phase }) => phase !== 'left')
      if (staying.length === 0) return true
      if (nowMs() > endMs) return false
      if (staying.some(({ phase }) => phase !== 'removing' && phase !== 'unknown')) return false
      if (staying.some(({ phase }) => phase === 'unknown') && ++unknown === UNKNOWN_LOOKS) return false
      if (staying.some(({ id, phase }) => phase === 'removing' && id < this.instance) && ++yielded === YIELDING_LOOKS)
        return false
      await sleep(OTHERS_LOOK_MS)
    }
  }

  #isThere(...phases: readonly OtherInstance['phase'][]): boolean {
    return this.#neighbours.others.some(({ phase }) => phases.includes(phase))
  }

  /** Those over which nobody answered, or somebody who is none of us. */
  async #silentTargets(withinMs: number): Promise<string[]> {
    const endMs = nowMs() + withinMs
    const silent = await Promise.all(
      this.#targets().map(async (target) => {
        for (;;) {
          const answer = await askOurselves(target, this.instance, OWN_QUERY_MS)
          if (answer.kind === 'ours') return []
          // Another agent may have the luck of the draw for a while; that it answers says enough.
          if (answer.kind === 'not-ours' && nowMs() > endMs && this.hasOthers) return []
          const why = answer.kind === 'none' ? answer.why : 'somebody else answered'
          if (nowMs() > endMs || this.#parts.isOver()) return [`${target.transport} ${target.address}: ${why}`]
          await sleep(OWN_QUERY_PAUSE_MS)
        }
      }),
    )
    return silent.flat()
  }

  #targets(): OwnTarget[] {
    const real = (address: string): string => (address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address)
    const withFallback = addressesWithFallback(this.#config)
    return this.#parts.listening().map(({ transport, address, port }) => ({
      transport,
      address: real(address),
      port,
      isFromLoopback: withFallback.includes(address),
    }))
  }

  #tellReadiness(): void {
    if (this.#isLeaving) return
    const isReady = [...this.#parts.conditions(), ...this.conditions()].every(({ isMet }) => isMet)
    if (isReady !== this.#isToldReady) this.#tell(isReady)
  }

  #tell(isReady: boolean): void {
    this.#isToldReady = isReady
    this.#parts.log.info(isReady ? 'ready' : 'not-ready', {})
    this.#neighbours.tell(isReady ? 'ready' : 'starting')
    const { readyFile } = this.#config.health
    if (readyFile === null) return
    try {
      if (isReady) {
        mkdirSync(dirname(readyFile), { recursive: true })
        writeFileSync(readyFile, `${this.instance}\n`)
      } else rmSync(readyFile, { force: true })
      this.#isReadyFileRefused = false
    } catch (error) {
      if (!this.#isReadyFileRefused) this.#parts.log.error('ready-file-failed', { readyFile, error: textOf(error) })
      this.#isReadyFileRefused = true
      // Tried again at the next look.
      this.#isToldReady = !isReady
    }
  }
}
