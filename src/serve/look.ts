/** What would become of a question, for operators who look: by the same rules as `resolve.ts`, and without leaving a trace. */

import { Freshness, freshnessOf, isDueForPrefetch } from '../dns/cache/freshness.ts'
import { keyOf } from '../dns/cache/key.ts'
import type { RouteTable } from '../dns/policy/route.ts'
import { specialAnswer } from '../dns/policy/special-names.ts'
import type { Name } from '../dns/wire/name.ts'
import { TTLS_AS_THEY_ARE } from '../dns/wire/response.ts'
import type { UpstreamQuestion } from '../dns/wire/upstream-query.ts'
import type { CacheEntry } from './cache/record-cache-entry.ts'
import { type Refreshes, STALE_RECHECK_SECONDS } from './refreshes.ts'
import { cachedResolution, denial, local, type Resolution, refusal, staleResolution } from './resolution.ts'
import type { ResolveParts, Route } from './resolve-parts.ts'

/** What would become of a question: see `lookAt`. */
export type Look = KnownLook | ForwardLook

interface Looked {
  /** The zones of routes that hold the name, the longest first: that one decides. */
  readonly matches: readonly (readonly [zone: Name, route: Route])[]
}

/** Answered here at once. */
export interface KnownLook extends Looked {
  readonly kind: 'no-route' | 'zone' | 'special' | 'short-cut'
  readonly resolution: Resolution
  /** Of a short cut: the zone in which the name cannot exist. */
  readonly denying?: Name
}

/** Answered from the record cache or by an upstream. */
export interface ForwardLook extends Looked {
  readonly kind: 'forward'
  readonly kept: CacheEntry | undefined
  readonly freshness: Freshness
  /** What the record cache would answer, at once or, `isAsked`, if no upstream has a better answer in time. */
  readonly resolution: Resolution | undefined
  /** Whether an upstream would be asked before the client is answered. */
  readonly isAsked: boolean
  readonly isPrefetchDue: boolean
  /** A refresh of what is kept is under way. */
  readonly isRefreshing: boolean
  readonly secondsSinceFailedRefresh: number | undefined
}

/** What would become of a question now. Asks, counts and marks nothing. */
export function lookAt(
  question: UpstreamQuestion,
  routes: RouteTable<Route>,
  parts: ResolveParts,
  refreshes: Refreshes,
): Look {
  const { recordCache, serveStale, prefetch, limits } = parts
  const matches = routes.matches(question.name)
  const route = matches[0]?.[1]
  const known = (kind: KnownLook['kind'], resolution: Resolution): KnownLook => ({ matches, kind, resolution })
  if (route === undefined) return known('no-route', refusal(question))
  if (route.kind === 'zone') {
    return known('zone', { answer: route.answer(question, 0), ttls: TTLS_AS_THEY_ARE, source: 'clusterset' })
  }
  if (route.kind === 'special') return known('special', local(specialAnswer(question, route.special)))
  const denying = parts.zoneOfImpossibleSearchName(question.name)
  if (denying !== undefined) return { ...known('short-cut', denial(question, denying, limits)), denying }

  const now = parts.nowSeconds()
  const key = keyOf(route.id, question)
  const kept = recordCache.peek(key)
  const { failedAtSeconds, isUnderWay } = refreshes.peek(key)
  const sinceFailure = now - failedAtSeconds
  const freshness = kept === undefined ? Freshness.Gone : freshnessOf(kept, now, serveStale?.maxStaleSeconds ?? 0)
  const isStale = freshness === Freshness.Stale && kept?.kind !== 'failure'
  let resolution: Resolution | undefined
  if (kept !== undefined && freshness === Freshness.Fresh) resolution = cachedResolution(kept, now, limits, prefetch)
  else if (kept !== undefined && isStale) resolution = staleResolution(kept)
  return {
    matches,
    kind: 'forward',
    kept,
    freshness,
    resolution,
    isAsked: freshness !== Freshness.Fresh && !(isStale && sinceFailure < STALE_RECHECK_SECONDS),
    isPrefetchDue: prefetch && kept !== undefined && kept.kind !== 'failure' && isDueForPrefetch(kept, kept.hits, now),
    isRefreshing: isUnderWay,
    secondsSinceFailedRefresh: Number.isFinite(sinceFailure) ? sinceFailure : undefined,
  }
}
