/** The fast path of the agent: which way UDP is served, and with batched system calls the packet cache and its workers. */

import { randomBytes } from 'node:crypto'
import type { Config } from '../config/config.ts'
import { type CacheKey, partsOfKey } from '../dns/cache/key.ts'
import type { Name } from '../dns/wire/name.ts'
import type { Query } from '../dns/wire/query.ts'
import type { UpstreamQuestion } from '../dns/wire/upstream-query.ts'
import { datagramCalls } from '../host/syscalls.ts'
import type { CounterLabels, TrafficCounters } from '../observe/counters.ts'
import type { Log } from '../observe/log.ts'
import { PacketCache, type PacketCacheStatus, type PeekedPacket } from '../serve/cache/packet-cache.ts'
import { QuestionBit } from '../serve/cache/packet-cache-layout.ts'
import { DIRECT_PER_SECOND_MAX } from '../serve/direct-service.ts'
import { openUdpListener } from '../serve/listen/udp-dgram.ts'
import type { OpenUdpListener } from '../serve/listen/udp-listener.ts'
import { mmsgListeners } from '../serve/listen/udp-mmsg.ts'
import { PacketFiller } from '../serve/packet-filler.ts'
import type { Resolution } from '../serve/resolution.ts'
import { type WorkerCounts, WorkerPool } from '../serve/worker-pool.ts'
import { nowSeconds } from './clock-and-chance.ts'
import { textOf } from './error-text.ts'

/** Why the packet cache forgot everything at once; a metric's label values. */
export const FLUSH_REASONS = ['changed-names', 'zone-state', 'configuration', 'operator'] as const

export type FlushReason = (typeof FLUSH_REASONS)[number]

export interface FastPathParts {
  readonly log: Log
  readonly labels: CounterLabels
  config(): Config
  onRenewal(message: Uint8Array, server: string): void
}

/** What the fast path counts, beside the traffic. */
export interface FastPathStatus {
  readonly implementation: 'mmsg' | 'dgram'
  readonly threads: number
  /** The event loop serves UDP itself at the moment. */
  readonly isDirect: boolean
  readonly workers: WorkerCounts
  readonly packetCache: PacketCacheStatus
  readonly packetCacheFlushes: ReadonlyMap<FlushReason, number>
}

const NO_PACKETS: PacketCacheStatus = { entries: 0, bytes: 0, bytesMax: 0, evictions: 0, refusals: 0 }
const NO_WORKERS: WorkerCounts = { restarts: 0, handOvers: 0, sendFailed: 0, receiveFailed: 0 }

/** What there is with batched system calls alone. */
interface Batched {
  readonly packetCache: PacketCache
  readonly pool: WorkerPool
  readonly filler: PacketFiller
  readonly open: OpenUdpListener
}

export class AgentFastPath {
  readonly #parts: FastPathParts
  #batched: Batched | undefined
  readonly #flushes = new Map<FlushReason, number>(FLUSH_REASONS.map((reason) => [reason, 0]))

  constructor(parts: FastPathParts) {
    this.#parts = parts
  }

  /** Opens UDP listeners, once `start` has chosen how. */
  get openUdp(): OpenUdpListener {
    return this.#batched?.open ?? openUdpListener
  }

