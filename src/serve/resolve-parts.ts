/** What resolving is handed: the routes a question may take, the parts that answer on the way, and who is told. */

import type { Answer } from '../dns/answer.ts'
import type { LifetimeLimits } from '../dns/cache/lifetime.ts'
import type { SpecialName } from '../dns/policy/special-names.ts'
import type { Name } from '../dns/wire/name.ts'
import type { Question } from '../dns/wire/query.ts'
import type { RecordCache } from './cache/record-cache.ts'
import type { UpstreamGroup } from './forward/forwarder-contract.ts'
import type { Resolution } from './resolution.ts'

/** Where a question may go. `label` is the zone as metrics name it, with its last dot. */
export type Route =
  /** `rotation`: which record comes first, for who only looks; left out, the answers take turns. */
  | { readonly kind: 'zone'; readonly label: string; answer(question: Question, rotation?: number): Answer }
  | { readonly kind: 'forward'; readonly label: string; readonly id: number; readonly upstreams: UpstreamGroup }
  | { readonly kind: 'special'; readonly label: string; readonly special: SpecialName }

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
