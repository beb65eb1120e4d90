/** Of a forwarded name: what is kept of it, who would be asked, and the response that is known already. */

import type { Config } from '../../config/config.ts'
import { Freshness, freshnessOf } from '../../dns/cache/freshness.ts'
import { keyOf } from '../../dns/cache/key.ts'
import { FLAGS_AT, Flag, rcodeName, readUint16 } from '../../dns/wire/header.ts'
import type { Query } from '../../dns/wire/query.ts'
import { messageText } from '../../dns/wire/record-text.ts'
import { responseTo, TCP_OCTETS_MAX, udpOctetsMax } from '../../dns/wire/response.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { RecordCache } from '../../serve/cache/record-cache.ts'
import type { CacheEntry } from '../../serve/cache/record-cache-entry.ts'
import type { UpstreamStatus } from '../../serve/forward/upstream-status.ts'
import type { ForwardLook } from '../../serve/look.ts'
import type { Resolution } from '../../serve/resolution.ts'
import type { FollowedGroup } from '../upstreams.ts'
import type {
  ExplainedEntry,
  ExplainedRecordCache,
  ExplainedResponse,
  ExplainedUpstream,
  ExplainedUpstreams,
} from './explanation.ts'
import { rounded } from './rounded.ts'

/** Records of one section, or one rrset, that are told. */
export const RECORDS_TOLD_MAX = 50

export interface CacheParts {
  readonly recordCache: RecordCache
  config(): Config
  nowSeconds(): number
}

export function explainRecordCache(
  question: UpstreamQuestion,
  look: ForwardLook,
  parts: CacheParts,
): ExplainedRecordCache {
  const { serveStale } = parts.config().cache
  const isStaleLater = look.isAsked && look.resolution !== undefined
  return {
    entry: look.kept === undefined ? null : explainEntry(question, look.kept, parts),
    isUpstreamAsked: look.isAsked,
    staleAfterMs: isStaleLater ? serveStale.clientTimeoutMs : null,
    isPrefetchDue: look.isPrefetchDue,
    isRefreshing: look.isRefreshing,
    failedRefreshSecondsAgo:
      look.secondsSinceFailedRefresh === undefined ? null : rounded(look.secondsSinceFailedRefresh),
    others: othersOf(question, look, parts),
  }
}

const BITS = [false, true]

/** The seven other combinations of bits, those of them that are kept. */
function othersOf(question: UpstreamQuestion, { matches }: ForwardLook, parts: CacheParts): ExplainedEntry[] {
  const route = matches[0]![1]
  if (route.kind !== 'forward') return []
  const own = keyOf(route.id, question)
  return BITS.flatMap((recursionDesired) =>
    BITS.flatMap((dnssecOk) =>
      BITS.flatMap((checkingDisabled) => {
        const other = { ...question, recursionDesired, dnssecOk, checkingDisabled }
        const key = keyOf(route.id, other)
        const kept = key === own ? undefined : parts.recordCache.peek(key)
        return kept === undefined ? [] : [explainEntry(other, kept, parts)]
      }),
    ),
  )
}

const FRESHNESS_NAMES = { [Freshness.Fresh]: 'fresh', [Freshness.Stale]: 'stale', [Freshness.Gone]: 'gone' } as const

function explainEntry(
  { recursionDesired, dnssecOk, checkingDisabled }: UpstreamQuestion,
  kept: CacheEntry,
  parts: CacheParts,
): ExplainedEntry {
  const { serveStale } = parts.config().cache
  // Failures are remembered longer than they serve, and never served stale.
  const staleSeconds = serveStale.enabled && kept.kind !== 'failure' ? serveStale.maxStaleSeconds : 0
  const now = parts.nowSeconds()
  const ageSeconds = now - kept.keptAtSeconds
  return {
    recursionDesired,
    dnssecOk,
    checkingDisabled,
    kind: kept.kind,
    rcode: rcodeName(kept.rcode),
    freshness: FRESHNESS_NAMES[freshnessOf(kept, now, staleSeconds)],
    ageSeconds: rounded(ageSeconds),
    ttlLeftSeconds: rounded(kept.lifetimeSeconds - ageSeconds),
    staleLeftSeconds: rounded(Math.min(staleSeconds, kept.lifetimeSeconds + staleSeconds - ageSeconds)),
    hits: kept.hits,
    upstream: kept.upstream,
    octets: kept.octets,
  }
}

export function explainUpstreams(followed: FollowedGroup, question: UpstreamQuestion): ExplainedUpstreams {
  const { order, passedOver, waiters, isFull } = followed.group.lookAt(question)
  return {
    configured: followed.route.upstreams,
    transport: followed.transport,
    waiters,
    isFull,
    order: order.map(({ status, isAmongFirst }) => explainUpstream(status, isAmongFirst)),
    passedOver: passedOver.map((status) => explainUpstream(status, false)),
  }
}

function explainUpstream(status: UpstreamStatus, isAmongFirst: boolean): ExplainedUpstream {
  const { roundTripMs, answeredMsAgo } = status
  return {
    to: status.to,
    isHealthy: status.isHealthy,
    isAmongFirst,
    roundTripMs: roundTripMs === undefined ? null : rounded(roundTripMs),
    answeredSecondsAgo: answeredMsAgo === undefined ? null : rounded(answeredMsAgo / 1000),
    inFlight: status.inFlight,
    openConnections: status.openConnections,
    isWithoutEdns: status.isWithoutEdns,
    requests: status.requests,
    timeouts: status.timeouts,
    unreachable: status.unreachable,
  }
}

/** What a client is sent for a resolution; `query` has an OPT of the largest UDP payload that there is. */
export function explainResponse(query: Query, { answer, ttls }: Resolution): ExplainedResponse {
  const whole = { octetsMax: TCP_OCTETS_MAX, keepaliveDeciseconds: undefined }
  const plain: Query = { ...query, edns: undefined }
  const response = responseTo(plain, answer, ttls, whole)
  const isTruncated = (asked: Query): boolean => {
    const limits = { ...whole, octetsMax: udpOctetsMax(asked.edns) }
    return (readUint16(responseTo(asked, answer, ttls, limits), FLAGS_AT) & Flag.Truncated) !== 0
  }
  return {
    ...receivedResponse(response),
    rcode: rcodeName(answer.rcode),
    isTruncated: { plain: isTruncated(plain), edns: isTruncated(query) },
    extendedErrors: answer.extendedErrors,
  }
}

/** What the bytes of a response say; of its rcode what stands in the header. */
export function receivedResponse(response: Uint8Array): Omit<ExplainedResponse, 'isTruncated' | 'extendedErrors'> {
  const flags = readUint16(response, FLAGS_AT)
  return {
    rcode: rcodeName(flags & Flag.RcodeMask),
    flags: FLAG_NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name),
    octets: response.length,
    ...messageText(response, RECORDS_TOLD_MAX),
  }
}

const FLAG_NAMES = [
  [Flag.Response, 'qr'],
  [Flag.Authoritative, 'aa'],
  [Flag.Truncated, 'tc'],
  [Flag.RecursionDesired, 'rd'],
  [Flag.RecursionAvailable, 'ra'],
  [Flag.AuthenticData, 'ad'],
  [Flag.CheckingDisabled, 'cd'],
] as const
