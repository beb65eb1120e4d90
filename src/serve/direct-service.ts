/**
 * HOT. The event loop as a worker: while datagrams are few it takes them from the sockets itself.
 *
 * A worker is a second thread to wake, and for a miss the event loop is then woken by it: at 2,000 misses a second that was
 * half of what a miss cost (docs/performance.md). Where many come, a worker's batches are cheaper; and where the event
 * loop has other things to do, hits must not wait for it. So all sockets change hands, together:
 *
 *    event loop ---- too many in a window, or twice too many at once: it was late ----> workers
 *    event loop <---- few enough in a whole look --------------------------------- workers
 *
 * Nothing is lost or doubled on the way: the kernel's queue is one, whoever reads it.
 */

import { MessageSlots } from '../host/message-slots.ts'
import type { DatagramCalls, EventLoopWatch } from '../host/syscalls.ts'
import { CounterLabels, TrafficCounters } from '../observe/counters.ts'
import type { PacketCache } from './cache/packet-cache.ts'
import { PacketCacheReader } from './cache/packet-cache-reader.ts'
import { FastPath } from './fast-path.ts'
import { type Miss, MissKind } from './miss-queue.ts'
import { PEER_OCTETS } from './worker-contract.ts'

/** Datagrams a second, of all sockets, above which workers serve them. */
export const DIRECT_PER_SECOND_MAX = 6_000

/** Datagrams a second below which the event loop takes them back; well below the other, so that nobody goes to and fro. */
const BACK_PER_SECOND = 4_000

/** How long a rate is looked at before it counts, in milliseconds. */
const WINDOW_MS = 100
const LOOK_MS = 1_000

/** Datagrams that one receive may bring; as many say that the event loop was away while they came. */
const SLOTS = 32

/** Milliseconds within which a second time says that it has other things to do. */
const LATE_AGAIN_MS = 1_000

/** The errno of nothing to receive. */
const EAGAIN = 11

export interface DirectServiceParts {
  readonly calls: DatagramCalls
  readonly packetCache: PacketCache
  /** See `FastPathParts`. */
  readonly cells: Int32Array
  /** See `DIRECT_PER_SECOND_MAX`. */
  readonly perSecondMax: number
}

/** A socket, and the worker that serves it when the event loop does not. */
export interface SharedSocket {
  readonly descriptor: number
  readonly server: number
  readonly family: 0 | 1
  take(miss: Pick<Miss, 'kind' | 'peer' | 'query'>): void
  /** Whether its worker has begun; before, nobody would read what is left to it. */
  hasWorker(): boolean
  toWorker(): void
  fromWorker(): void
  /** Datagrams that the worker took. */
  workerDatagrams(): number
}

interface Held {
  readonly socket: SharedSocket
  readonly watch: EventLoopWatch
  datagrams: number
}

/** A socket that is served here or by its worker. */
export interface HeldSocket {
  /** Datagrams that the event loop took. */
  datagrams(): number
  /** Ends all service of the socket from here on; what its worker still does is the worker's. */
  end(): void
}

