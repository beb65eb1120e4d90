/**
 * A miss in, a response out: accept, resolve, respond, count.
 *
 * Every query that no faster path answered comes here, whatever its transport. Runs on the event loop.
 */

import { type Acceptance, accept } from '../dns/policy/accept.ts'
import { authoredAnswer } from '../dns/wire/authored.ts'
import { type ExtendedError, ExtendedErrorCode } from '../dns/wire/edns.ts'
import { FLAGS_AT, Flag, Rcode, rcodeName, readUint16 } from '../dns/wire/header.ts'
import { textOfName } from '../dns/wire/name.ts'
import type { Query } from '../dns/wire/query.ts'
import { typeName } from '../dns/wire/record-type.ts'
import {
  emptyResponse,
  type ResponseLimits,
  responseTo,
  TCP_OCTETS_MAX,
  TTLS_AS_THEY_ARE,
  udpOctetsMax,
} from '../dns/wire/response.ts'
import { rotateAddresses } from '../dns/wire/rotate.ts'
import type { UpstreamQuestion } from '../dns/wire/upstream-query.ts'
import { type Arrival, Transport } from './query-handler.ts'
import type { AnswerSource, Resolution } from './resolution.ts'
import type { Resolver } from './resolve.ts'
import type { ResolveListener } from './resolve-parts.ts'

/** What is counted of every query. `cell` stands for one pair of server and zone. */
export interface TrafficObserver {
  cellOf(server: string, zone: string): number
  request(cell: number, proto: Transport, family: 0 | 1, type: number, sizeBytes: number, dnssecOk: boolean): void
  response(
    cell: number,
    rcode: number,
    source: AnswerSource,
    seconds: number,
    sizeBytes: number,
    proto: Transport,
  ): void
  cacheHit(cell: number, kind: 'success' | 'denial'): void
  cacheMiss(cell: number): void
  staleServed(cell: number): void
  prefetched(cell: number): void
  truncated(proto: Transport): void
  dropped(reason: string): void
  /** We are wrong: an exception on the way of one query. */
  panicked(): void
}

export interface QueryLog {
  /** `none`, `errors` (SERVFAIL, REFUSED, FORMERR and the like) or `all`. */
  readonly level: 'none' | 'errors' | 'all'
  query(fields: Readonly<Record<string, string | number>>): void
}

export interface SlowPathParts {
  /** The resolver in force; a reload makes a new one. */
  resolver(): Resolver
  readonly traffic: TrafficObserver
  queryLog(): QueryLog
  /** Monotonic, in seconds with fractions. */
  nowSeconds(): number
  /** An exception that one query caused; that query gets SERVFAIL. */
  onPanic(error: unknown, question: string): void
  /** Whether the addresses of upstream answers move on from response to response. */
  rotates(): boolean
  /** Told of every answer that was found, before it is sent. */
  onResolved?(query: Query, resolution: Resolution, zoneLabel: string): void
  /** Idle time-out that a TCP client is told now, in units of 100 ms; 0 asks it to end the connection (RFC 7828 section 3.4). */
  keepaliveDeciseconds(): number
}

const NO_WHOLE_ANSWER: readonly ExtendedError[] = [
  { code: ExtendedErrorCode.NetworkError, text: 'the upstream gave a truncated answer only' },
]

/** The zone label of what never got as far as a zone, as CoreDNS has it. */
const DROPPED_ZONE = 'dropped'

/** A response that is ready, and what is counted of it. */
interface Departure {
  readonly arrival: Arrival
  readonly query: Query | undefined
  readonly response: Buffer
  readonly rcode: number
  readonly source: AnswerSource
  readonly cell: number
  readonly startedAt: number
}

export class SlowPath {
  readonly #parts: SlowPathParts
  #rotation = 0

  constructor(parts: SlowPathParts) {
    this.#parts = parts
  }

  /** The handler of every listener. Throws nothing: what escaped from here would end the process, and the node's DNS with it. */
  readonly handle = (arrival: Arrival): void => {
    const startedAt = this.#parts.nowSeconds()
    let acceptance: Acceptance
    try {
      acceptance = accept(arrival.message)
    } catch (error) {
      this.#panic(error, 'a message that could not be read')
      arrival.drop()
      return
    }
    switch (acceptance.kind) {
      case 'drop':
        this.#parts.traffic.dropped(acceptance.reason)
        arrival.drop()
        return
      case 'refuse':
        this.#refuse(arrival, acceptance, startedAt)
        return
      case 'take':
        this.#take(arrival, acceptance.query, startedAt)
    }
  }

