/** The sum of all writers' counters, read at a scrape (`counters.ts` says who writes and how the memory is laid out). */

import {
  BlockAt,
  CELLS_MAX,
  CellAt,
  type CounterLabels,
  DROP_LABELS,
  DURATION_BOUNDS,
  FAMILY_LABELS,
  PROTO_LABELS,
  RCODE_LABELS,
  SIZE_BOUNDS,
  SIZE_SLOTS,
  SOURCE_LABELS,
  type TrafficCounters,
  TYPE_LABELS,
} from './counters.ts'
import { type HistogramCounts, histogramAt } from './histogram.ts'

export interface CellTraffic {
  readonly server: string
  readonly zone: string
  readonly requests: readonly { proto: string; family: string; type: string; count: number }[]
  readonly dnssecOk: number
  /** By proto, in the order of `PROTO_LABELS`; the same for `responseSizes`. */
  readonly requestSizes: readonly HistogramCounts[]
  readonly responses: readonly { plugin: string; rcode: string; count: number }[]
  readonly durations: HistogramCounts
  readonly responseSizes: readonly HistogramCounts[]
  readonly hitsSuccess: number
  readonly hitsDenial: number
  readonly misses: number
  readonly staleServed: number
  readonly prefetched: number
}

export interface Traffic {
  readonly cells: readonly CellTraffic[]
  readonly truncated: readonly { proto: string; count: number }[]
  readonly dropped: readonly { reason: string; count: number }[]
  readonly panics: number
}

/**
 * Types and rcodes that are told even while they are zero, for `rate()` does not see the first increment of a series that
 * was not there. The rest appears when it happens: all of them for every server and zone would be noise.
 */
const TYPES_FROM_THE_START = new Set(['A', 'AAAA', 'PTR', 'SRV', 'other'])
const RCODES_FROM_THE_START = new Set(['NOERROR', 'NXDOMAIN', 'SERVFAIL'])

/** Responses of one writer. */
export function responsesIn({ counts }: TrafficCounters): number {
  let sum = 0
  for (let cell = 0; cell < CELLS_MAX; cell++) {
    const at = cell * CellAt.end + CellAt.responses
    for (let i = at; i < at + SOURCE_LABELS.length * RCODE_LABELS.length; i++) sum += counts[i]!
  }
  return sum
}

/** Responses of one writer that left as datagrams. */
export function datagramsIn({ counts }: TrafficCounters): number {
  let sum = 0
  for (let cell = 0; cell < CELLS_MAX; cell++) {
    // UDP comes first; the last of a histogram's numbers is no count.
    const at = cell * CellAt.end + CellAt.responseSizes
    for (let i = at; i < at + SIZE_SLOTS - 1; i++) sum += counts[i]!
  }
  return sum
}

/** Adds the blocks up. The cell for what found no room is left out while it is empty. */
export function trafficOf(labels: CounterLabels, blocks: readonly TrafficCounters[]): Traffic {
  const sums = new Float64Array(BlockAt.end)
  for (const { counts } of blocks) for (let i = 0; i < sums.length; i++) sums[i]! += counts[i]!
  const cells = labels.all.map(({ server, zone }, cell) =>
    cellOf(sums.subarray(cell * CellAt.end, (cell + 1) * CellAt.end), server, zone),
  )
  if (sums.subarray(0, CellAt.end).every((count) => count === 0)) cells.shift()
  return {
    cells,
    truncated: PROTO_LABELS.map((proto, i) => ({ proto, count: sums[BlockAt.truncated + i]! })),
    dropped: DROP_LABELS.map((reason, i) => ({ reason, count: sums[BlockAt.dropped + i]! })),
    panics: sums[BlockAt.panics]!,
  }
}

function cellOf(sums: Float64Array, server: string, zone: string): CellTraffic {
  return {
    server,
    zone,
    requests: requestsOf(sums, server),
    dnssecOk: sums[CellAt.dnssecOk]!,
    requestSizes: sizesOf(sums, CellAt.requestSizes),
    responses: responsesOf(sums),
    durations: histogramAt(sums, CellAt.durations, DURATION_BOUNDS),
    responseSizes: sizesOf(sums, CellAt.responseSizes),
    hitsSuccess: sums[CellAt.hitsSuccess]!,
    hitsDenial: sums[CellAt.hitsDenial]!,
    misses: sums[CellAt.misses]!,
    staleServed: sums[CellAt.staleServed]!,
    prefetched: sums[CellAt.prefetched]!,
  }
}

function requestsOf(sums: Float64Array, server: string): CellTraffic['requests'] {
  // A server has one address, so the other family will never come.
  const familyOfServer = server.includes('[') ? '2' : '1'
  const requests: { proto: string; family: string; type: string; count: number }[] = []
  let at = CellAt.requests
  for (const proto of PROTO_LABELS) {
    for (const family of FAMILY_LABELS) {
      for (const type of TYPE_LABELS) {
        const count = sums[at++]!
        const isFromTheStart = family === familyOfServer && TYPES_FROM_THE_START.has(type)
        if (count > 0 || isFromTheStart) requests.push({ proto, family, type, count })
      }
    }
  }
  return requests
}

function responsesOf(sums: Float64Array): CellTraffic['responses'] {
  const responses: { plugin: string; rcode: string; count: number }[] = []
  let at = CellAt.responses
  for (const plugin of SOURCE_LABELS) {
    for (const rcode of RCODE_LABELS) {
      const count = sums[at++]!
      if (count > 0 || RCODES_FROM_THE_START.has(rcode)) responses.push({ plugin, rcode, count })
    }
  }
  return responses
}

function sizesOf(sums: Float64Array, at: number): HistogramCounts[] {
  return PROTO_LABELS.map((_, proto) => histogramAt(sums, at + proto * SIZE_SLOTS, SIZE_BOUNDS))
}
