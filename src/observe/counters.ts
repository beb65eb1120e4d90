/**
 * HOT. What is counted of every query, in plain numbers: no allocation, no locks.
 *
 * One block of memory has one writer (the event loop, or one worker thread in shared memory); the scrape adds the blocks
 * up (`traffic.ts`). A number is a 64-bit float, exact up to 2^53, and on the machines that we run on never read in half.
 *
 * A block:
 *
 *    | cell 0 | cell 1 | ... | cell CELLS_MAX - 1 | truncated udp, tcp | dropped by reason | panics | short cuts |
 *
 * A cell, for one pair of server and zone:
 *
 *    | requests: proto x family x type | with DO | request sizes: proto x (buckets, sum) | responses: source x rcode |
 *    | durations: buckets, sum | response sizes: proto x (buckets, sum) | hits success, denial | misses | stale | prefetched |
 */

import { histogramSlots, observe } from './histogram.ts'

/** Record types with a series of their own; the others share `other`. The list of CoreDNS. */
const TYPES: readonly (readonly [number, string])[] = [
  [1, 'A'],
  [28, 'AAAA'],
  [5, 'CNAME'],
  [48, 'DNSKEY'],
  [43, 'DS'],
  [15, 'MX'],
  [47, 'NSEC'],
  [50, 'NSEC3'],
  [2, 'NS'],
  [12, 'PTR'],
  [46, 'RRSIG'],
  [6, 'SOA'],
  [33, 'SRV'],
  [16, 'TXT'],
  [65, 'HTTPS'],
  [64, 'SVCB'],
  [251, 'IXFR'],
  [252, 'AXFR'],
  [255, 'ANY'],
]

const RCODES: readonly (readonly [number, string])[] = [
  [0, 'NOERROR'],
  [1, 'FORMERR'],
  [2, 'SERVFAIL'],
  [3, 'NXDOMAIN'],
  [4, 'NOTIMP'],
  [5, 'REFUSED'],
  [6, 'YXDOMAIN'],
  [7, 'YXRRSET'],
  [8, 'NXRRSET'],
  [9, 'NOTAUTH'],
  [10, 'NOTZONE'],
  [16, 'BADVERS'],
  [23, 'BADCOOKIE'],
]

const OTHER = 'other'

/** Label values by index; the last one is for all that have none. */
export const TYPE_LABELS: readonly string[] = [...TYPES.map(([, name]) => name), OTHER]
export const RCODE_LABELS: readonly string[] = [...RCODES.map(([, name]) => name), OTHER]
export const PROTO_LABELS: readonly string[] = ['udp', 'tcp']
/** IANA address families, as CoreDNS has them: IPv4, IPv6. */
export const FAMILY_LABELS: readonly string[] = ['1', '2']

/** Who wrote the response: us without asking anybody, the record or packet cache, an upstream, the zone, a local name. */
export type TrafficSource = '' | 'cache' | 'forward' | 'clusterset' | 'local'
export const SOURCE_LABELS: readonly TrafficSource[] = ['', 'cache', 'forward', 'clusterset', 'local']

/** Why a message got no response; a reason that is not listed counts as `other`. */
export const DROP_LABELS: readonly string[] = ['short', 'response', 'overloaded', OTHER]

/** Upper bounds in seconds: 0.00025 times 2^0 to 2^15. */
export const DURATION_BOUNDS: readonly number[] = Array.from({ length: 16 }, (_, i) => (0.25 * 2 ** i) / 1000)
/** Upper bounds in octets. */
export const SIZE_BOUNDS: readonly number[] = [
  0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000,
]

/** Pairs of server and zone with series of their own; what comes later shares cell 0, `other`. */
export const CELLS_MAX = 128
const OTHER_CELL = 0

const DURATION_SLOTS = histogramSlots(DURATION_BOUNDS)
export const SIZE_SLOTS = histogramSlots(SIZE_BOUNDS)

/** Where the parts of a cell begin. */
export const CellAt = layout({
  requests: PROTO_LABELS.length * FAMILY_LABELS.length * TYPE_LABELS.length,
  dnssecOk: 1,
  requestSizes: PROTO_LABELS.length * SIZE_SLOTS,
  responses: SOURCE_LABELS.length * RCODE_LABELS.length,
  durations: DURATION_SLOTS,
  responseSizes: PROTO_LABELS.length * SIZE_SLOTS,
  hitsSuccess: 1,
  hitsDenial: 1,
  misses: 1,
  staleServed: 1,
  prefetched: 1,
  end: 0,
})

/** Where what has no cell begins in a block. */
export const BlockAt = layout(
  { truncated: PROTO_LABELS.length, dropped: DROP_LABELS.length, panics: 1, shortCuts: 1, end: 0 },
  CELLS_MAX * CellAt.end,
)

export const BLOCK_BYTES = BlockAt.end * Float64Array.BYTES_PER_ELEMENT

const TYPE_INDEX = indexOf(TYPES, 256)
const RCODE_INDEX = indexOf(RCODES, 32)

/** Hands out cells. One for the process: all blocks must mean the same by a number. */
export class CounterLabels {
  readonly #cells = new Map<string, Map<string, number>>()
  readonly #labels: { readonly server: string; readonly zone: string }[] = [{ server: OTHER, zone: OTHER }]

  /** The cell of a pair of server and zone; asked early, its series are there from the first scrape, as zeros. */
  cellOf(server: string, zone: string): number {
    return this.#cells.get(server)?.get(zone) ?? this.#newCell(server, zone)
  }

