/**
 * One try with one upstream, up to three exchanges long.
 *
 *     as it is ---- FORMERR from one that knows no EDNS ----> without OPT
 *        |
 *        `--------- truncated, or its port flooded ---------> over TCP
 */

import { Rcode } from '../../dns/wire/header.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../../dns/wire/upstream-response.ts'
import type { ExchangeListener, ExchangeResult, OpenExchange, UpstreamTransport } from './exchange.ts'

/** Told once how a try ended, unless it was abandoned; never from within `ask`. */
export interface TryListener {
  tryEnded(ended: UpstreamExchange, result: ExchangeResult): void
}

/** What a try needs of its upstream, and what it tells it. */
export interface AskedUpstream {
  readonly to: string
  readonly settings: { readonly transport: UpstreamTransport }
  readonly asksWithEdns: boolean
  nowMs(): number
  /** Opens an exchange over its transport, or over TCP. */
  open(question: UpstreamQuestion, isOverStream: boolean, withEdns: boolean, listener: ExchangeListener): OpenExchange
  exchangeBegan(): void
  /** Nobody waits for the exchange any more. */
  exchangeGivenUp(transport: UpstreamTransport, waitedMs: number): void
  exchangeResponded(
    question: UpstreamQuestion,
    transport: UpstreamTransport,
    response: UpstreamResponse,
    waitedMs: number,
    withEdns: boolean,
    isRetryWithoutEdns: boolean,
  ): void
  exchangeUnreachable(
    transport: UpstreamTransport,
    result: ExchangeResult & { kind: 'unreachable' },
    waitedMs: number,
  ): void
  exchangeOverloaded(): void
  /** A response takes longer than expected. */
  timedOut(waitedMs: number): void
}

export class UpstreamExchange implements ExchangeListener {
  readonly upstream: AskedUpstream
  readonly #question: UpstreamQuestion
  #listener: TryListener | undefined
  #open: OpenExchange
  #sentAtMs: number
  #isOverStream: boolean
  #withEdns: boolean
  #isRetryWithoutEdns = false
  #truncated: UpstreamResponse | undefined

  constructor(upstream: AskedUpstream, question: UpstreamQuestion, listener: TryListener) {
    this.upstream = upstream
    this.#question = question
    this.#listener = listener
    this.#sentAtMs = upstream.nowMs()
    this.#isOverStream = upstream.settings.transport !== 'udp'
    this.#withEdns = upstream.asksWithEdns
    upstream.exchangeBegan()
    this.#open = upstream.open(question, this.#isOverStream, this.#withEdns, this)
  }

  /** The response takes longer than expected; it is still welcome. */
  isLate(): void {
    if (this.#listener === undefined) return
    this.upstream.timedOut(this.#waitedMs())
    this.#open.isLate()
  }

  /** Nobody waits any more; the listener will not be called. */
  abandon(): void {
    if (this.#listener === undefined) return
    this.#listener = undefined
    this.#open.abandon()
    this.upstream.exchangeGivenUp(this.#transport(), this.#waitedMs())
  }

  exchangeEnded(result: ExchangeResult): void {
    const waitedMs = this.#waitedMs()
    switch (result.kind) {
      case 'response':
        this.#responded(result.response, waitedMs)
        return
      case 'unreachable':
        this.upstream.exchangeUnreachable(this.#transport(), result, waitedMs)
        if (result.code === 'FLOODED' && !this.#isOverStream) this.#again(true, this.#withEdns)
        // TCP is refused: a truncated answer tells the client more than none.
        else this.#end(this.#truncated === undefined ? result : { kind: 'response', response: this.#truncated })
        return
      case 'overloaded':
        this.upstream.exchangeOverloaded()
        this.#end(result)
    }
  }

  #responded(response: UpstreamResponse, waitedMs: number): void {
    const transport = this.#transport()
    this.upstream.exchangeResponded(
      this.#question,
      transport,
      response,
      waitedMs,
      this.#withEdns,
      this.#isRetryWithoutEdns,
    )
    if (this.#withEdns && isFormatRefusal(response.rcode) && !knowsEdns(response)) {
      this.#isRetryWithoutEdns = true
      this.#again(this.#isOverStream, false)
    } else if (response.isTruncated && !this.#isOverStream) {
      this.#truncated = response
      this.#again(true, this.#withEdns)
    } else {
      this.#end({ kind: 'response', response })
    }
  }

  #again(isOverStream: boolean, withEdns: boolean): void {
    if (this.#listener === undefined) return
    this.#isOverStream = isOverStream
    this.#withEdns = withEdns
    this.#sentAtMs = this.upstream.nowMs()
    this.upstream.exchangeBegan()
    this.#open = this.upstream.open(this.#question, isOverStream, withEdns, this)
  }

  #end(result: ExchangeResult): void {
    const listener = this.#listener
    this.#listener = undefined
    listener?.tryEnded(this, result)
  }

  #waitedMs(): number {
    return this.upstream.nowMs() - this.#sentAtMs
  }

  #transport(): UpstreamTransport {
    const { transport } = this.upstream.settings
    return transport === 'udp' && this.#isOverStream ? 'tcp' : transport
  }
}

/** What a server says that does not know EDNS. */
export function isFormatRefusal(rcode: number): boolean {
  return rcode === Rcode.FormErr || rcode === Rcode.NotImp || rcode === Rcode.BadVers
}

/** Whoever answers with an OPT knows EDNS, and means the FORMERR; BADVERS can only be said by one who does. */
function knowsEdns(response: UpstreamResponse): boolean {
  return response.edns !== undefined && response.rcode !== Rcode.BadVers
}
