/**
 * Queries over UDP: an id that nobody can guess, from a source port that nobody can guess (RFC 5452 section 9.2).
 *
 * Every query has a port of its own as long as they are few. To open one costs more than all else that is done for a query,
 * so where they are many, up to `PORTS_MAX` stay open for a moment; a query leaves by one of them that chance picks, and no
 * port serves for long, or often (docs/decisions/ports-of-upstream-queries.md).
 */

import { HEADER_OCTETS, ID_AT, QDCOUNT_AT, readUint16 } from '../../dns/wire/header.ts'
import { ROOT } from '../../dns/wire/name.ts'
import { type UpstreamQuestion, upstreamQuery } from '../../dns/wire/upstream-query.ts'
import type {
  ExchangeCounts,
  ExchangeListener,
  ExchangeResult,
  Exchanger,
  OpenExchange,
  UpstreamAddress,
} from './exchange.ts'
import { matchingResponse } from './response-match.ts'
import { type OpenUdpSocket, openUdpSocket, type UdpSocket, type UdpSocketListener } from './udp-socket.ts'

/** Queries under way at once with one upstream. */
export const UDP_QUERIES_MAX = 2_048

/** Ports of one upstream that are kept for further queries: so many queries in a row have ports of their own. */
export const PORTS_MAX = 256

/** Queries that a port serves at most. */
export const PORT_QUERIES_MAX = 32

/** How long a port serves at most, in milliseconds, and how often that is looked at: so far it may be exceeded. */
export const PORT_AGE_MS = 1_000
const SWEEP_MS = 500

/** Mismatching datagrams after which a port is given up as under attack, and its queries asked over TCP by the caller. */
export const MISMATCHES_MAX = 32

export interface UdpExchangerSettings {
  readonly upstream: UpstreamAddress
  /** Whether the letters of the question are sent in random case and compared exactly (draft-vixie-dnsext-dns0x20). */
  readonly randomCase: boolean
}

export interface UdpExchangerParts {
  readonly counts: ExchangeCounts
  nowMs(): number
  /** From 0 to 65,535; must not be guessable. */
  randomId(): number
  /** Undefined: whatever this machine can do best. */
  readonly openSocket?: OpenUdpSocket | undefined
}

export class UdpExchanger implements Exchanger {
  readonly settings: UdpExchangerSettings
  readonly parts: UdpExchangerParts
  /** Those that take queries. */
  readonly #ports: Port[] = []
  /** Those that wait for what they have sent. */
  readonly #retired = new Set<Port>()
  #waiting = 0
  #sweeper: NodeJS.Timeout | undefined
  #isClosing = false

  constructor(settings: UdpExchangerSettings, parts: UdpExchangerParts) {
    this.settings = settings
    this.parts = parts
  }

  /** UDP has none. */
  get openConnections(): number {
    return 0
  }

