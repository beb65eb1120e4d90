/**
 * One connection to an upstream: many queries on it at once, responses in any order (RFC 7766 sections 6.2.1 and 7).
 *
 * Queries of one turn of the event loop leave in one write. Responses are read from one buffer that all connections
 * share; only a response that arrives in pieces is copied before it is complete.
 *
 * Nobody but the peer can put octets on a connection, so what is wrong with them is the peer's doing, and waiting mends nothing:
 *
 *     no known id                              ignored and counted; no sign of life either
 *     a known id, but malformed or             its query ends at once; the connection takes no more and ends with the last
 *     the answer to another question
 *     a length that no message has             the framing is lost: the connection ends, and all that is under way on it
 *     a length that what comes does not fill   as silence
 */

import { connect as connectTcp, isIP, Socket } from 'node:net'
import { HEADER_OCTETS, ID_AT, MESSAGE_OCTETS_MAX, readUint16, writeUint16 } from '../../dns/wire/header.ts'
import { type UpstreamQuestion, upstreamQueryOctets, writeUpstreamQuery } from '../../dns/wire/upstream-query.ts'
import { interfaceOfScope } from '../../host/interface-scope.ts'
import { acknowledgeNow, sendNow } from '../../host/stream-calls.ts'
import { descriptorsOf } from '../listen/descriptor.ts'
import {
  type CertificateAuthorities,
  type ExchangeCounts,
  type ExchangeListener,
  type OpenExchange,
  scopeOf,
  type UpstreamAddress,
} from './exchange.ts'
import { matchingResponse } from './response-match.ts'
import { secureContextOf } from './tls-context.ts'

/** Queries under way on one connection, given-up ones included: far below the ids there are, so that drawing one is quick. */
export const PIPELINE_MAX = 1_000

/** Octets that may wait for the peer to read before no more queries are put on a connection. */
const UNSENT_OCTETS_MAX = 262_144

/** RFC 1035 section 4.2.2. */
const LENGTH_OCTETS = 2

/** Why we close a connection ourselves. */
const OUR_CODES: ReadonlySet<string> = new Set(['RETIRED', 'IDLE', 'STALLED', 'STOPPED', 'UNFRAMED'])

/** A message that is not whole this long after it began is taken for one that never will be. */
const PARTIAL_SLOW_MS = 200

/** How a query ends whose response is none: broken, or about another question. */
const NO_RESPONSE = 'NO_RESPONSE'

export interface TcpConnectionSettings {
  readonly upstream: UpstreamAddress
  readonly isTls: boolean
  readonly certificateAuthorities: CertificateAuthorities | undefined
}

export interface TcpConnectionParts {
  readonly counts: ExchangeCounts
  nowMs(): number
  /** From 0 to 65,535; must not be guessable. */
  randomId(): number
  /** Called once when the connection is gone; `wasCut`: by the peer, while queries were waiting. */
  connectionClosed(connection: TcpConnection, wasCut: boolean): void
  /** The peer's stream cannot be trusted any more: it takes no more queries. */
  connectionSpoiled(connection: TcpConnection): void
}

/** Shared by all connections: a read and its handling are one synchronous step. */
const readBuffer = Buffer.allocUnsafeSlow(LENGTH_OCTETS + MESSAGE_OCTETS_MAX)

export class TcpConnection {
  readonly settings: TcpConnectionSettings
  readonly openedAtMs: number
  /** Queries that were put on it. */
  queries = 0
  /** Responses that came back. */
  responses = 0
  isConnected = false
  /** No new queries; closed as soon as nothing is under way. */
  isRetiring = false
  /** A query on it waits longer than expected and no other was answered since: others are preferred until it answers. */
  isSuspect = false
  /** When it last answered a query, or was given one while nothing was under way. */
  activeAtMs: number

  readonly #parts: TcpConnectionParts
  readonly #socket: Socket
  readonly #pending = new Map<number, PendingQuery>()
  #abandoned = 0
  #isClosed = false
  /** While it is connected, without TLS; where the platform has such. */
  #descriptor: number | undefined
  #unsent = Buffer.alloc(0)
  #unsentLength = 0
  #partial = Buffer.alloc(0)
  #partialLength = 0
  /** When the first octet of the message came that is not whole yet. */
  #partialSinceMs = 0

  constructor(settings: TcpConnectionSettings, parts: TcpConnectionParts) {
    this.settings = settings
    this.#parts = parts
    this.openedAtMs = parts.nowMs()
    this.activeAtMs = this.openedAtMs
    this.#socket = this.#connect()
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#close(error.code ?? 'TCP'))
    // The peer will say no more; what is still under way will not be answered here.
    this.#socket.on('end', () => this.#close('HALF_CLOSED'))
    this.#socket.on('close', () => this.#close('CLOSED'))
  }

