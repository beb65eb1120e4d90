/**
 * A question to an answer: route, then record cache, then the zone or an upstream.
 *
 * What is known already is answered in the same turn; only a forward makes a promise. Nothing here knows a socket, a
 * message to a client, or the time of day: all of it is handed in.
 */

import type { Answer } from '../dns/answer.ts'
import { Freshness, freshnessOf, isDueForPrefetch } from '../dns/cache/freshness.ts'
import { type CacheKey, keyOf } from '../dns/cache/key.ts'
import { failureSeconds, lifetimeOf } from '../dns/cache/lifetime.ts'
import type { RouteTable } from '../dns/policy/route.ts'
import { specialAnswer } from '../dns/policy/special-names.ts'
import { authoredAnswer } from '../dns/wire/authored.ts'
import { Rcode } from '../dns/wire/header.ts'
import type { Name } from '../dns/wire/name.ts'
import type { Question } from '../dns/wire/query.ts'
import { RecordType } from '../dns/wire/record-type.ts'
import { TTLS_AS_THEY_ARE } from '../dns/wire/response.ts'
import type { UpstreamQuestion } from '../dns/wire/upstream-query.ts'
import type { CacheEntry } from './cache/record-cache-entry.ts'
import type { ForwardResult } from './forward/forwarder-contract.ts'
import { type Look, lookAt } from './look.ts'
import { type Refresh, Refreshes, STALE_RECHECK_SECONDS } from './refreshes.ts'
import {
  answerFor,
  cachedResolution,
  denial,
  failureError,
  isFailure,
  local,
  ownSharing,
  type Resolution,
  refusal,
  staleResolution,
  ttlView,
} from './resolution.ts'
import type { ResolveListener, ResolveParts, Route } from './resolve-parts.ts'

export class Resolver {
  readonly #parts: ResolveParts
  readonly #routes: RouteTable<Route>
  readonly #refreshes = new Refreshes()

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
    if (route === undefined) return refusal(question)
    if (route.kind === 'zone') return this.#fromZone(question, route)
    if (route.kind === 'special') return local(specialAnswer(question, route.special))
    const denying = this.#parts.zoneOfImpossibleSearchName(question.name)
    if (denying !== undefined) {
      this.#parts.onShortCut?.()
      return { ...denial(question, denying, this.#parts.limits), sharing: ownSharing(this.#parts.nowSeconds()) }
    }
    const key = keyOf(route.id, question)
    const kept = this.#parts.recordCache.find(key)
    if (kept !== undefined) {
      const now = this.#parts.nowSeconds()
      const freshness = freshnessOf(kept, now, this.#parts.serveStale?.maxStaleSeconds ?? 0)
      if (freshness === Freshness.Fresh) {
        listener.cacheHit(kept.kind === 'positive' ? 'success' : 'denial')
        this.#prefetchIfDue(key, kept, question, route, now, listener)
        return cachedResolution(kept, now, this.#parts.limits, this.#parts.prefetch)
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
    const refresh = this.#refreshes.of(key)
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
          this.#refreshes.forget(key)
          resolution = this.#learn(key, question, route, result)
          this.#parts.onRenewed?.(question)
        }
      } catch (error) {
        this.#refreshes.forget(key)
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
    const refresh = this.#refreshes.of(key)
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
      return { answer, ttls: ttlView(lifetime.kind, lifetime.seconds, 0, limits), source: 'forward' }
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
    return { answer, ttls: ttlView(lifetime.kind, lifetime.seconds, 0, limits), source: 'forward' }
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
    const refresh = this.#refreshes.of(key)
    if (refresh.isUnderWay || this.#parts.nowSeconds() - refresh.failedAtSeconds < 1) return
    listener.prefetched()
    this.#refresh(key, question, route, refresh, (_resolution, error) => {
      if (error !== undefined) this.#parts.onPanic(error, question)
    })
  }

  /** What would become of a question now: for operators. */
  lookAt(question: UpstreamQuestion): Look {
    return lookAt(question, this.#routes, this.#parts, this.#refreshes)
  }

  #fromZone(question: Question, route: Route & { kind: 'zone' }): Resolution {
    const answer = route.answer(question)
    const resolution: Resolution = { answer, ttls: TTLS_AS_THEY_ARE, source: 'clusterset' }
    // What is not known yet may be known to the next; and the serial changes with every change, whatever name it was.
    const isPassing = answer.rcode === Rcode.ServFail || question.type === RecordType.SOA
    return isPassing ? resolution : { ...resolution, sharing: ownSharing(this.#parts.nowSeconds()) }
  }
}
