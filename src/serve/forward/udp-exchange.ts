/**
 * Queries over UDP: a socket of its own for each, so that the kernel draws a new source port every time, and an id drawn
 * by us (RFC 5452 section 9.2). The socket is connected: the kernel drops datagrams from any other address or port and
 * tells us when nobody listens there.
 *
 * A pool of sockets would save some microseconds a query and give every forger who finds a port many tries at it.
 */

import { createSocket, type Socket } from 'node:dgram'
import { HEADER_OCTETS, QDCOUNT_AT, readUint16 } from '../../dns/wire/header.ts'
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

/** Sockets open at once for one upstream. */
export const UDP_SOCKETS_MAX = 2_048

/** Mismatching datagrams after which an exchange is given up as under attack, and asked over TCP by the caller. */
export const MISMATCHES_MAX = 32

export interface UdpExchangerSettings {
  readonly upstream: UpstreamAddress
  /** Whether the letters of the question are sent in random case and compared exactly (draft-vixie-dnsext-dns0x20). */
  readonly randomCase: boolean
}

export interface UdpExchangerParts {
  readonly counts: ExchangeCounts
  /** From 0 to 65,535; must not be guessable. */
  randomId(): number
}

export class UdpExchanger implements Exchanger {
  readonly settings: UdpExchangerSettings
  readonly parts: UdpExchangerParts
  readonly #open = new Set<UdpExchange>()

  constructor(settings: UdpExchangerSettings, parts: UdpExchangerParts) {
    this.settings = settings
    this.parts = parts
  }

  /** UDP has none. */
  get openConnections(): number {
    return 0
  }

  open(question: UpstreamQuestion, withEdns: boolean, listener: ExchangeListener): OpenExchange {
    if (this.#open.size >= UDP_SOCKETS_MAX) return refused(listener, { kind: 'overloaded', limit: 'udp sockets' })
    const exchange = new UdpExchange(this, question, withEdns, listener, () => this.#open.delete(exchange))
    this.#open.add(exchange)
    return exchange
  }

  close(isForced: boolean): void {
    if (isForced) for (const exchange of this.#open) exchange.fail('STOPPED')
  }
}

/** An exchange that ended before it began. */
export function refused(listener: ExchangeListener, result: ExchangeResult): OpenExchange {
  let isWanted = true
  process.nextTick(() => {
    if (isWanted) listener.exchangeEnded(result)
  })
  return {
    isLate() {},
    abandon() {
      isWanted = false
    },
  }
}

type Lookup = (
  hostname: string,
  options: unknown,
  callback: (error: Error | null, address: string, family: number) => void,
) => void

/** Addresses only, so there is nothing to look up, and nothing to wait for. */
const asItIs: Lookup = (address, _options, callback) => callback(null, address, address.includes(':') ? 6 : 4)

class UdpExchange implements OpenExchange {
  readonly #exchanger: UdpExchanger
  readonly #question: UpstreamQuestion
  readonly #query: Buffer
  readonly #id: number
  readonly #socket: Socket
  readonly #closed: () => void
  #listener: ExchangeListener | undefined
  #mismatches = 0

  constructor(
    exchanger: UdpExchanger,
    question: UpstreamQuestion,
    withEdns: boolean,
    listener: ExchangeListener,
    closed: () => void,
  ) {
    const { upstream, randomCase } = exchanger.settings
    this.#exchanger = exchanger
    this.#question = question
    this.#listener = listener
    this.#closed = closed
    this.#id = exchanger.parts.randomId()
    this.#query = upstreamQuery(question, this.#id, withEdns)
    if (randomCase) mixCase(this.#query, question.name.length, exchanger.parts.randomId)
    const socket = createSocket({ type: upstream.address.includes(':') ? 'udp6' : 'udp4', lookup: asItIs })
    this.#socket = socket
    socket.on('error', (error: NodeJS.ErrnoException) => this.fail(error.code ?? 'UDP'))
    socket.on('message', (message) => this.#received(message))
    socket.connect(upstream.port, upstream.address, () => {
      if (this.#listener === undefined) return
      socket.send(this.#query, (error) => {
        if (error !== null) this.fail((error as NodeJS.ErrnoException).code ?? 'UDP')
      })
    })
  }

  isLate(): void {}

  abandon(): void {
    this.#end()
  }

  fail(code: string): void {
    this.#end()?.exchangeEnded({ kind: 'unreachable', code, wasProven: false })
  }

  #received(message: Buffer): void {
    if (this.#listener === undefined) return
    const { counts } = this.#exchanger.parts
    const response = matchingResponse(message, this.#question, this.#id, counts)
    if (response !== undefined && this.#isSpelledAsSent(message)) {
      this.#end()?.exchangeEnded({ kind: 'response', response })
      return
    }
    if (response !== undefined) counts.mismatched++
    if (++this.#mismatches >= MISMATCHES_MAX) this.fail('FLOODED')
  }

  /** With random case, the name must come back letter by letter as it was sent. */
  #isSpelledAsSent(message: Buffer): boolean {
    if (!this.#exchanger.settings.randomCase) return true
    const end = HEADER_OCTETS + this.#question.name.length
    if (readUint16(message, QDCOUNT_AT) === 0) return true
    return message.compare(this.#query, HEADER_OCTETS, end, HEADER_OCTETS, end) === 0
  }

  #end(): ExchangeListener | undefined {
    const listener = this.#listener
    if (listener === undefined) return undefined
    this.#listener = undefined
    this.#closed()
    this.#socket.close()
    return listener
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