  /** Chooses the implementation and starts the workers. Throws when the wanted one is not to be had. */
  start(): void {
    const { log } = this.#parts
    const wanted = this.#parts.config().udp.implementation
    let why = 'wanted'
    if (wanted !== 'dgram') {
      try {
        this.#batched = this.#startBatched()
        why = wanted === 'auto' ? 'the system calls are there' : why
      } catch (error) {
        why = textOf(error)
        if (wanted === 'mmsg') throw new Error(`udp.implementation mmsg is not possible here: ${why}`, { cause: error })
      }
    }
    const implementation = this.#batched === undefined ? 'dgram' : 'mmsg'
    log.info('udp-implementation', { implementation, wanted, why, threads: this.#batched?.pool.threads ?? 0 })
  }

  async stop(): Promise<void> {
    await this.#batched?.pool.stop()
  }

  /** Of each worker, the numbers by which others see how it does. */
  get workers(): readonly SharedArrayBuffer[] {
    return this.#batched?.pool.controls ?? []
  }

  /** Ends a worker that is stuck; the next one goes on with its sockets as soon as it is gone. */
  replaceWorker(worker: number, why: string): void {
    const failed = (error: unknown): void =>
      this.#parts.log.error('worker-not-replaced', { worker, error: textOf(error) })
    this.#batched?.pool.fell(worker, why).catch(failed)
  }

  /** Keeps an answer for the workers. */
  offer(query: Query, resolution: Resolution, zoneLabel: string): void {
    this.#batched?.filler.offer(query, resolution, zoneLabel)
  }

  /** Forgets names, each of them below every one of the `apexes`. */
  forgetNames(names: Iterable<Name>, apexes: readonly Name[] = ['']): void {
    if (this.#batched === undefined) return
    const { packetCache } = this.#batched
    for (const name of names) for (const apex of apexes) packetCache.forgetName(name, apex)
  }

  forgetIf(isWanted: (name: Name) => boolean): void {
    this.#batched?.packetCache.forgetIf(isWanted)
  }

  /** Forgets everything; false when there was nothing. */
  forgetAll(reason: FlushReason): boolean {
    const { packetCache } = this.#batched ?? {}
    if (packetCache === undefined || packetCache.status().entries === 0) return false
    packetCache.forgetAll()
    this.#flushes.set(reason, this.#flushes.get(reason)! + 1)
    return true
  }

  /** The fast path's copy of a response, looked at without a trace; undefined without one. */
  peek({ name, type, recursionDesired, checkingDisabled, dnssecOk }: UpstreamQuestion): PeekedPacket | undefined {
    const bits =
      (recursionDesired ? QuestionBit.RecursionDesired : 0) |
      (checkingDisabled ? QuestionBit.CheckingDisabled : 0) |
      (dnssecOk ? QuestionBit.DnssecOk : 0)
    return this.#batched?.packetCache.peek(name, type, bits)
  }

  /** The counters of each worker. */
  get traffic(): readonly TrafficCounters[] {
    return this.#batched?.pool.traffic ?? []
  }

  /** Whether a worker has answered a question of late with what the packet cache has of it. */
  isAsked(key: CacheKey): boolean {
    if (this.#batched === undefined) return false
    const packet = this.peek(partsOfKey(key))
    return packet !== undefined && packet.hits > 0 && packet.freshUntilSeconds > nowSeconds()
  }

  status(): FastPathStatus {
    const batched = this.#batched
    return {
      implementation: batched === undefined ? 'dgram' : 'mmsg',
      threads: batched?.pool.threads ?? 0,
      isDirect: batched?.pool.isDirect ?? true,
      workers: batched?.pool.counts() ?? NO_WORKERS,
      packetCache: batched?.packetCache.status() ?? NO_PACKETS,
      packetCacheFlushes: this.#flushes,
    }
  }

  #startBatched(): Batched {
    const { log, labels, onRenewal } = this.#parts
    const { cache, udp } = this.#parts.config()
    const calls = datagramCalls()
    const packetCache = new PacketCache(cache.maxBytes, randomBytes(4).readInt32LE())
    const pool = new WorkerPool(
      { ...udp, directPerSecondMax: DIRECT_PER_SECOND_MAX },
      {
        calls,
        packetCache,
        onFallen: (error, pauseMs) => log.error('worker-fallen', { error, startsAgainInMs: pauseMs }),
      },
    )
    const filler = new PacketFiller({
      packetCache,
      logs: () => this.#parts.config().log.queries,
      rotates: () => this.#parts.config().cache.rotate,
      nowSeconds,
      cellOf: (server, zoneLabel) => labels.cellOf(server, zoneLabel),
      setCell: (server, zoneLabel, cell) => pool.setCell(server, zoneLabel, cell),
    })
    const open = mmsgListeners({ calls, pool, serverNumber: (server) => filler.serverNumber(server), onRenewal })
    return { packetCache, pool, filler, open }
  }
}