  /** Labels by cell. The first, `other`, is for the pairs that found no room. */
  get all(): readonly { readonly server: string; readonly zone: string }[] {
    return this.#labels
  }

  #newCell(server: string, zone: string): number {
    if (this.#labels.length === CELLS_MAX) return OTHER_CELL
    const cell = this.#labels.push({ server, zone }) - 1
    const ofServer = this.#cells.get(server)
    if (ofServer === undefined) this.#cells.set(server, new Map([[zone, cell]]))
    else ofServer.set(zone, cell)
    return cell
  }
}

/** One block and its only writer. `memory`: `BLOCK_BYTES` of zeros, where the writer is another thread than the scrape. */
export class TrafficCounters {
  readonly #labels: CounterLabels
  readonly #counts: Float64Array

  constructor(labels: CounterLabels, memory?: SharedArrayBuffer) {
    this.#labels = labels
    this.#counts = memory === undefined ? new Float64Array(BlockAt.end) : new Float64Array(memory, 0, BlockAt.end)
  }

  /** The numbers, laid out as `BlockAt` and `CellAt` say; to be read only. */
  get counts(): Float64Array {
    return this.#counts
  }

  /** Messages that got no response for a reason of `DROP_LABELS`. */
  droppedFor(reason: string): number {
    return this.#counts[BlockAt.dropped + DROP_LABELS.indexOf(reason)]!
  }

  /** Names denied by the search-suffix short cut, as `shortCut` counted them. */
  get shortCuts(): number {
    return this.#counts[BlockAt.shortCuts]!
  }

  cellOf(server: string, zone: string): number {
    return this.#labels.cellOf(server, zone)
  }

  /** `proto` 0 UDP, 1 TCP; `family` 0 IPv4, 1 IPv6; `type` and `sizeBytes` as they came. */
  request(cell: number, proto: 0 | 1, family: 0 | 1, type: number, sizeBytes: number, dnssecOk: boolean): void {
    const counts = this.#counts
    const base = cell * CellAt.end
    const typeIndex = type < TYPE_INDEX.length ? TYPE_INDEX[type]! : TYPE_LABELS.length - 1
    counts[base + CellAt.requests + (proto * FAMILY_LABELS.length + family) * TYPE_LABELS.length + typeIndex]!++
    if (dnssecOk) counts[base + CellAt.dnssecOk]!++
    observe(counts, base + CellAt.requestSizes + proto * SIZE_SLOTS, SIZE_BOUNDS, sizeBytes)
  }

  /** `rcode` 0 to 4095; `seconds` from the arrival of the query to its response. */
  response(cell: number, rcode: number, source: TrafficSource, seconds: number, sizeBytes: number, proto: 0 | 1): void {
    this.responseOf(cell, rcode, SOURCE_LABELS.indexOf(source), seconds, sizeBytes, proto)
  }

  /** The same with the source as an index of `SOURCE_LABELS`. */
  responseOf(cell: number, rcode: number, source: number, seconds: number, sizeBytes: number, proto: 0 | 1): void {
    const counts = this.#counts
    const base = cell * CellAt.end
    const rcodeIndex = rcode < RCODE_INDEX.length ? RCODE_INDEX[rcode]! : RCODE_LABELS.length - 1
    counts[base + CellAt.responses + source * RCODE_LABELS.length + rcodeIndex]!++
    observe(counts, base + CellAt.durations, DURATION_BOUNDS, seconds)
    observe(counts, base + CellAt.responseSizes + proto * SIZE_SLOTS, SIZE_BOUNDS, sizeBytes)
  }

  /** `denial`: a name error or no data. */
  cacheHit(cell: number, kind: 'success' | 'denial'): void {
    this.#counts[cell * CellAt.end + (kind === 'success' ? CellAt.hitsSuccess : CellAt.hitsDenial)]!++
  }

  cacheMiss(cell: number): void {
    this.#counts[cell * CellAt.end + CellAt.misses]!++
  }

  staleServed(cell: number): void {
    this.#counts[cell * CellAt.end + CellAt.staleServed]!++
  }

  prefetched(cell: number): void {
    this.#counts[cell * CellAt.end + CellAt.prefetched]!++
  }

  /** A response that had to say TC. */
  truncated(proto: 0 | 1): void {
    this.#counts[BlockAt.truncated + proto]!++
  }

  /** Messages that got no response; the reasons are `DROP_LABELS`. */
  dropped(reason: string, messages = 1): void {
    const index = DROP_LABELS.indexOf(reason)
    this.#counts[BlockAt.dropped + (index === -1 ? DROP_LABELS.length - 1 : index)]! += messages
  }

  /** A name denied by the search-suffix short cut. */
  shortCut(): void {
    this.#counts[BlockAt.shortCuts]!++
  }

  /** An exception on the way of one query. */
  panicked(): void {
    this.#counts[BlockAt.panics]!++
  }
}

function indexOf(entries: readonly (readonly [number, string])[], size: number): Uint8Array {
  const index = new Uint8Array(size).fill(entries.length)
  for (const [i, [value]] of entries.entries()) index[value] = i
  return index
}

function layout<Part extends string>(lengths: Record<Part, number>, start = 0): Readonly<Record<Part, number>> {
  let at = start
  const offsets: Partial<Record<Part, number>> = {}
  for (const part of Object.keys(lengths) as Part[]) {
    offsets[part] = at
    at += lengths[part]
  }
  return offsets as Record<Part, number>
}
