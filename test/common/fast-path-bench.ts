/** A fast path without sockets: datagrams go into its slots, responses come out of them. */

import { nameFromText } from '../../src/dns/wire/name.ts'
import { MessageSlots } from '../../src/host/message-slots.ts'
import { datagramCalls } from '../../src/host/syscalls.ts'
import { CounterLabels, TrafficCounters } from '../../src/observe/counters.ts'
import { PacketCache, type PacketToKeep } from '../../src/serve/cache/packet-cache.ts'
import { QuestionBit, ZONE_LABELS_MAX } from '../../src/serve/cache/packet-cache-layout.ts'
import { PacketCacheReader } from '../../src/serve/cache/packet-cache-reader.ts'
import { FastPath } from '../../src/serve/fast-path.ts'
import { PacketFiller } from '../../src/serve/packet-filler.ts'
import { upstreamResponse } from './wire.ts'

export const SERVER = 'dns://127.0.0.1:53'
const SLOTS = 64
const PEER_OCTETS = 28

export class FastPathBench {
  now = 0
  rotates = false
  logs: 'none' | 'errors' | 'all' = 'none'
  readonly packetCache: PacketCache
  readonly filler: PacketFiller
  readonly counters: TrafficCounters
  readonly slots = new MessageSlots(SLOTS, PEER_OCTETS, datagramCalls())
  readonly renewals: number[] = []
  readonly misses: number[] = []
  readonly #fastPath: FastPath

  constructor(bytes = 1 << 20, nowSeconds: () => number = () => this.now) {
    const cells = new Int32Array(ZONE_LABELS_MAX)
    const labels = new CounterLabels()
    this.counters = new TrafficCounters(labels)
    this.packetCache = new PacketCache(bytes, 12_345)
    this.filler = new PacketFiller({
      packetCache: this.packetCache,
      logs: () => this.logs,
      rotates: () => this.rotates,
      nowSeconds,
      cellOf: (server, zone) => labels.cellOf(server, zone),
      setCell: (_server, zoneLabel, cell) => (cells[zoneLabel] = cell),
    })
    this.filler.serverNumber(SERVER)
    const reader = new PacketCacheReader(this.packetCache.memory)
    const { seed } = this.packetCache
    this.#fastPath = new FastPath({ reader, seed, counters: this.counters, cells, family: 0, nowSeconds })
  }

  /** Answers datagrams that were placed in the first `count` slots; misses and renewals are noted. */
  answer(count: number): void {
    this.#fastPath.answerHits(this.slots, count, 0, this.#taker)
  }

  /** The response to one query; undefined for a miss. */
  ask(query: Uint8Array): Uint8Array | undefined {
    this.slots.place(0, query)
    this.answer(1)
    const response = this.slots.queued === 0 ? undefined : this.slots.queuedAt(0)
    this.slots.clear()
    return response
  }

  readonly #taker = {
    miss: (slot: number) => void this.misses.push(slot),
    renew: (slot: number) => void this.renewals.push(slot),
  }
}

/** A response of so many A records, as the event loop keeps it for the workers; it is fresh for ever and never renewed. */
export function packetOfAddresses(name: string, records: number): PacketToKeep {
  const answers = Array.from({ length: records }, (_, i) => ({
    type: 'A' as const,
    name,
    ttl: 300,
    data: `192.0.2.${i}`,
  }))
  return {
    name: nameFromText(name)!,
    type: 1,
    bits: QuestionBit.RecursionDesired,
    answer: upstreamResponse({ name, answers }).answer,
    ttls: { minSeconds: 0, maxSeconds: 300, countsDown: true },
    keptAtSeconds: 0,
    freshUntilSeconds: 1e9,
    renewFromSeconds: Number.POSITIVE_INFINITY,
    source: 1,
    isDenial: false,
    isShortCut: false,
    zoneLabel: 0,
    options: new Uint8Array(0),
    rotation: records > 1 ? { firstTtl: 0, count: records, octets: 4 } : undefined,
  }
}
