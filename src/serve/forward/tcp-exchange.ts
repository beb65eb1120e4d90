/**
 * Queries over TCP or TLS: a few connections to one upstream and the rules by which one is chosen, opened and retired.
 *
 * Most queries share one connection. Another is opened when all have much under way, or when those there are do not
 * speak: a response that waits behind a slow one (many servers answer a connection's queries in turn), a lost SYN, a
 * peer that went away without a word. Connections are replaced by age and by number of queries, both drawn by chance
 * around their mean, so that the nodes of a cluster do not reconnect in step and a Service's backends share the load.
 */

import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type {
  CertificateAuthorities,
  ExchangeCounts,
  ExchangeListener,
  Exchanger,
  OpenExchange,
  UpstreamAddress,
} from './exchange.ts'
import { TcpConnection } from './tcp-connection.ts'
import { refused } from './udp-exchange.ts'

export interface TcpExchangerSettings {
  readonly upstream: UpstreamAddress
  readonly isTls: boolean
  readonly certificateAuthorities: CertificateAuthorities | undefined
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

/** Connections to one upstream, those that only finish what they have included. */
export const CONNECTIONS_OPEN_MAX = 512

/** Connections in a row that a peer cuts off under their queries before we believe that it always will. */
const CUTS_TO_LEARN = 2

/** How long that is believed. */
const CUTS_REMEMBERED_MS = 60_000

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
  /** Queries that the peer answered on a connection before it cut it off; the fewest of late. */
  #answeredBeforeCut = Number.POSITIVE_INFINITY
  #cuts = 0
  #cutAtMs = Number.NEGATIVE_INFINITY
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
      if (isForced) connection.destroy('STOPPED')
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
    if (this.#open.size >= CONNECTIONS_OPEN_MAX) return undefined
    if (this.#pool.length >= connectionsMax && !this.#makeRoom()) return undefined
    const opened = this.#openConnection()
    const pooled = this.#pool.at(-1)
    if (pooled?.connection === opened && pooled.queries <= 1) this.#retire(pooled)
    return opened
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
        connectionClosed: (closed, wasCut) => {
          if (wasCut) this.#learnFromCut(closed)
          this.#forget(closed)
        },
        connectionSpoiled: (spoiled) => this.#takeOut(spoiled),
      },
    )
    const aroundMean = (mean: number): number => mean * (0.5 + this.#parts.random())
    this.#open.add(connection)
    if (!this.#isClosing) {
      this.#pool.push({
        connection,
        ageMs: aroundMean(limits.ageMs),
        queries: this.#queriesFor(aroundMean(limits.queries)),
      })
    }
    this.#parts.connectionOpened()
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref()
    return connection
  }

  /**
   * Some servers take a number of queries on a connection, often one, and hang up on the rest (RFC 7766 section 6.2.1.1
   * asks them not to). Their connections get no more than that.
   */
  #learnFromCut(connection: TcpConnection): void {
    const nowMs = this.#parts.nowMs()
    if (nowMs - this.#cutAtMs > CUTS_REMEMBERED_MS) {
      this.#cuts = 0
      this.#answeredBeforeCut = Number.POSITIVE_INFINITY
    }
    this.#cutAtMs = nowMs
    // One that never answered is a failure like any other.
    if (connection.responses === 0) return
    this.#cuts++
    this.#answeredBeforeCut = Math.min(this.#answeredBeforeCut, connection.responses)
  }

  #queriesFor(drawn: number): number {
    const isCutting = this.#cuts >= CUTS_TO_LEARN && this.#parts.nowMs() - this.#cutAtMs < CUTS_REMEMBERED_MS
    return isCutting ? Math.min(drawn, this.#answeredBeforeCut) : drawn
  }

  #retire(pooled: Pooled): void {
    this.#takeOut(pooled.connection)
    // Not before this turn's queries are on it.
    setImmediate(() => pooled.connection.retire())
  }

  #forget(connection: TcpConnection): void {
    this.#open.delete(connection)
    this.#unflushed.delete(connection)
    this.#takeOut(connection)
    if (this.#open.size === 0) {
      clearInterval(this.#sweeper)
      this.#sweeper = undefined
    }
  }

  #takeOut(connection: TcpConnection): void {
    const index = this.#pool.findIndex((pooled) => pooled.connection === connection)
    if (index !== -1) this.#pool.splice(index, 1)
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
