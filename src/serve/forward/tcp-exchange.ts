/**
 * Asks an upstream over TCP or TLS: few connections, many queries on each, answers in any order (RFC 7766 section 6.2.1.1).
 *
 * Behind a ClusterIP a connection belongs to one Pod for as long as it lives. So connections are replaced after an age
 * and a number of queries, both with a random part: a node's queries spread over all Pods, and a new Pod gets its share.
 * A connection that breaks costs its queries one retry on a fresh one, not an error.
 */

import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Rcode, writeUint16 } from '../../dns/wire/header.ts'
import { type UpstreamQuestion, upstreamQuery } from '../../dns/wire/upstream-query.ts'
import { readUpstreamResponse } from '../../dns/wire/upstream-response.ts'
import {
  type Cancel,
  type ExchangeCounts,
  type ExchangeResult,
  type Exchanger,
  isResponseTo,
  type UpstreamAddress,
  type UpstreamObserver,
  upstreamName,
} from './exchange.ts'

/** Connections to one upstream that take new queries at a time. */
const CONNECTIONS_MAX = 2
/** Queries under way on one connection. */
const QUERIES_IN_FLIGHT_MAX = 1000
/** Seconds after which a connection takes no more queries; up to half as many more by chance. */
const AGE_SECONDS_MAX = 60
/** Queries after which a connection takes no more; up to half as many more by chance. */
const QUERIES_MAX = 10_000
/** Milliseconds without a query under way before a connection is closed. */
const IDLE_MS = 10_000
const CONNECT_TIMEOUT_MS = 2_000
/** Queries that stay unanswered this long, in milliseconds, make their connection suspect: new ones avoid it. */
const STALLED_MS = 2_000

interface Pending {
  readonly question: UpstreamQuestion
  readonly withEdns: boolean
  /** Whether another connection may still be tried. */
  readonly mayRetry: boolean
  readonly askedAtMs: number
  done(result: ExchangeResult): void
  isCancelled: boolean
}

export interface TcpParts {
  readonly transport: 'tcp' | 'tls'
  readonly counts: ExchangeCounts
  readonly observer: UpstreamObserver
  randomId(): number
  /** 0 to 1. */
  random(): number
  nowMs(): number
}

export class TcpExchanger implements Exchanger {
  readonly #upstream: UpstreamAddress
  readonly #parts: TcpParts
  readonly #connections = new Set<Connection>()
  #turn = 0

  constructor(upstream: UpstreamAddress, parts: TcpParts) {
    this.#upstream = upstream
    this.#parts = parts
  }

  /** Connections open or opening. */
  get connectionCount(): number {
    return this.#connections.size
  }

  ask(question: UpstreamQuestion, done: (result: ExchangeResult) => void): Cancel {
    return this.#ask(question, true, true, done)
  }

  stop(): void {
    for (const connection of this.#connections) connection.destroy('STOPPED')
  }

  #ask(
    question: UpstreamQuestion,
    withEdns: boolean,
    mayRetry: boolean,
    done: (result: ExchangeResult) => void,
  ): Cancel {
    const pending: Pending = {
      question,
      withEdns,
      mayRetry,
      askedAtMs: this.#parts.nowMs(),
      isCancelled: false,
      done: (result) => {
        if (pending.isCancelled) return
        if (result.kind === 'unreachable' && mayRetry && result.code !== 'STOPPED') {
          next = this.#ask(question, withEdns, false, done)
          return
        }
        const { response } = result.kind === 'response' ? result : { response: undefined }
        const refusesEdns =
          response !== undefined &&
          (response.rcode === Rcode.FormErr || response.rcode === Rcode.NotImp) &&
          response.edns === undefined
        if (withEdns && refusesEdns) next = this.#ask(question, false, mayRetry, done)
        else done(result)
      },
    }
    let next: Cancel | undefined
    const connection = this.#connectionFor(!mayRetry)
    connection.send(pending)
    return () => {
      pending.isCancelled = true
      next?.()
    }
  }

