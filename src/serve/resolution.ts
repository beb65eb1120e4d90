/** What a question comes to: an answer, how its TTLs are told, who said it, and who else may be told the same. */

import type { Answer } from '../dns/answer.ts'
import { renewFromSeconds, STALE_TTL_SECONDS } from '../dns/cache/freshness.ts'
import type { AnswerKind, LifetimeLimits } from '../dns/cache/lifetime.ts'
import { authoredAnswer, authoredDenial } from '../dns/wire/authored.ts'
import { type ExtendedError, ExtendedErrorCode } from '../dns/wire/edns.ts'
import { Rcode } from '../dns/wire/header.ts'
import type { Name } from '../dns/wire/name.ts'
import type { Question } from '../dns/wire/query.ts'
import { TTLS_AS_THEY_ARE, type TtlView } from '../dns/wire/response.ts'
import type { UpstreamResponse } from '../dns/wire/upstream-response.ts'
import type { CacheEntry } from './cache/record-cache-entry.ts'
import type { ForwardResult } from './forward/forwarder-contract.ts'

/** Who said it: the `plugin` label of the response metrics. */
export type AnswerSource = '' | 'clusterset' | 'cache' | 'forward' | 'local'

export interface Resolution {
  readonly answer: Answer
  readonly ttls: TtlView
  readonly source: AnswerSource
  /** Whether and how long everybody who asks the same may be told the same; undefined: only this once. */
  readonly sharing?: Sharing
}

/** Seconds on the clock of `ResolveParts.nowSeconds`. */
export interface Sharing {
  readonly keptAtSeconds: number
  readonly freshUntilSeconds: number
  /** Infinity: never ahead of its end. */
  readonly renewFromSeconds: number
  /** A name error or no data. */
  readonly isDenial: boolean
}

/** Seconds that what we say ourselves may be shared: a changed zone takes it back at once, this bounds the age of its SOA. */
const OWN_SHARED_SECONDS = 30

/** Rcodes above this need an OPT to be told. */
const HEADER_RCODE_MAX = 15

const NO_ROUTE: readonly ExtendedError[] = [{ code: ExtendedErrorCode.Other, text: 'no upstream for this name' }]
const STALE: ExtendedError = { code: ExtendedErrorCode.StaleAnswer, text: '' }
const STALE_NAME_ERROR: ExtendedError = { code: ExtendedErrorCode.StaleNameError, text: '' }
const CACHED_ERROR: ExtendedError = { code: ExtendedErrorCode.CachedError, text: '' }
const STALE_TTLS: TtlView = { ageSeconds: 0, minSeconds: STALE_TTL_SECONDS, maxSeconds: STALE_TTL_SECONDS }

/** What we say ourselves. */
export function local(answer: Answer): Resolution {
  return { answer, ttls: TTLS_AS_THEY_ARE, source: 'local' }
}

/** No route leads to the name. */
export function refusal(question: Question): Resolution {
  return local(authoredAnswer(question, Rcode.Refused, [], NO_ROUTE))
}

/** A name that cannot exist in the zone `denying`. */
export function denial(question: Question, denying: Name, limits: LifetimeLimits): Resolution {
  return local(authoredDenial(question, Rcode.NxDomain, denying, limits.maxNegativeTtlSeconds))
}

/** Of what we say ourselves and may say to others. */
export function ownSharing(nowSeconds: number): Sharing {
  return {
    keptAtSeconds: nowSeconds,
    freshUntilSeconds: nowSeconds + OWN_SHARED_SECONDS,
    renewFromSeconds: Number.POSITIVE_INFINITY,
    isDenial: false,
  }
}

/** What is kept and fresh; `isRenewed`: it may be fetched anew before its end. */
export function cachedResolution(
  kept: CacheEntry,
  nowSeconds: number,
  limits: LifetimeLimits,
  isRenewed: boolean,
): Resolution {
  const age = Math.max(0, Math.floor(nowSeconds - kept.keptAtSeconds))
  const answer = kept.kind === 'failure' ? withError(kept.answer, CACHED_ERROR) : kept.answer
  const sharing: Sharing = {
    keptAtSeconds: kept.keptAtSeconds,
    freshUntilSeconds: kept.keptAtSeconds + kept.lifetimeSeconds,
    renewFromSeconds: isRenewed && kept.kind !== 'failure' ? renewFromSeconds(kept) : Number.POSITIVE_INFINITY,
    isDenial: kept.kind !== 'positive',
  }
  return { answer, ttls: ttlView(kept.kind, kept.lifetimeSeconds, age, limits), source: 'cache', sharing }
}

/** How the TTLs of an upstream's answer are told. */
export function ttlView(
  kind: AnswerKind,
  lifetimeSeconds: number,
  ageSeconds: number,
  { minTtlSeconds, maxTtlSeconds }: LifetimeLimits,
): TtlView {
  return kind === 'positive'
    ? { ageSeconds, minSeconds: minTtlSeconds, maxSeconds: maxTtlSeconds }
    : { ageSeconds, minSeconds: 0, maxSeconds: lifetimeSeconds }
}

function withError(answer: Answer, error: ExtendedError): Answer {
  return { ...answer, extendedErrors: [...answer.extendedErrors, error] }
}

/** What is kept, beyond its lifetime (RFC 8767). */
export function staleResolution(kept: CacheEntry): Resolution {
  const error = kept.rcode !== Rcode.NxDomain ? STALE : STALE_NAME_ERROR
  return {
    answer: withError(kept.answer, error),
    ttls: STALE_TTLS,
    source: 'cache',
  }
}

/** What a response says to the client. */
export function answerFor(question: Question, response: UpstreamResponse): Answer {
  const { rcode, answer } = response
  // BADVERS, BADCOOKIE and their like are between us and the upstream (RFC 6891 section 6.1.3): to a client they would lie about us.
  if (rcode > HEADER_RCODE_MAX) return authoredAnswer(question, Rcode.ServFail, [], answer.extendedErrors)
  // Some upstreams leave the question out of a refusal; the client gets it all the same.
  return response.question === undefined ? authoredAnswer(question, rcode, [], answer.extendedErrors) : answer
}

/** Whether a stale answer is better than this: no response, or one that says nothing about the name. */
export function isFailure(result: ForwardResult): boolean {
  if (result.kind === 'failure') return true
  const { rcode } = result.response
  return rcode !== Rcode.NoError && rcode !== Rcode.NxDomain
}

/** Why no upstream answered. */
export function failureError(failure: Extract<ForwardResult, { kind: 'failure' }>): ExtendedError {
  switch (failure.reason) {
    case 'timeout':
      return { code: ExtendedErrorCode.NoReachableAuthority, text: 'upstream timed out' }
    case 'unreachable':
      return { code: ExtendedErrorCode.NetworkError, text: 'upstream unreachable' }
    case 'overloaded':
      return { code: ExtendedErrorCode.Other, text: 'too many queries under way' }
    case 'no-upstreams':
      return { code: ExtendedErrorCode.NoReachableAuthority, text: 'no upstream configured' }
  }
}
