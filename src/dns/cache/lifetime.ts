/**
 * Whether an upstream's answer may be kept, and for how long.
 *
 * RFC 2308 (negative answers), RFC 2181 section 5.2 (one TTL per rrset; we take the smallest of all), RFC 9520
 * (failures), RFC 8767 section 4 (how long beyond its end an answer may still serve).
 */

import { Rcode } from '../wire/header.ts'
import type { UpstreamResponse } from '../wire/upstream-response.ts'

export interface LifetimeLimits {
  readonly minTtlSeconds: number
  readonly maxTtlSeconds: number
  readonly maxNegativeTtlSeconds: number
}

export type AnswerKind = 'positive' | 'negative' | 'failure'

export interface Lifetime {
  readonly kind: AnswerKind
  /** Seconds from now during which the answer is fresh; 0: it may not be kept. */
  readonly seconds: number
}

/** RFC 9520 section 3.2 wants one second at least and five minutes at most; a node cannot afford to be wrong for long. */
const FAILURE_SECONDS_MIN = 1
const FAILURE_SECONDS_MAX = 5

/** Seconds to remember a failure, twice those of the one before it (0: none before). */
export function failureSeconds(before: number): number {
  return Math.min(Math.max(FAILURE_SECONDS_MIN, before * 2), FAILURE_SECONDS_MAX)
}

const NOT_KEPT: Lifetime = { kind: 'failure', seconds: 0 }

/** How long a response may be kept. */
export function lifetimeOf(response: UpstreamResponse, limits: LifetimeLimits): Lifetime {
  const { facts, rcode } = response
  // A truncated answer is a promise of another one over TCP, not an answer (RFC 2181 section 9).
  if (response.isTruncated) return NOT_KEPT
  const isAboutName = rcode === Rcode.NoError || rcode === Rcode.NxDomain
  // Some leave the question out of a refusal; what says something about a name has to say which.
  if (isAboutName && response.question === undefined) return NOT_KEPT
  if (rcode === Rcode.NoError && facts.hasAnswer) return positive(facts.ttlSecondsMin ?? 0, limits)
  if (isAboutName) {
    // Without a SOA nobody said how long the name stays away (RFC 2308 section 5). But an alias is a record with a TTL: kube-dns
    // says no more of an ExternalName whose target lacks the asked family, and every Pod asks for both.
    if (facts.negativeTtlSeconds === undefined) {
      if (rcode !== Rcode.NoError || !facts.hasAlias) return NOT_KEPT
      return negative(facts.ttlSecondsMin ?? 0, limits)
    }
    const ttl = Math.min(facts.negativeTtlSeconds, facts.ttlSecondsMin ?? facts.negativeTtlSeconds)
    return negative(ttl, limits)
  }
  return { kind: 'failure', seconds: FAILURE_SECONDS_MIN }
}

function positive(ttl: number, limits: LifetimeLimits): Lifetime {
  return { kind: 'positive', seconds: Math.min(Math.max(ttl, limits.minTtlSeconds), limits.maxTtlSeconds) }
}

function negative(ttl: number, limits: LifetimeLimits): Lifetime {
  return { kind: 'negative', seconds: Math.min(ttl, limits.maxNegativeTtlSeconds, limits.maxTtlSeconds) }
}
