/**
 * Queries over TCP or TLS: a few connections to one upstream and the rules by which one is chosen, opened and retired.
 *
 * Most queries share one connection. Another is opened when all have much under way, or when those there are do not
 * speak: a response that waits behind a slow one (many servers answer a connection's queries in turn), a lost SYN, a
 * peer that went away without a word. Connections are replaced by age and by number of queries, both drawn by chance
 * around their mean, so that the nodes of a cluster do not reconnect in step and a Service's backends share the load.
 */

import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { ExchangeCounts, ExchangeListener, Exchanger, OpenExchange, UpstreamAddress } from './exchange.ts'
import { TcpConnection } from './tcp-connection.ts'
import { refused } from './udp-exchange.ts'

export interface TcpExchangerSettings {
  readonly upstream: UpstreamAddress
  readonly isTls: boolean
  readonly certificateAuthorities: string | undefined
  readonly limits: ConnectionLimits
}

export interface ConnectionLimits {
  /** Connections to one upstream, retiring ones not counted. */
  readonly connectionsMax: number
  /** Queries under way on every connection that make another worth its handshake. */
  readonly queriesBeforeAnother: number
  /** Mean age at which a connection is replaced, in milliseconds; half to one and a half times that by chance. */
  readonly ageMs: number
  /** Mean number of queries after which a connection is replaced; half to one and a half times that by chance. */
  readonly queries: number
  /** Silence without queries after which a connection is closed, in milliseconds; below the 8 to 10 s of most servers. */
  readonly idleMs: number
  /** Silence with queries under way after which a connection is closed as dead, in milliseconds. */
  readonly stalledMs: number
}

export const CONNECTION_LIMITS: ConnectionLimits = {
  connectionsMax: 6,
  queriesBeforeAnother: 32,
  ageMs: 30_000,
  queries: 20_000,
  idleMs: 6_000,
  stalledMs: 3_000,
}

/** A connection that is not there after this is slow: queries prefer another. */
const CONNECT_SLOW_MS = 300

/** How often idle, stalled and old connections are looked for. */
const SWEEP_MS = 500

export interface TcpExchangerParts {
  readonly counts: ExchangeCounts
  nowMs(): number
  /** From 0 to below 1: for spreading. */
  random(): number
  /** From 0 to 65,535; must not be guessable. */
  randomId(): number
  connectionOpened(): void
  connectionReused(): void
}

/** A connection and the chance that was drawn for it. */
interface Pooled {
  readonly connection: TcpConnection
  readonly ageMs: number
  readonly queries: number
}

export class TcpExchanger implements Exchanger {
  readonly #settings: TcpExchangerSettings
  readonly #parts: TcpExchangerParts
  /** Those that take queries. */
  readonly #pool: Pooled[] = []
  /** All that are open, those that only finish what they have included. */
  readonly #open = new Set<TcpConnection>()
  readonly #unflushed = new Set<TcpConnection>()
  #sweeper: NodeJS.Timeout | undefined
  #isClosing = false

  constructor(settings: TcpExchangerSettings, parts: TcpExchangerParts) {
    this.#settings = settings
    this.#parts = parts
  }

  get openConnections(): number {
    return this.#open.size
  }

  open(question: UpstreamQuestion, withEdns: boolean, listener: ExchangeListener): OpenExchange {
    const connection = this.#choose()
    if (connection === undefined) return refused(listener, { kind: 'overloaded', limit: 'tcp connections' })
    if (this.#unflushed.size === 0) setImmediate(this.#flush)
    this.#unflushed.add(connection)
    return connection.put(question, withEdns, listener)
  }

  close(isForced: boolean): void {
    this.#isClosing = true
    this.#pool.length = 0
    for (const connection of this.#open) {
      if (isForced) connection.destroy('CLOSED')
      else connection.retire()
    }
  }

  /** One write for all that a turn of the event loop put on a connection. */
  readonly #flush = (): void => {
    for (const connection of this.#unflushed) connection.flush()
    this.#unflushed.clear()
  }

  #choose(): TcpConnection | undefined {
    const { connectionsMax, queriesBeforeAnother } = this.#settings.limits
    const nowMs = this.#parts.nowMs()
    let best: Pooled | undefined
    for (const pooled of this.#pool) {
      const { connection } = pooled
      if (!connection.canTakeQueries || this.#isDoubtful(connection, nowMs)) continue
      if (best === undefined || connection.pendingCount < best.connection.pendingCount) best = pooled
    }
    const isEnough = best !== undefined && best.connection.pendingCount < queriesBeforeAnother
    if (best !== undefined && (isEnough || this.#pool.length >= connectionsMax)) {
      this.#parts.connectionReused()
      if (best.connection.queries + 1 >= best.queries) this.#retire(best)
      return best.connection
    }
    if (this.#pool.length >= connectionsMax && !this.#makeRoom()) return undefined
    return this.#openConnection()
  }

  #isDoubtful(connection: TcpConnection, nowMs: number): boolean {
    return connection.isSuspect || (!connection.isConnected && nowMs - connection.openedAtMs > CONNECT_SLOW_MS)
  }

  /** All connections are doubtful or full: the one that was silent longest goes, its queries try elsewhere. */
  #makeRoom(): boolean {
    const nowMs = this.#parts.nowMs()
    let worst: Pooled | undefined
    for (const pooled of this.#pool) {
      if (!this.#isDoubtful(pooled.connection, nowMs)) continue
      if (worst === undefined || pooled.connection.activeAtMs < worst.connection.activeAtMs) worst = pooled
    }
    worst?.connection.destroy('STALLED')
    return worst !== undefined
  }

  #openConnection(): TcpConnection {
    const { upstream, isTls, certificateAuthorities, limits } = this.#settings
    const connection = new TcpConnection(
      { upstream, isTls, certificateAuthorities },
      {
        counts: this.#parts.counts,
        nowMs: this.#parts.nowMs,
        randomId: this.#parts.randomId,
        connectionClosed: (closed) => this.#forget(closed),
      },
    )
    const aroundMean = (mean: number): number => mean * (0.5 + this.#parts.random())
    this.#open.add(connection)
    if (!this.#isClosing) {
      this.#pool.push({ connection, ageMs: aroundMean(limits.ageMs), queries: aroundMean(limits.queries) })
    }
    this.#parts.connectionOpened()
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref()
    return connection
  }

  #retire(pooled: Pooled): void {
    this.#pool.splice(this.#pool.indexOf(pooled), 1)
    // Not before this turn's queries are on it.
    setImmediate(() => pooled.connection.retire())
  }

  #forget(connection: TcpConnection): void {
    this.#open.delete(connection)
    this.#unflushed.delete(connection)
    const index = this.#pool.findIndex((pooled) => pooled.connection === connection)
    if (index !== -1) this.#pool.splice(index, 1)
    if (this.#open.size === 0) {
      clearInterval(this.#sweeper)
      this.#sweeper = undefined
    }
  }

  #sweep(): void {
    const { idleMs, stalledMs } = this.#settings.limits
    const nowMs = this.#parts.nowMs()
    for (const connection of this.#open) {
      const silentMs = nowMs - connection.activeAtMs
      if (connection.pendingCount > 0 && silentMs > stalledMs) connection.destroy('STALLED')
      else if (connection.pendingCount === 0 && silentMs > idleMs) connection.destroy('IDLE')
    }
    const old = this.#pool.filter(({ connection, ageMs }) => nowMs - connection.openedAtMs > ageMs)
    for (const pooled of old) this.#retire(pooled)
  }
}
