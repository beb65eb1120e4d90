/** One query to one upstream and what came of it: what every transport has in common. */

import type { Question } from '../../dns/wire/query.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../../dns/wire/upstream-response.ts'

export type UpstreamTransport = 'udp' | 'tcp' | 'tls'

export interface UpstreamAddress {
  /** An IPv4 or IPv6 address; link-local ones with their scope. */
  readonly address: string
  readonly port: number
  /** The name that a TLS certificate must bear; undefined: the address itself. */
  readonly serverName?: string | undefined
}

export type ExchangeResult =
  | { readonly kind: 'response'; readonly response: UpstreamResponse }
  /** The network or the upstream refused; `code` is the system's or ours. */
  | { readonly kind: 'unreachable'; readonly code: string }

/** Ends an exchange that nobody waits for any more. Idempotent. */
export type Cancel = () => void

/** A way of asking one upstream. `done` is called at most once, never after `Cancel`; silence is for the caller to time. */
export interface Exchanger {
  ask(question: UpstreamQuestion, done: (result: ExchangeResult) => void): Cancel
  /** Closes what is open; exchanges under way end as unreachable. */
  stop(): void
}

/** What is counted of exchanges; the metrics room implements it. */
export interface UpstreamObserver {
  exchangeEnded(to: string, transport: UpstreamTransport, rcodeName: string | undefined, seconds: number): void
  healthcheckFailed(to: string): void
  connectionReused(to: string, proto: UpstreamTransport): void
  connectionOpened(to: string, proto: UpstreamTransport): void
}

/** Counts of what is wrong with what upstreams send. */
export interface ExchangeCounts {
  /** Datagrams and messages that answer no question of ours: late, forged or confused (RFC 5452 section 9.1). */
  mismatched: number
  malformed: number
}

/** How an upstream is named in metrics and logs: `10.96.0.11:53`, `[fd00::1]:53`. */
export function upstreamName({ address, port }: UpstreamAddress): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Whether a response is to this question (RFC 5452 section 9.1); a bare refusal may leave the question out. */
export function isResponseTo(response: UpstreamResponse, question: Question): boolean {
  const echoed = response.question
  if (echoed === undefined)
    return response.rcode !== 0 && response.rcode !== 3 && response.answer.ttlOffsets.length === 0
  return echoed.name === question.name && echoed.type === question.type && echoed.class === question.class
}