  /** A connection that takes queries; `isFresh` wants one that was not there before. */
  #connectionFor(isFresh: boolean): Connection {
    const usable = [...this.#connections].filter((connection) => connection.takesQueries(this.#parts.nowMs()))
    const name = upstreamName(this.#upstream)
    if (
      usable.length >= CONNECTIONS_MAX ||
      (usable.length > 0 && !isFresh && usable.some((connection) => connection.isLight))
    ) {
      const connection = usable[this.#turn++ % usable.length]!
      this.#parts.observer.connectionReused(name, this.#parts.transport)
      return connection
    }
    this.#parts.observer.connectionOpened(name, this.#parts.transport)
    const connection = new Connection(this.#upstream, this.#parts, () => this.#connections.delete(connection))
    this.#connections.add(connection)
    return connection
  }
}

/** Queries under way below which a second connection is not worth its price. */
const LIGHT_LOAD = 16

class Connection {
  readonly #parts: TcpParts
  readonly #socket: Socket
  readonly #pending = new Map<number, Pending>()
  readonly #onClosed: () => void
  readonly #endsAtMs: number
  #queriesLeft: number
  #received: Buffer = Buffer.alloc(0)
  #lastReceivedAtMs: number
  #oldestAskedAtMs = Number.POSITIVE_INFINITY
  #isClosed = false
  #isCorked = false

  constructor(upstream: UpstreamAddress, parts: TcpParts, onClosed: () => void) {
    this.#parts = parts
    this.#onClosed = onClosed
    const now = parts.nowMs()
    this.#lastReceivedAtMs = now
    this.#endsAtMs = now + AGE_SECONDS_MAX * 1000 * (1 + parts.random() / 2)
    this.#queriesLeft = Math.ceil(QUERIES_MAX * (1 + parts.random() / 2))
    const target = { host: upstream.address, port: upstream.port, noDelay: true }
    // Certificates name hosts; without a name the address itself has to be in the certificate (RFC 8310 section 8.1).
    const serverName = upstream.serverName ?? upstream.address
    this.#socket =
      parts.transport === 'tls'
        ? connectTls({
            ...target,
            servername: isIP(serverName) === 0 ? serverName : '',
            ALPNProtocols: ['dot'],
            minVersion: 'TLSv1.2',
          })
        : connectTcp(target)
    this.#socket.setTimeout(CONNECT_TIMEOUT_MS, () => this.destroy('ETIMEDOUT'))
    this.#socket.once(parts.transport === 'tls' ? 'secureConnect' : 'connect', () => {
      this.#socket.setTimeout(IDLE_MS, () => this.#closeIfIdle())
    })
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.destroy(error.code ?? 'EUNKNOWN'))
    this.#socket.on('end', () => this.destroy('ECONNRESET'))
    this.#socket.on('close', () => this.destroy('ECONNRESET'))
  }

  get isLight(): boolean {
    return this.#pending.size < LIGHT_LOAD
  }

  /** Whether new queries may be put on this connection. */
  takesQueries(nowMs: number): boolean {
    if (this.#isClosed || this.#queriesLeft <= 0 || nowMs >= this.#endsAtMs) return false
    if (this.#pending.size >= QUERIES_IN_FLIGHT_MAX) return false
    const waitsSince = Math.max(this.#lastReceivedAtMs, this.#oldestAskedAtMs)
    return this.#pending.size === 0 || nowMs - waitsSince < STALLED_MS
  }

  send(pending: Pending): void {
    if (this.#isClosed) {
      queueMicrotask(() => pending.done({ kind: 'unreachable', code: 'ECONNRESET' }))
      return
    }
    let id = this.#parts.randomId()
    while (this.#pending.has(id)) id = (id + 1) & 0xffff
    if (this.#pending.size === 0) this.#oldestAskedAtMs = pending.askedAtMs
    this.#pending.set(id, pending)
    this.#queriesLeft--
    const query = upstreamQuery(pending.question, id, pending.withEdns)
    const framed = Buffer.allocUnsafe(query.length + 2)
    writeUint16(framed, 0, query.length)
    framed.set(query, 2)
    // Queries of one turn leave in one segment.
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      queueMicrotask(() => {
        this.#isCorked = false
        this.#socket.uncork()
      })
    }
    this.#socket.write(framed)
  }

  destroy(code: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.destroy()
    this.#onClosed()
    const lost = [...this.#pending.values()]
    this.#pending.clear()
    for (const pending of lost) pending.done({ kind: 'unreachable', code })
  }

  #closeIfIdle(): void {
    for (const [id, pending] of this.#pending) if (pending.isCancelled) this.#pending.delete(id)
    // Nothing came for a long time: either nothing was asked, or nobody is there any more.
    this.destroy('ETIMEDOUT')
  }

  #receive(chunk: Buffer): void {
    this.#lastReceivedAtMs = this.#parts.nowMs()
    const received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    let at = 0
    while (received.length - at >= 2) {
      const end = at + 2 + received.readUInt16BE(at)
      if (end > received.length) break
      this.#take(received.subarray(at + 2, end))
      if (this.#isClosed) return
      at = end
    }
    // At most one message and its length stay behind: 65,537 octets.
    this.#received = received.subarray(at)
    if (this.#pending.size === 0 && (this.#queriesLeft <= 0 || this.#parts.nowMs() >= this.#endsAtMs))
      this.destroy('STOPPED')
  }

  #take(message: Buffer): void {
    const response = readUpstreamResponse(message)
    if (response === undefined) {
      this.#parts.counts.malformed++
      return
    }
    const pending = this.#pending.get(response.id)
    if (pending === undefined || !isResponseTo(response, pending.question)) {
      this.#parts.counts.mismatched++
      return
    }
    this.#pending.delete(response.id)
    pending.done({ kind: 'response', response })
  }
}
