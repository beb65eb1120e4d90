/** The key of a cached answer: the question and every bit of it that may change what an upstream says. */

import type { UpstreamQuestion } from '../wire/upstream-query.ts'

export type CacheKey = string

/**
 * One string per distinct question. `route` keeps answers of different upstreams apart, so that a changed or split
 * route never serves what another one said (RFC 8020 warns of exactly that mix).
 */
export function keyOf(route: number, question: UpstreamQuestion): CacheKey {
  const bits = (question.recursionDesired ? 1 : 0) | (question.checkingDisabled ? 2 : 0) | (question.dnssecOk ? 4 : 0)
  return String.fromCharCode(route, bits, question.type, question.class) + question.name
}

/** What a key was made of, for tools that look into a cache. */
export function partsOfKey(key: CacheKey): { route: number } & UpstreamQuestion {
  const bits = key.charCodeAt(1)
  return {
    route: key.charCodeAt(0),
    recursionDesired: (bits & 1) !== 0,
    checkingDisabled: (bits & 2) !== 0,
    dnssecOk: (bits & 4) !== 0,
    type: key.charCodeAt(2),
    class: key.charCodeAt(3),
    name: key.slice(4),
  }
}
