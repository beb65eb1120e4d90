/**
 * A question to an answer: route, then record cache, then the zone or an upstream.
 *
 * What is known already is answered in the same turn; only a forward makes a promise. Nothing here knows a socket, a
 * message to a client, or the time of day: all of it is handed in.
 */

import type { Answer } from '../dns/answer.ts'
import {
  Freshness,
  freshnessOf,
  isDueForPrefetch,
  renewFromSeconds,
  STALE_TTL_SECONDS,
} from '../dns/cache/freshness.ts'
import { type CacheKey, keyOf } from '../dns/cache/key.ts'
import { failureSeconds, type LifetimeLimits, lifetimeOf } from '../dns/cache/lifetime.ts'
import type { RouteTable } from '../dns/policy/route.ts'
import { type SpecialName, specialAnswer } from '../dns/policy/special-names.ts'
import { authoredAnswer, authoredDenial } from '../dns/wire/authored.ts'
import { type ExtendedError, ExtendedErrorCode } from '../dns/wire/edns.ts'
import { Rcode } from '../dns/wire/header.ts'
import type { Name } from '../dns/wire/name.ts'
import type { Question } from '../dns/wire/query.ts'
import { RecordType } from '../dns/wire/record-type.ts'
import { TTLS_AS_THEY_ARE, type TtlView } from '../dns/wire/response.ts'
import type { UpstreamQuestion } from '../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../dns/wire/upstream-response.ts'
import type { CacheEntry, RecordCache } from './cache/record-cache.ts'
import type { ForwardResult, UpstreamGroup } from './forward/forwarder-contract.ts'

/** Where a question may go. `label` is the zone as metrics name it, with its last dot. */
export type Route =
  /** `rotation`: which record comes first, for who only looks; left out, the answers take turns. */
  | { readonly kind: 'zone'; readonly label: string; answer(question: Question, rotation?: number): Answer }
  | { readonly kind: 'forward'; readonly label: string; readonly id: number; readonly upstreams: UpstreamGroup }
  | { readonly kind: 'special'; readonly label: string; readonly special: SpecialName }

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

/** Who asks: told the resolution or the failure, exactly one of them once, perhaps before `resolve` returns. */
export interface ResolveListener {
  resolved(resolution: Resolution): void
  /** We are wrong: an exception on the way. */
  failed(error: unknown): void
  // What happened on the way, to be counted.
  cacheHit(kind: 'success' | 'denial'): void
  cacheMiss(): void
  staleServed(): void
  prefetched(): void
}

/** What would become of a question: see `Resolver.lookAt`. */
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

export interface ResolveParts {
  readonly recordCache: RecordCache
  readonly limits: LifetimeLimits
  /** Undefined: stale answers are never served. */
  readonly serveStale: { readonly maxStaleSeconds: number; readonly clientTimeoutMs: number } | undefined
  readonly prefetch: boolean
  /** The zone in which the name can only be a search suffix put behind a clusterset name; told NXDOMAIN here. */
  zoneOfImpossibleSearchName(name: Name): Name | undefined
  /** Such a name was asked for. */
  onShortCut?(): void
  nowSeconds(): number
  /** What was told of a question before is replaced by a newer answer. */
  onRenewed?(question: Question): void
  /** An exception in a refresh that no client waits for. */
  onPanic(error: unknown, question: Question): void
  /** Calls back once after `delayMs`; the function returned cancels that. */
  after(delayMs: number, call: () => void): () => void
}

/** RFC 8767 section 5: after a failed refresh a stale answer is served for this long before another is tried. */
export const STALE_RECHECK_SECONDS = 30

/** Rcodes above this need an OPT to be told. */
const HEADER_RCODE_MAX = 15

const NO_ROUTE: readonly ExtendedError[] = [{ code: ExtendedErrorCode.Other, text: 'no upstream for this name' }]
const STALE: ExtendedError = { code: ExtendedErrorCode.StaleAnswer, text: '' }
const STALE_NAME_ERROR: ExtendedError = { code: ExtendedErrorCode.StaleNameError, text: '' }
const CACHED_ERROR: ExtendedError = { code: ExtendedErrorCode.CachedError, text: '' }
const STALE_TTLS: TtlView = { ageSeconds: 0, minSeconds: STALE_TTL_SECONDS, maxSeconds: STALE_TTL_SECONDS }

