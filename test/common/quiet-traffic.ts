/** An observer of traffic for tests that count nothing. */

import type { TrafficObserver } from '../../src/serve/slow-path.ts'

const nothing = () => undefined

export const QUIET_TRAFFIC: TrafficObserver = {
  cellOf: () => 0,
  request: nothing,
  response: nothing,
  cacheHit: nothing,
  cacheMiss: nothing,
  staleServed: nothing,
  prefetched: nothing,
  truncated: nothing,
  dropped: nothing,
  panicked: nothing,
}