  #take(arrival: Arrival, query: Query, startedAt: number): void {
    try {
      const resolver = this.#parts.resolver()
      const route = resolver.routeOf(query.question.name)
      const zoneLabel = route?.label ?? DROPPED_ZONE
      const cell = this.#parts.traffic.cellOf(arrival.server, zoneLabel)
      this.#countRequest(cell, arrival, query, arrival.message.length)
      const waiting = new WaitingQuery(this, this.#parts, arrival, query, cell, zoneLabel, startedAt)
      resolver.resolve(upstreamQuestionOf(query), route, waiting)
    } catch (error) {
      this.fail(arrival, query, error, startedAt)
    }
  }

  /** A worker tells that what it answers this query with should not come to its end. Throws nothing. */
  renew(message: Uint8Array, server: string): void {
    try {
      const acceptance = accept(message)
      if (acceptance.kind !== 'take') return
      const resolver = this.#parts.resolver()
      const question = upstreamQuestionOf(acceptance.query)
      const label = resolver.routeOf(question.name)?.label ?? DROPPED_ZONE
      const { traffic } = this.#parts
      resolver.renew(question, { prefetched: () => traffic.prefetched(traffic.cellOf(server, label)) })
    } catch (error) {
      this.#panic(error, 'a renewal')
    }
  }

  /** For the queries that wait: sends what was found. */
  respond(arrival: Arrival, query: Query, resolution: Resolution, cell: number, startedAt: number): void {
    const { ttls, source } = resolution
    // Over TCP nobody asks again: part of an answer would be taken for the whole of it.
    const isUseless = arrival.transport === Transport.Tcp && (resolution.answer.flags & Flag.Truncated) !== 0
    const answer = isUseless ? authoredAnswer(query.question, Rcode.ServFail, [], NO_WHOLE_ANSWER) : resolution.answer
    let response: Buffer
    try {
      response = responseTo(query, answer, ttls, this.#limitsOf(arrival, query))
      const isUpstreamAnswer = source === 'cache' || source === 'forward'
      if (isUpstreamAnswer && this.#parts.rotates()) rotateAddresses(response, this.#rotation++)
    } catch (error) {
      this.fail(arrival, query, error, startedAt)
      return
    }
    this.#send({ arrival, query, response, rcode: answer.rcode, source, cell, startedAt })
  }

  #refuse(arrival: Arrival, refusal: Acceptance & { kind: 'refuse' }, startedAt: number): void {
    const { query, edns, rcode } = refusal
    const { traffic } = this.#parts
    const cell = traffic.cellOf(arrival.server, DROPPED_ZONE)
    const octets = arrival.message.length
    traffic.request(cell, arrival.transport, arrival.family, query?.question.type ?? 0, octets, edns?.dnssecOk ?? false)
    const response = emptyResponse(arrival.message, query, edns, rcode)
    this.#send({ arrival, query, response, rcode, source: '', cell, startedAt })
  }

  /** We are wrong: that one query gets SERVFAIL, and the log a stack. */
  fail(arrival: Arrival, query: Query, error: unknown, startedAt: number): void {
    this.#panic(error, questionText(query))
    const answer = authoredAnswer(query.question, Rcode.ServFail, [])
    const response = responseTo(query, answer, TTLS_AS_THEY_ARE, this.#limitsOf(arrival, query))
    const cell = this.#parts.traffic.cellOf(arrival.server, DROPPED_ZONE)
    this.#send({ arrival, query, response, rcode: Rcode.ServFail, source: '', cell, startedAt })
  }

  /** The last step of every query. What goes wrong here may have been sent already: it is told, not answered again. */
  #send({ arrival, query, response, rcode, source, cell, startedAt }: Departure): void {
    const { traffic } = this.#parts
    const { transport } = arrival
    try {
      if (transport === Transport.Udp && (readUint16(response, FLAGS_AT) & Flag.Truncated) !== 0) {
        traffic.truncated(transport)
      }
      arrival.respond(response)
      const seconds = this.#parts.nowSeconds() - startedAt
      traffic.response(cell, rcode, source, seconds, response.length, transport)
      this.#log(arrival, query, rcode, source, seconds, response.length)
    } catch (error) {
      this.#panic(error, query === undefined ? 'a message without a question' : questionText(query))
    }
  }

  #panic(error: unknown, question: string): void {
    this.#parts.traffic.panicked()
    this.#parts.onPanic(error, question)
  }