  open(question: UpstreamQuestion, withEdns: boolean, listener: ExchangeListener): OpenExchange {
    if (this.#waiting >= UDP_QUERIES_MAX) return refused(listener, { kind: 'overloaded', limit: 'udp queries' })
    this.#waiting++
    const port = this.#choose()
    const exchange = port.ask(question, withEdns, listener)
    if (port.queriesLeft === 0 || this.#isClosing) this.#retire(port)
    return exchange
  }

  close(isForced: boolean): void {
    this.#isClosing = true
    while (this.#ports.length > 0) this.#retire(this.#ports.at(-1)!)
    if (isForced) for (const port of this.#retired) port.failed('STOPPED')
  }

  /** For the ports: a query is over. */
  ended(): void {
    this.#waiting--
  }

  /** For a port that closed by itself. */
  closed(port: Port): void {
    this.#retired.delete(port)
    const index = this.#ports.indexOf(port)
    if (index !== -1) this.#remove(index)
  }

  #choose(): Port {
    if (this.#ports.length >= PORTS_MAX) return this.#ports[this.parts.randomId() % PORTS_MAX]!
    const port = new Port(this)
    this.#ports.push(port)
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_MS).unref()
    return port
  }

  /** A port that takes no more queries closes with the last response. */
  #retire(port: Port): void {
    const index = this.#ports.indexOf(port)
    if (index !== -1) this.#remove(index)
    this.#retired.add(port)
    port.retire()
  }

  /** Their order says nothing. */
  #remove(index: number): void {
    const last = this.#ports.pop()!
    if (index < this.#ports.length) this.#ports[index] = last
  }

  #sweep(): void {
    const before = this.parts.nowMs() - PORT_AGE_MS
    for (const port of this.#ports.filter(({ openedAtMs }) => openedAtMs < before)) this.#retire(port)
    if (this.#ports.length > 0) return
    clearInterval(this.#sweeper)
    this.#sweeper = undefined
  }
}

/** An exchange that ended before it began. */
export function refused(listener: ExchangeListener, result: ExchangeResult): OpenExchange {
  let isWanted = true
  setImmediate(() => {
    if (isWanted) listener.exchangeEnded(result)
  })
  return {
    isLate() {},
    abandon() {
      isWanted = false
    },
  }
}

/** Asked by nobody: what is held against it is another's, or none. */
const NOTHING: UpstreamQuestion = {
  name: ROOT,
  type: 0,
  class: 0,
  recursionDesired: false,
  checkingDisabled: false,
  dnssecOk: false,
}
const NO_ID = -1

/** A source port and the queries that left by it. */
class Port implements UdpSocketListener {
  readonly exchanger: UdpExchanger
  readonly openedAtMs: number
  queriesLeft = PORT_QUERIES_MAX
  readonly #socket: UdpSocket
  /** By id; those that were given up stay, so that what comes for them is known as late. */
  readonly #queries = new Map<number, UdpExchange>()
  #waiting = 0
  #mismatches = 0
  #isRetired = false
  #isClosed = false

  constructor(exchanger: UdpExchanger) {
    this.exchanger = exchanger
    this.openedAtMs = exchanger.parts.nowMs()
    this.#socket = (exchanger.parts.openSocket ?? openUdpSocket)(exchanger.settings.upstream, this)
  }

  ask(question: UpstreamQuestion, withEdns: boolean, listener: ExchangeListener): UdpExchange {
    const { parts, settings } = this.exchanger
    let id = parts.randomId()
    while (this.#queries.has(id)) id = parts.randomId()
    const query = upstreamQuery(question, id, withEdns)
    if (settings.randomCase) mixCase(query, question.name.length, parts.randomId)
    const exchange = new UdpExchange(this, question, settings.randomCase ? query : undefined, listener)
    this.#queries.set(id, exchange)
    this.#waiting++
    this.queriesLeft--
    this.#socket.send(query)
    return exchange
  }

  retire(): void {
    this.#isRetired = true
    if (this.#waiting === 0) this.#close()
  }

  /** For its exchanges: nobody waits any more. */
  ended(): void {
    this.#waiting--
    this.exchanger.ended()
    if (this.#isRetired && this.#waiting === 0) this.#close()
  }

  received(message: Uint8Array): void {
    const { counts } = this.exchanger.parts
    const id = message.length >= HEADER_OCTETS ? readUint16(message, ID_AT) : NO_ID
    const exchange = this.#queries.get(id)
    const response = matchingResponse(
      message,
      exchange?.question ?? NOTHING,
      exchange === undefined ? NO_ID : id,
      counts,
    )
    if (exchange === undefined || response === undefined) {
      this.#isSuspicious()
      return
    }
    if (!exchange.isSpelledAsSent(message)) {
      counts.mismatched++
      this.#isSuspicious()
      return
    }
    this.#queries.delete(id)
    const listener = exchange.end()
    if (listener === undefined) counts.late++
    else listener.exchangeEnded({ kind: 'response', response })
  }

  /** The kernel or the peer refuses: that goes for all that left by it. */
  failed(code: string): void {
    if (this.#isClosed) return
    const exchanges = [...this.#queries.values()]
    this.#close()
    for (const exchange of exchanges) exchange.end()?.exchangeEnded({ kind: 'unreachable', code, wasProven: false })
  }

  #isSuspicious(): void {
    if (++this.#mismatches >= MISMATCHES_MAX) this.failed('FLOODED')
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#queries.clear()
    this.#socket.close()
    this.exchanger.closed(this)
  }
}

class UdpExchange implements OpenExchange {
  readonly question: UpstreamQuestion
  readonly #port: Port
  /** The query where the spelling of its name must come back. */
  readonly #spelled: Buffer | undefined
  #listener: ExchangeListener | undefined

  constructor(port: Port, question: UpstreamQuestion, spelled: Buffer | undefined, listener: ExchangeListener) {
    this.#port = port
    this.question = question
    this.#spelled = spelled
    this.#listener = listener
  }

  isLate(): void {}

  abandon(): void {
    this.end()
  }

  /** The listener, if somebody still waits; nobody does afterwards. */
  end(): ExchangeListener | undefined {
    const listener = this.#listener
    if (listener === undefined) return undefined
    this.#listener = undefined
    this.#port.ended()
    return listener
  }

  /** With random case, the name must come back letter by letter as it was sent. */
  isSpelledAsSent(message: Uint8Array): boolean {
    if (this.#spelled === undefined || readUint16(message, QDCOUNT_AT) === 0) return true
    const end = HEADER_OCTETS + this.question.name.length
    return this.#spelled.compare(message, HEADER_OCTETS, end, HEADER_OCTETS, end) === 0
  }
}

function mixCase(query: Buffer, nameLength: number, randomId: () => number): void {
  let label = HEADER_OCTETS
  const end = HEADER_OCTETS + nameLength
  while (label < end && query[label] !== 0) {
    const next = label + query[label]! + 1
    for (let at = label + 1; at < next; at++) {
      const isLetter = query[at]! >= 0x61 && query[at]! <= 0x7a
      if (isLetter && (randomId() & 1) === 0) query[at]! &= ~0x20
    }
    label = next
  }
}
