/** What one query to one upstream is, whatever the transport; the door between the forwarder and its sockets. */

import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../../dns/wire/upstream-response.ts'

export type UpstreamTransport = 'udp' | 'tcp' | 'tls'

/** Whose certificates are believed over TLS, one PEM text each, asked for at every connection; none of them: nobody's. */
export type CertificateAuthorities = () => readonly string[]

export interface UpstreamAddress {
  /** An IPv4 or IPv6 address; link-local ones with their scope. */
  readonly address: string
  readonly port: number
  /** The name that a TLS certificate must bear; undefined: the address itself. */
  readonly serverName?: string | undefined
}

/** The scope of a link-local address: what stands behind the `%`. */
export function scopeOf(address: string): string | undefined {
  return address.split('%')[1]
}

/** How an upstream is named in metrics and logs: `10.96.0.11:53`, `[fd00::1]:53`. */
export function upstreamName({ address, port }: UpstreamAddress): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Two upstreams are one when all of this is the same. */
export function upstreamKey(upstream: UpstreamAddress): string {
  return upstream.serverName === undefined ? upstreamName(upstream) : `${upstreamName(upstream)}#${upstream.serverName}`
}

export type ExchangeResult =
  | { readonly kind: 'response'; readonly response: UpstreamResponse }
  /**
   * The kernel, the peer or TLS refused, the connection went away, or what came over it is no answer. `wasProven`: the
   * connection had answered before, so the upstream itself is not to blame and another connection deserves a try at once.
   */
  | { readonly kind: 'unreachable'; readonly code: string; readonly wasProven: boolean }
  /** A limit of ours was reached before anything was sent. */
  | { readonly kind: 'overloaded'; readonly limit: string }

/** Told once how an exchange ended; never from within the call that opened it. */
export interface ExchangeListener {
  exchangeEnded(result: ExchangeResult): void
}

/** An exchange that has not ended. It has no time-out of its own: whoever opened it gives it up. */
export interface OpenExchange {
  /** The response takes longer than expected; it is still welcome. */
  isLate(): void
  /** Nobody wants the response any more; the listener will not be called. */
  abandon(): void
}

/** Sends queries to one upstream over one transport. */
export interface Exchanger {
  open(question: UpstreamQuestion, withEdns: boolean, listener: ExchangeListener): OpenExchange
  readonly openConnections: number
  /** Closes what is idle now and the rest as soon as it is; `isForced` closes all now, pending exchanges end unreachable. */
  close(isForced: boolean): void
}

/** What an exchanger counts beside the results it gives. */
export interface ExchangeCounts {
  /**
   * Messages that answer no question of ours: forged or confused (RFC 5452 section 9.1). Ignored, but for those over TCP
   * with the id of a query of ours: they end it.
   */
  mismatched: number
  /** Messages that are no response or break off. Ignored over UDP, where anybody may send them. */
  malformed: number
  /** Responses to exchanges that were given up. Ignored. */
  late: number
}

/**
 * What is counted of exchanges; the metrics room implements it. Called on the event loop, often: must be cheap, must not
 * throw. A UDP upstream's truncated answers are fetched over `tcp`.
 */
export interface UpstreamObserver {
  /** `rcodeName` undefined: no response came. */
  exchangeEnded(to: string, transport: UpstreamTransport, rcodeName: string | undefined, seconds: number): void
  /** A background probe of a dead upstream had no response. */
  healthcheckFailed(to: string): void
  connectionReused(to: string, proto: UpstreamTransport): void
  connectionOpened(to: string, proto: UpstreamTransport): void
}

/** Where the forwarder tells what an operator wants to know. */
export interface ForwardLog {
  info(event: string, fields: Readonly<Record<string, unknown>>): void
  warn(event: string, fields: Readonly<Record<string, unknown>>): void
  error(event: string, fields: Readonly<Record<string, unknown>>): void
}

export const SILENT_LOG: ForwardLog = { info() {}, warn() {}, error() {} }