export class DirectService {
  /** The hits that are answered here. */
  readonly traffic = new TrafficCounters(new CounterLabels())
  sendFailed = 0
  receiveFailed = 0
  isDirect = true
  /** Times that the workers had to take over. */
  handOvers = 0
  readonly #parts: DirectServiceParts
  readonly #slots: MessageSlots
  readonly #fastPaths: readonly [FastPath, FastPath]
  readonly #held = new Set<Held>()
  #windowStartedMs = 0
  #inWindow = 0
  #lateAtMs = Number.NEGATIVE_INFINITY
  #looker: NodeJS.Timeout | undefined
  #workerDatagrams = 0
  /** Whose datagrams are looked at. */
  #serving: Held | undefined
  readonly #misses = {
    miss: (slot: number) => this.#passOn(MissKind.Query, slot),
    renew: (slot: number) => this.#passOn(MissKind.Renewal, slot),
  }

  constructor(parts: DirectServiceParts) {
    this.#parts = parts
    this.#slots = new MessageSlots(SLOTS, PEER_OCTETS, parts.calls)
    const fastPathParts = {
      reader: new PacketCacheReader(parts.packetCache.memory),
      seed: parts.packetCache.seed,
      counters: this.traffic,
      cells: parts.cells,
      nowSeconds: () => performance.now() / 1000,
    }
    this.#fastPaths = [new FastPath({ ...fastPathParts, family: 0 }), new FastPath({ ...fastPathParts, family: 1 })]
  }

  /** Serves a socket, here or by its worker. */
  hold(socket: SharedSocket): HeldSocket {
    const watch = this.#parts.calls.watchOnEventLoop(socket.descriptor, () => this.#serve(held))
    const held: Held = { socket, watch, datagrams: 0 }
    this.#held.add(held)
    if (!this.isDirect) {
      watch.pause()
      socket.toWorker()
    }
    return {
      datagrams: () => held.datagrams,
      end: () => {
        this.#held.delete(held)
        watch.end()
        if (this.#held.size === 0) this.#lookNoMore()
      },
    }
  }

  #serve(held: Held): void {
    const { socket } = held
    const slots = this.#slots
    // What an exception left there was for other peers, and of another socket.
    slots.clear()
    const received = slots.receive(socket.descriptor)
    if (received <= 0) {
      // Told that there is something, and there is none: an error that the kernel kept for us, or a worker was faster.
      if (received !== -EAGAIN) this.receiveFailed++
      return
    }
    this.#serving = held
    held.datagrams += received
    this.#fastPaths[socket.family].answerHits(slots, received, socket.server, this.#misses)
    if (slots.queued > 0) this.sendFailed += slots.send(socket.descriptor)
    if (!this.isDirect) return
    const isTooMuch = this.#isLateAgain(received) || this.#isTooMany(received)
    if (isTooMuch && this.#haveWorkers()) this.#handOver()
  }

  /** A start on a node that is short of CPU is late from the first datagram on, and threads begin late as well. */
  #haveWorkers(): boolean {
    for (const { socket } of this.#held) if (!socket.hasWorker()) return false
    return true
  }

  /** Being late once is a collection of garbage; to change hands for it would cost more than it spares. */
  #isLateAgain(received: number): boolean {
    if (received < this.#slots.count) return false
    const beforeMs = this.#lateAtMs
    this.#lateAtMs = performance.now()
    return this.#lateAtMs - beforeMs < LATE_AGAIN_MS
  }

  #passOn(kind: MissKind, slot: number): void {
    const slots = this.#slots
    const { socket } = this.#serving!
    const [at, peerAt] = [slots.receivedAt(slot), slots.peerAt(slot)]
    // Of Node's pool: two buffers of their own would cost more than all else here.
    const query = Buffer.from(slots.bytes.subarray(at, at + slots.receivedOctets(slot)))
    socket.take({ kind, peer: Buffer.from(slots.bytes.subarray(peerAt, peerAt + PEER_OCTETS)), query })
  }

  #isTooMany(received: number): boolean {
    const nowMs = performance.now()
    if (nowMs - this.#windowStartedMs > WINDOW_MS) {
      this.#windowStartedMs = nowMs
      this.#inWindow = 0
    }
    this.#inWindow += received
    return this.#inWindow > (this.#parts.perSecondMax * WINDOW_MS) / 1000
  }

  #handOver(): void {
    this.isDirect = false
    this.handOvers++
    for (const { socket, watch } of this.#held) {
      watch.pause()
      socket.toWorker()
    }
    this.#workerDatagrams = this.#countWorkerDatagrams()
    this.#looker = setInterval(() => this.#look(), LOOK_MS).unref()
  }

  #look(): void {
    const before = this.#workerDatagrams
    this.#workerDatagrams = this.#countWorkerDatagrams()
    const perSecondMin = Math.min(BACK_PER_SECOND, (this.#parts.perSecondMax * 2) / 3)
    if (((this.#workerDatagrams - before) * 1000) / LOOK_MS >= perSecondMin) return
    this.#lookNoMore()
    this.isDirect = true
    this.#inWindow = 0
    for (const { socket, watch } of this.#held) {
      socket.fromWorker()
      watch.resume()
    }
  }

  #lookNoMore(): void {
    clearInterval(this.#looker)
    this.#looker = undefined
  }

  #countWorkerDatagrams(): number {
    let datagrams = 0
    for (const { socket } of this.#held) datagrams += socket.workerDatagrams()
    return datagrams
  }
}