/** When the last refresh of a stale entry failed, and whether one is under way. Kept beside the cache: few are stale. */
interface Refresh {
  failedAtSeconds: number
  isUnderWay: boolean
}

const NO_REFRESH: Readonly<Refresh> = { failedAtSeconds: Number.NEGATIVE_INFINITY, isUnderWay: false }

/** Stale entries whose refresh is remembered; beyond it the oldest is forgotten and simply tried again. */
const REFRESHES_MAX = 10_000

export class Resolver {
  readonly #parts: ResolveParts
  readonly #routes: RouteTable<Route>
  readonly #refreshes = new Map<CacheKey, Refresh>()

  constructor(routes: RouteTable<Route>, parts: ResolveParts) {
    this.#routes = routes
    this.#parts = parts
  }

  /** The route of a name; undefined where the configuration has none. */
  routeOf(name: Name): Route | undefined {
    return this.#routes.find(name)
  }

  /** The answer to a question, from the nearest place that has one. Throws nothing. */
  resolve(question: UpstreamQuestion, route: Route | undefined, listener: ResolveListener): void {
    let resolution: Resolution | undefined
    try {
      resolution = this.#atOnce(question, route, listener)
    } catch (error) {
      listener.failed(error)
      return
    }
    if (resolution !== undefined) listener.resolved(resolution)
  }

