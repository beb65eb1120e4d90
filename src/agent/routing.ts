/**
 * The ways that questions go: the upstreams of every route, and the resolver that knows all routes. Made from a
 * configuration as a whole, and replaced as a whole; what stays as it is keeps its connections and what is known of it.
 */

import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/config.ts'
import { isImpossibleSearchName } from '../dns/policy/search-suffix.ts'
import { textOfName } from '../dns/wire/name.ts'
import type { Question } from '../dns/wire/query.ts'
import { typeName } from '../dns/wire/record-type.ts'
import type { Zone } from '../dns/zone/zone.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { RecordCache } from '../serve/cache/record-cache.ts'
import type { UpstreamObserver } from '../serve/forward/exchange.ts'
import { Resolver } from '../serve/resolve.ts'
import { nowMs, nowSeconds, unpredictableUint16 } from './clock-and-chance.ts'
import { textOf } from './error-text.ts'
import { RouteIds } from './route-ids.ts'
import { routesOf, zoneName } from './routes.ts'
import { type FollowedGroup, openGroup } from './upstreams.ts'

export interface RoutingParts {
  readonly zone: Zone
  readonly recordCache: RecordCache
  readonly instance: string
  readonly log: Log
  readonly observer: Pick<Metrics['upstreamObserver'], keyof UpstreamObserver | 'know'>
  /** What was told of a question before is replaced by a newer answer. */
  onRenewed(question: Question): void
  /** An exception in a refresh that no client waits for. */
  onPanic(error: unknown, question: string): void
}

export class Routing {
  readonly #parts: RoutingParts
  readonly #routeIds: RouteIds
  #groups: readonly FollowedGroup[]
  #resolver: Resolver
  #shortCuts = 0

  constructor(config: Config, parts: RoutingParts) {
    this.#parts = parts
    this.#routeIds = new RouteIds(() => void parts.recordCache.flush())
    this.#groups = this.#openGroups(config, [])
    this.#resolver = this.#newResolver(config, this.#groups)
  }

  /** Those of the routes of `forward`, in its order. */
  get groups(): readonly FollowedGroup[] {
    return this.#groups
  }

  get resolver(): Resolver {
    return this.#resolver
  }

  /** Names denied by the search-suffix short cut. */
  get shortCuts(): number {
    return this.#shortCuts
  }

  /** Goes by another configuration from now on; when that throws, all stays as it was. Upstreams that are left end what is under way. */
  use(config: Config): void {
    const before = this.#groups
    const groups = this.#openGroups(config, before)
    try {
      this.#resolver = this.#newResolver(config, groups)
    } catch (error) {
      this.#leave(groups, before, 0)
      throw error
    }
    this.#groups = groups
    this.#leave(before, groups, config.shutdown.drainMs)
  }

  /** Ends the upstreams, and after `drainMs` what is under way with them. */
  async stop(drainMs: number): Promise<void> {
    await Promise.all(this.#groups.map((group) => group.stop(drainMs)))
  }

  /** Stops those of one list that are not in the other. */
  #leave(some: readonly FollowedGroup[], others: readonly FollowedGroup[], drainMs: number): void {
    const gone = some.filter((group) => !others.includes(group))
    Promise.all(gone.map((group) => group.stop(drainMs))).catch((error: unknown) =>
      this.#parts.log.error('stop-failed', { what: 'upstreams', error: textOf(error) }),
    )
  }

  #openGroups(config: Config, known: readonly FollowedGroup[]): FollowedGroup[] {
    const { observer, log } = this.#parts
    const { port } = config.listen
    const own = config.listen.addresses.map((address) => ({ address, port }))
    const parts = { observer, random: Math.random, randomId: unpredictableUint16, nowMs }
    const groups = config.forward.map(
      (route) => known.find((group) => isDeepStrictEqual(group.route, route)) ?? openGroup(route, own, parts, log),
    )
    for (const { to } of groups.flatMap(({ group }) => group.status().upstreams)) observer.know(to)
    return groups
  }

  #newResolver(config: Config, groups: readonly FollowedGroup[]): Resolver {
    const { zone, instance, recordCache } = this.#parts
    const { cache, clusterset } = config
    const searchSuffixes = {
      clustersetZones: clusterset.zones.map(zoneName),
      clusterDomain: zoneName(clusterset.clusterDomain),
    }
    return new Resolver(routesOf(config, zone, groups, instance, this.#routeIds), {
      recordCache,
      limits: cache,
      serveStale: cache.serveStale.enabled ? cache.serveStale : undefined,
      prefetch: cache.prefetch.enabled,
      zoneOfImpossibleSearchName: (name) =>
        clusterset.searchSuffixShortcut && isImpossibleSearchName(name, searchSuffixes)
          ? searchSuffixes.clusterDomain
          : undefined,
      onShortCut: () => this.#shortCuts++,
      nowSeconds,
      onRenewed: (question) => this.#parts.onRenewed(question),
      onPanic: (error, { name, type }) => this.#parts.onPanic(error, `${textOfName(name)} ${typeName(type)}`),
      after: (delayMs, call) => {
        const timer = setTimeout(call, delayMs)
        return () => clearTimeout(timer)
      },
    })
  }
}
