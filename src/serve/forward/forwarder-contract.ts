/** What the slow path knows of forwarding. */

import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import type { UpstreamResponse } from '../../dns/wire/upstream-response.ts'

export type ForwardResult =
  | { readonly kind: 'response'; readonly response: UpstreamResponse; readonly upstream: string }
  /** No upstream said anything usable within the deadline. */
  | {
      readonly kind: 'failure'
      readonly reason: 'timeout' | 'unreachable' | 'overloaded' | 'no-upstreams'
      readonly detail: string
    }

/** Told a result once, perhaps before `forward` returns; must not throw, for others wait behind it. */
export type ForwardListener = (result: ForwardResult) => void

/** The upstreams of one route. Identical questions in flight share one upstream query. */
export interface UpstreamGroup {
  forward(question: UpstreamQuestion, listener: ForwardListener): void
  /** Closes connections when nothing is under way any more, at the latest after `drainMs`. */
  stop(drainMs: number): Promise<void>
}