  /** What is known already; undefined where the listener is told later. */
  #atOnce(question: UpstreamQuestion, route: Route | undefined, listener: ResolveListener): Resolution | undefined {
    if (route === undefined) return local(authoredAnswer(question, Rcode.Refused, [], NO_ROUTE))
    if (route.kind === 'zone') return this.#fromZone(question, route)
    if (route.kind === 'special') return local(specialAnswer(question, route.special))
    const denying = this.#parts.zoneOfImpossibleSearchName(question.name)
    if (denying !== undefined) {
      this.#parts.onShortCut?.()
      return { ...this.#shortCut(question, denying), sharing: this.#ownSharing() }
    }
    const key = keyOf(route.id, question)
    const kept = this.#parts.recordCache.find(key)
    if (kept !== undefined) {
      const now = this.#parts.nowSeconds()
      const freshness = freshnessOf(kept, now, this.#parts.serveStale?.maxStaleSeconds ?? 0)
      if (freshness === Freshness.Fresh) {
        listener.cacheHit(kept.kind === 'positive' ? 'success' : 'denial')
        this.#prefetchIfDue(key, kept, question, route, now, listener)
        return this.#fromCache(kept, now)
      }
      if (freshness === Freshness.Stale && kept.kind !== 'failure') {
        return this.#staleOrFresh(key, kept, question, route, listener)
      }
    }
    listener.cacheMiss()
    route.upstreams.forward(question, (result) => {
      let resolution: Resolution
      try {
        resolution = this.#learn(key, question, route, result)
      } catch (error) {
        listener.failed(error)
        return
      }
      listener.resolved(resolution)
    })
    return undefined
  }

  /** RFC 8767 section 5: the upstream has `clientTimeoutMs` to be better than the stale answer. */
  #staleOrFresh(
    key: CacheKey,
    kept: CacheEntry,
    question: UpstreamQuestion,
    route: Route & { kind: 'forward' },
    listener: ResolveListener,
  ): Resolution | undefined {
    const refresh = this.#refreshOf(key)
    const stale = (): Resolution => {
      listener.staleServed()
      return staleResolution(kept)
    }
    if (this.#parts.nowSeconds() - refresh.failedAtSeconds < STALE_RECHECK_SECONDS) {
      listener.cacheHit(kept.kind === 'positive' ? 'success' : 'denial')
      return stale()
    }
    listener.cacheMiss()
    let isSettled = false
    const cancel = this.#parts.after(this.#parts.serveStale?.clientTimeoutMs ?? 0, () => {
      isSettled = true
      listener.resolved(stale())
    })
    this.#refresh(key, question, route, refresh, (resolution, error) => {
      if (isSettled) {
        // Whoever waited has the stale answer already.
        if (error !== undefined) this.#parts.onPanic(error, question)
        return
      }
      cancel()
      if (error !== undefined) listener.failed(error)
      else listener.resolved(resolution ?? stale())
    })
    return undefined
  }

  /** Asks anew for what is kept. `done` is told what is better than that, nothing, or our own mistake. */
  #refresh(
    key: CacheKey,
    question: UpstreamQuestion,
    route: Route & { kind: 'forward' },
    refresh: Refresh,
    done: (resolution: Resolution | undefined, error?: unknown) => void,
  ): void {
    refresh.isUnderWay = true
    route.upstreams.forward(question, (result) => {
      let resolution: Resolution | undefined
      try {
        refresh.isUnderWay = false
        if (isFailure(result)) {
          this.#rememberFailure(refresh, result)
        } else {
          this.#refreshes.delete(key)
          resolution = this.#learn(key, question, route, result)
          this.#parts.onRenewed?.(question)
        }
      } catch (error) {
        this.#refreshes.delete(key)
        done(undefined, error)
        return
      }
      done(resolution)
    })
  }

  #prefetchIfDue(
    key: CacheKey,
    kept: CacheEntry,
    question: UpstreamQuestion,
    route: Route & { kind: 'forward' },
    now: number,
    listener: ResolveListener,
  ): void {
    if (!this.#parts.prefetch || kept.kind === 'failure' || !isDueForPrefetch(kept, kept.hits, now)) return
    const refresh = this.#refreshOf(key)
    if (refresh.isUnderWay || now - refresh.failedAtSeconds < 1) return
    listener.prefetched()
    this.#refresh(key, question, route, refresh, (_resolution, error) => {
      if (error !== undefined) this.#parts.onPanic(error, question)
    })
  }

  #rememberFailure(refresh: Refresh, result: ForwardResult): void {
    // Too much at once is our own trouble and over as soon as the load is: it must not put the next try off.
    if (result.kind === 'failure' && result.reason === 'overloaded') return
    refresh.failedAtSeconds = this.#parts.nowSeconds()
  }

  #refreshOf(key: CacheKey): Refresh {
    let refresh = this.#refreshes.get(key)
    if (refresh === undefined) {
      if (this.#refreshes.size >= REFRESHES_MAX) this.#refreshes.delete(this.#refreshes.keys().next().value!)
      refresh = { failedAtSeconds: Number.NEGATIVE_INFINITY, isUnderWay: false }
      this.#refreshes.set(key, refresh)
    }
    return refresh
  }

  /** Keeps what an upstream said and tells it on. */
  #learn(
    key: CacheKey,
    question: UpstreamQuestion,
    route: Route & { kind: 'forward' },
    result: ForwardResult,
  ): Resolution {
    const { recordCache, limits, serveStale } = this.#parts
    const now = this.#parts.nowSeconds()
    if (result.kind === 'failure') {
      const answer = authoredAnswer(question, Rcode.ServFail, [], [failureError(result)])
      // Too much at once is our own trouble and over as soon as the load is.
      if (result.reason !== 'overloaded') this.#keepFailure(key, answer, route, '', now)
      return { answer, ttls: TTLS_AS_THEY_ARE, source: 'forward' }
    }
    const { response, upstream } = result
    const lifetime = lifetimeOf(response, limits)
    const answer = answerFor(question, response)
    if (lifetime.kind === 'failure' && lifetime.seconds > 0) {
      this.#keepFailure(key, answer, route, upstream, now)
      return { answer, ttls: this.#view(lifetime.kind, lifetime.seconds, 0), source: 'forward' }
    }
    if (lifetime.seconds > 0) {
      recordCache.keep(
        {
          key,
          answer,
          kind: lifetime.kind,
          upstream,
          route: route.id,
          keptAtSeconds: now,
          lifetimeSeconds: lifetime.seconds,
        },
        lifetime.seconds + (serveStale?.maxStaleSeconds ?? 0),
      )
    } else if (!response.isTruncated) {
      // It may not be kept, but it is newer than what is: that must not come back as a stale answer (RFC 8767 section 4).
      recordCache.forget(key)
    }
    return { answer, ttls: this.#view(lifetime.kind, lifetime.seconds, 0), source: 'forward' }
  }

  /** RFC 9520 section 3: a failure is remembered for seconds that double from one to the next. */
  #keepFailure(key: CacheKey, answer: Answer, route: Route & { kind: 'forward' }, upstream: string, now: number): void {
    const before = this.#parts.recordCache.peek(key)
    if (before !== undefined && before.kind !== 'failure') {
      const freshness = freshnessOf(before, now, this.#parts.serveStale?.maxStaleSeconds ?? 0)
      if (freshness !== Freshness.Gone) return
    }
    const seconds = failureSeconds(before?.kind === 'failure' ? before.lifetimeSeconds : 0)
    this.#parts.recordCache.keep(
      { key, answer, kind: 'failure', upstream, route: route.id, keptAtSeconds: now, lifetimeSeconds: seconds },
      // Remembered a little longer than it serves, so that the next failure knows of this one.
      seconds * 2,
    )
  }

  /**
   * Asks anew for what the workers answer so often that it should not come to its end; they see the hits, not we. What is
   * under way, or has just failed, is left alone.
   */
  renew(question: UpstreamQuestion, listener: Pick<ResolveListener, 'prefetched'>): void {
    const route = this.#routes.find(question.name)
    if (route?.kind !== 'forward' || !this.#parts.prefetch) return
    const key = keyOf(route.id, question)
    // Marks it as asked for.
    this.#parts.recordCache.find(key)
    const refresh = this.#refreshOf(key)
    if (refresh.isUnderWay || this.#parts.nowSeconds() - refresh.failedAtSeconds < 1) return
    listener.prefetched()
    this.#refresh(key, question, route, refresh, (_resolution, error) => {
      if (error !== undefined) this.#parts.onPanic(error, question)
    })
  }

  /** What would become of a question now. Asks, counts and marks nothing: for operators who look. */
  lookAt(question: UpstreamQuestion): Look {
    const { recordCache, serveStale, zoneOfImpossibleSearchName } = this.#parts
    const matches = this.#routes.matches(question.name)
    const route = matches[0]?.[1]
    const known = (kind: KnownLook['kind'], resolution: Resolution): KnownLook => ({ matches, kind, resolution })
    if (route === undefined) return known('no-route', local(authoredAnswer(question, Rcode.Refused, [], NO_ROUTE)))
    if (route.kind === 'zone') {
      return known('zone', { answer: route.answer(question, 0), ttls: TTLS_AS_THEY_ARE, source: 'clusterset' })
    }
    if (route.kind === 'special') return known('special', local(specialAnswer(question, route.special)))
    const denying = zoneOfImpossibleSearchName(question.name)
    if (denying !== undefined) return { ...known('short-cut', this.#shortCut(question, denying)), denying }

    const now = this.#parts.nowSeconds()
    const key = keyOf(route.id, question)
    const kept = recordCache.peek(key)
    const { failedAtSeconds, isUnderWay } = this.#refreshes.get(key) ?? NO_REFRESH
    const sinceFailure = now - failedAtSeconds
    const freshness = kept === undefined ? Freshness.Gone : freshnessOf(kept, now, serveStale?.maxStaleSeconds ?? 0)
    const isStale = freshness === Freshness.Stale && kept?.kind !== 'failure'
    let resolution: Resolution | undefined
    if (kept !== undefined && freshness === Freshness.Fresh) resolution = this.#fromCache(kept, now)
    else if (kept !== undefined && isStale) resolution = staleResolution(kept)
    return {
      matches,
      kind: 'forward',
      kept,
      freshness,
      resolution,
      isAsked: freshness !== Freshness.Fresh && !(isStale && sinceFailure < STALE_RECHECK_SECONDS),
      isPrefetchDue:
        this.#parts.prefetch && kept !== undefined && kept.kind !== 'failure' && isDueForPrefetch(kept, kept.hits, now),
      isRefreshing: isUnderWay,
      secondsSinceFailedRefresh: Number.isFinite(sinceFailure) ? sinceFailure : undefined,
    }
  }

  #shortCut(question: Question, denying: Name): Resolution {
    return local(authoredDenial(question, Rcode.NxDomain, denying, this.#parts.limits.maxNegativeTtlSeconds))
  }

  #fromZone(question: Question, route: Route & { kind: 'zone' }): Resolution {
    const answer = route.answer(question)
    const resolution: Resolution = { answer, ttls: TTLS_AS_THEY_ARE, source: 'clusterset' }
    // What is not known yet may be known to the next; and the serial changes with every change, whatever name it was.
    const isPassing = answer.rcode === Rcode.ServFail || question.type === RecordType.SOA
    return isPassing ? resolution : { ...resolution, sharing: this.#ownSharing() }
  }

  #ownSharing(): Sharing {
    const now = this.#parts.nowSeconds()
    return {
      keptAtSeconds: now,
      freshUntilSeconds: now + OWN_SHARED_SECONDS,
      renewFromSeconds: Number.POSITIVE_INFINITY,
      isDenial: false,
    }
  }

  #fromCache(kept: CacheEntry, now: number): Resolution {
    const age = Math.max(0, Math.floor(now - kept.keptAtSeconds))
    const answer = kept.kind === 'failure' ? withError(kept.answer, CACHED_ERROR) : kept.answer
    const sharing: Sharing = {
      keptAtSeconds: kept.keptAtSeconds,
      freshUntilSeconds: kept.keptAtSeconds + kept.lifetimeSeconds,
      renewFromSeconds:
        this.#parts.prefetch && kept.kind !== 'failure' ? renewFromSeconds(kept) : Number.POSITIVE_INFINITY,
      isDenial: kept.kind !== 'positive',
    }
    return { answer, ttls: this.#view(kept.kind, kept.lifetimeSeconds, age), source: 'cache', sharing }
  }

  #view(kind: CacheEntry['kind'], lifetimeSeconds: number, ageSeconds: number): TtlView {
    const { minTtlSeconds, maxTtlSeconds } = this.#parts.limits
    return kind === 'positive'
      ? { ageSeconds, minSeconds: minTtlSeconds, maxSeconds: maxTtlSeconds }
      : { ageSeconds, minSeconds: 0, maxSeconds: lifetimeSeconds }
  }
}

function local(answer: Answer): Resolution {
  return { answer, ttls: TTLS_AS_THEY_ARE, source: 'local' }
}

function withError(answer: Answer, error: ExtendedError): Answer {
  return { ...answer, extendedErrors: [...answer.extendedErrors, error] }
}

function staleResolution(kept: CacheEntry): Resolution {
  const error = kept.rcode !== Rcode.NxDomain ? STALE : STALE_NAME_ERROR
  return {
    answer: withError(kept.answer, error),
    ttls: STALE_TTLS,
    source: 'cache',
  }
}

/** What a response says to the client. */
function answerFor(question: Question, response: UpstreamResponse): Answer {
  const { rcode, answer } = response
  // BADVERS, BADCOOKIE and their like are between us and the upstream (RFC 6891 section 6.1.3): to a client they would lie about us.
  if (rcode > HEADER_RCODE_MAX) return authoredAnswer(question, Rcode.ServFail, [], answer.extendedErrors)
  // Some upstreams leave the question out of a refusal; the client gets it all the same.
  return response.question === undefined ? authoredAnswer(question, rcode, [], answer.extendedErrors) : answer
}

/** Whether a stale answer is better than this: no response, or one that says nothing about the name. */
function isFailure(result: ForwardResult): boolean {
  if (result.kind === 'failure') return true
  const { rcode } = result.response
  return rcode !== Rcode.NoError && rcode !== Rcode.NxDomain
}

function failureError(failure: Extract<ForwardResult, { kind: 'failure' }>): ExtendedError {
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
