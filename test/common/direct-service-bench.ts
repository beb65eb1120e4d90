/** A direct service with one real socket and its client, and without the event loop: `turn` is what the loop would call. */

import { datagramCalls } from '../../src/host/syscalls.ts'
import { PacketCache } from '../../src/serve/cache/packet-cache.ts'
import { ZONE_LABELS_MAX } from '../../src/serve/cache/packet-cache-layout.ts'
import { DirectService } from '../../src/serve/direct-service.ts'
import { datagramPair } from './datagram-pair.ts'

export class DirectServiceBench {
  readonly packetCache = new PacketCache(4 * 1024 * 1024, 12_345)
  misses = 0
  /** What taking a miss does besides. */
  onMiss = (): void => undefined
  turn = (): void => undefined
  hasWorker = true
  readonly service: DirectService
  readonly #calls = datagramCalls()
  readonly #pair = datagramPair(this.#calls)
  readonly #response = new Uint8Array(2_048)
  readonly #held

  constructor() {
    this.service = new DirectService({
      calls: {
        ...this.#calls,
        watchOnEventLoop: (_descriptor, ready) => {
          this.turn = ready
          return { pause: () => undefined, resume: () => undefined, end: () => undefined }
        },
      },
      packetCache: this.packetCache,
      cells: new Int32Array(ZONE_LABELS_MAX),
      perSecondMax: Number.POSITIVE_INFINITY,
    })
    this.#held = this.service.hold({
      descriptor: this.#pair.server,
      server: 0,
      family: 0,
      take: () => {
        this.misses++
        this.onMiss()
      },
      hasWorker: () => this.hasWorker,
      toWorker: () => undefined,
      fromWorker: () => undefined,
      workerDatagrams: () => 0,
    })
  }

  ask(query: Uint8Array): void {
    const sent = this.#calls.sendOctets(this.#pair.client, query, query.length)
    if (sent !== query.length) throw new Error(`send: ${sent}`)
  }

  /** Responses that are there, thrown away. */
  responses(): number {
    for (let count = 0; ; count++) if (this.#calls.receiveOctets(this.#pair.client, this.#response) <= 0) return count
  }

  close(): void {
    this.#held.end()
    this.#pair.close()
  }
}