  #countRequest(cell: number, arrival: Arrival, query: Query, octets: number): void {
    const { type } = query.question
    const dnssecOk = query.edns?.dnssecOk ?? false
    this.#parts.traffic.request(cell, arrival.transport, arrival.family, type, octets, dnssecOk)
  }

  #limitsOf(arrival: Arrival, query: Query): ResponseLimits {
    return arrival.transport === Transport.Udp
      ? { octetsMax: udpOctetsMax(query.edns), keepaliveDeciseconds: undefined }
      : { octetsMax: TCP_OCTETS_MAX, keepaliveDeciseconds: this.#parts.keepaliveDeciseconds() }
  }

  #log(
    arrival: Arrival,
    query: Query | undefined,
    rcode: number,
    source: string,
    seconds: number,
    octets: number,
  ): void {
    const log = this.#parts.queryLog()
    if (log.level === 'none') return
    if (log.level === 'errors' && (rcode === Rcode.NoError || rcode === Rcode.NxDomain)) return
    log.query({
      client: arrival.clientAddress,
      proto: arrival.transport === Transport.Udp ? 'udp' : 'tcp',
      name: query === undefined ? '' : textOfName(query.question.name),
      type: query === undefined ? '' : typeName(query.question.type),
      rcode: rcodeName(rcode),
      source,
      durationMs: Math.round(seconds * 1e6) / 1e3,
      sizeBytes: octets,
    })
  }
}

/** A query that was taken and waits for its answer; counts what happens on the way. */
class WaitingQuery implements ResolveListener {
  readonly #slowPath: SlowPath
  readonly #parts: SlowPathParts
  readonly #arrival: Arrival
  readonly #query: Query
  readonly #cell: number
  readonly #zoneLabel: string
  readonly #startedAt: number

  constructor(
    slowPath: SlowPath,
    parts: SlowPathParts,
    arrival: Arrival,
    query: Query,
    cell: number,
    zoneLabel: string,
    startedAt: number,
  ) {
    this.#slowPath = slowPath
    this.#parts = parts
    this.#arrival = arrival
    this.#query = query
    this.#cell = cell
    this.#zoneLabel = zoneLabel
    this.#startedAt = startedAt
  }

  resolved(resolution: Resolution): void {
    try {
      this.#parts.onResolved?.(this.#query, resolution, this.#zoneLabel)
    } catch (error) {
      this.failed(error)
      return
    }
    this.#slowPath.respond(this.#arrival, this.#query, resolution, this.#cell, this.#startedAt)
  }

  failed(error: unknown): void {
    this.#slowPath.fail(this.#arrival, this.#query, error, this.#startedAt)
  }

  cacheHit(kind: 'success' | 'denial'): void {
    this.#parts.traffic.cacheHit(this.#cell, kind)
  }

  cacheMiss(): void {
    this.#parts.traffic.cacheMiss(this.#cell)
  }

  staleServed(): void {
    this.#parts.traffic.staleServed(this.#cell)
  }

  prefetched(): void {
    this.#parts.traffic.prefetched(this.#cell)
  }
}

/** The part of a query that may change what an upstream says; identical ones share an upstream query and an answer. */
function upstreamQuestionOf(query: Query): UpstreamQuestion {
  const { name, type } = query.question
  return {
    name,
    type,
    class: query.question.class,
    recursionDesired: (query.flags & Flag.RecursionDesired) !== 0,
    checkingDisabled: (query.flags & Flag.CheckingDisabled) !== 0,
    dnssecOk: query.edns?.dnssecOk ?? false,
  }
}

function questionText(query: Query): string {
  return `${textOfName(query.question.name)} ${typeName(query.question.type)}`
}