  /** Queries that somebody waits for. */
  get waitingCount(): number {
    return this.#pending.size - this.#abandoned
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  get canTakeQueries(): boolean {
    return (
      !this.#isClosed &&
      !this.isRetiring &&
      this.#pending.size < PIPELINE_MAX &&
      this.#socket.writableLength + this.#unsentLength < UNSENT_OCTETS_MAX
    )
  }

  /** Puts a query on the connection; `flush` sends it. */
  put(question: UpstreamQuestion, withEdns: boolean, listener: ExchangeListener): OpenExchange {
    const nowMs = this.#parts.nowMs()
    if (this.#pending.size === 0) this.activeAtMs = nowMs
    const id = this.#freeId()
    const query = new PendingQuery(this, question, listener, nowMs)
    this.#pending.set(id, query)
    this.queries++
    const octets = upstreamQueryOctets(question, withEdns)
    this.#makeRoom(LENGTH_OCTETS + octets)
    writeUint16(this.#unsent, this.#unsentLength, octets)
    this.#unsentLength = writeUpstreamQuery(this.#unsent, this.#unsentLength + LENGTH_OCTETS, question, id, withEdns)
    return query
  }

  /** Sends what was put on the connection since the last flush, in one write. */
  flush(): void {
    if (this.#unsentLength === 0 || this.#isClosed) return
    const octets = this.#unsentLength
    this.#unsentLength = 0
    // Behind what the socket still holds back, and before it is connected, only the socket knows when to send.
    const isDirect = this.#descriptor !== undefined && this.#socket.writableLength === 0
    const sent = isDirect ? sendNow(this.#descriptor!, this.#unsent, octets) : 0
    // The buffer stays ours; the socket gets a copy of exactly what there is.
    if (sent < octets) this.#socket.write(Buffer.from(this.#unsent.subarray(sent, octets)))
  }

  /** Takes no more queries; closes now when nothing is awaited, else with the last response. */
  retire(): void {
    this.isRetiring = true
    if (this.waitingCount === 0) this.#close('RETIRED')
  }

  /** Closes at once; queries under way end unreachable with `code`. */
  destroy(code: string): void {
    this.#close(code)
  }

  /** For a query of this connection, put on it at `sentAtMs`: its answer takes longer than expected. */
  isLate(sentAtMs: number): void {
    const isStuck = this.#partialLength > 0 && this.#parts.nowMs() - this.#partialSinceMs >= PARTIAL_SLOW_MS
    if (isStuck || this.activeAtMs <= sentAtMs) this.isSuspect = true
  }

  /** For a query of this connection: nobody waits for it any more, but its id stays taken. */
  abandoned(): void {
    this.#abandoned++
    if (this.isRetiring && this.waitingCount === 0) this.#close('RETIRED')
  }

  #connect(): Socket {
    const { upstream, isTls, certificateAuthorities } = this.settings
    const host = hostOf(upstream.address)
    if (host === undefined) {
      // Node would take any interface instead, and wait there.
      return new Socket().destroy(Object.assign(new Error('no such interface'), { code: 'ENODEV' }))
    }
    const options = {
      host,
      port: upstream.port,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (octets: number): boolean => {
          this.#read(octets)
          return true
        },
      },
    }
    if (!isTls) return connectTcp(options, () => this.#connected())
    const name = upstream.serverName
    // Not imported above: it takes 3 MiB, which most nodes have no use for.
    return process.getBuiltinModule('node:tls').connect(
      {
        ...options,
        // An address is no name for SNI (RFC 6066 section 3); the certificate is then checked against the address.
        ...(name === undefined || isIP(name) !== 0 ? {} : { servername: name }),
        secureContext: secureContextOf(certificateAuthorities),
        ALPNProtocols: ['dot'],
        rejectUnauthorized: true,
      },
      () => this.#connected(),
    )
  }

  #connected(): void {
    this.isConnected = true
    this.activeAtMs = this.#parts.nowMs()
    if (!this.settings.isTls) this.#descriptor = descriptorsOf(this.#socket)[0]
  }

  #freeId(): number {
    let id = this.#parts.randomId()
    while (this.#pending.has(id)) id = (id + 1) & 0xffff
    return id
  }

  #makeRoom(octets: number): void {
    const needed = this.#unsentLength + octets
    if (needed <= this.#unsent.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#unsent.length, 1_024))
    larger.set(this.#unsent.subarray(0, this.#unsentLength))
    this.#unsent = larger
  }

  #read(octets: number): void {
    if (this.#isClosed) return
    let at = 0
    if (this.#partialLength > 0) at = this.#completePartial(octets)
    // Whoever hears a response may close us in the same breath.
    while (octets - at >= LENGTH_OCTETS && !this.#isClosed) {
      const end = at + LENGTH_OCTETS + readUint16(readBuffer, at)
      if (end > octets) break
      this.#received(readBuffer.subarray(at + LENGTH_OCTETS, end))
      at = end
    }
    if (this.#isClosed) return
    if (at < octets) this.#keepPartial(at, octets)
    // More is to come, and its sender may wait for our word (`host/stream-calls`).
    if (this.waitingCount > 0 && this.#descriptor !== undefined) acknowledgeNow(this.#descriptor)
    if (this.isRetiring && this.waitingCount === 0) this.#close('RETIRED')
  }

  /** Adds to the response that came in pieces as much as it lacks; returns how much of the read that took. */
  #completePartial(octets: number): number {
    let at = 0
    if (this.#partialLength < LENGTH_OCTETS) {
      this.#keepPartial(0, 1)
      at = 1
    }
    const missing = LENGTH_OCTETS + readUint16(this.#partial, 0) - this.#partialLength
    const end = Math.min(octets, at + missing)
    if (end > at) this.#keepPartial(at, end)
    if (end - at < missing) return end
    const message = this.#partial.subarray(LENGTH_OCTETS, this.#partialLength)
    this.#partialLength = 0
    this.#received(message)
    return end
  }

  #keepPartial(from: number, to: number): void {
    if (this.#partialLength === 0) this.#partialSinceMs = this.#parts.nowMs()
    const needed = this.#partialLength + to - from
    if (needed > this.#partial.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, Math.min(2 * needed, LENGTH_OCTETS + MESSAGE_OCTETS_MAX)))
      larger.set(this.#partial.subarray(0, this.#partialLength))
      this.#partial = larger
    }
    this.#partial.set(readBuffer.subarray(from, to), this.#partialLength)
    this.#partialLength = needed
  }

  #received(message: Buffer): void {
    const { counts } = this.#parts
    if (message.length < HEADER_OCTETS) {
      counts.malformed++
      this.#close('UNFRAMED')
      return
    }
    const id = readUint16(message, ID_AT)
    const query = this.#pending.get(id)
    if (query === undefined) {
      counts.mismatched++
      return
    }
    this.#pending.delete(id)
    const listener = query.end()
    if (listener === undefined) this.#abandoned--
    const response = matchingResponse(message, query.question, id, counts)
    if (response === undefined) {
      // Nobody forges into a connection: it is the peer that is confused, and no better response will come for this id.
      const wasProven = this.responses > 0
      this.#parts.connectionSpoiled(this)
      this.retire()
      listener?.exchangeEnded({ kind: 'unreachable', code: NO_RESPONSE, wasProven })
      return
    }
    this.activeAtMs = this.#parts.nowMs()
    this.isSuspect = false
    this.responses++
    if (listener === undefined) counts.late++
    else listener.exchangeEnded({ kind: 'response', response })
  }

  #close(code: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#descriptor = undefined
    this.#socket.destroy()
    this.#parts.connectionClosed(this, this.waitingCount > 0 && !OUR_CODES.has(code))
    const wasProven = this.responses > 0
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    this.#abandoned = 0
    for (const query of pending) query.end()?.exchangeEnded({ kind: 'unreachable', code, wasProven })
  }
}

/** The address, its scope as a name, which is all that Node knows; undefined where there is no such interface. */
function hostOf(address: string): string | undefined {
  const scope = scopeOf(address)
  if (scope === undefined) return address
  const found = interfaceOfScope(scope)
  return found === undefined ? undefined : `${address.slice(0, -scope.length)}${found.name}`
}

/** A query that was put on a connection. */
class PendingQuery implements OpenExchange {
  readonly question: UpstreamQuestion
  readonly #connection: TcpConnection
  readonly #sentAtMs: number
  #listener: ExchangeListener | undefined

  constructor(connection: TcpConnection, question: UpstreamQuestion, listener: ExchangeListener, sentAtMs: number) {
    this.#connection = connection
    this.question = question
    this.#listener = listener
    this.#sentAtMs = sentAtMs
  }

  isLate(): void {
    this.#connection.isLate(this.#sentAtMs)
  }

  abandon(): void {
    if (this.#listener === undefined) return
    this.#listener = undefined
    this.#connection.abandoned()
  }

  /** The listener, if somebody still waits; nobody does afterwards. */
  end(): ExchangeListener | undefined {
    const listener = this.#listener
    this.#listener = undefined
    return listener
  }
}
