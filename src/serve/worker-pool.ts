/**
 * Starts workers, gives each its sockets and memory, takes their misses, restarts the fallen.
 *
 * Descriptors are opened and closed here, on the event loop. A worker that falls is replaced by one that goes on with the
 * same poll, memory and sockets: the kernel keeps what comes meanwhile, and at most the batch that it held is lost.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { DatagramCalls } from '../host/syscalls.ts'
import { BLOCK_BYTES, CounterLabels, TrafficCounters } from '../observe/counters.ts'
import type { PacketCache } from './cache/packet-cache.ts'
import { ZONE_LABELS_MAX } from './cache/packet-cache-layout.ts'
import { DirectService } from './direct-service.ts'
import { type Miss, MissQueue } from './miss-queue.ts'
import {
  CONTROL_OCTETS,
  clockZeroSeconds,
  EVENT_TAG,
  SOCKET_WORDS,
  SOCKETS_MAX,
  SocketWord,
  type WorkerStart,
  WorkerWord,
} from './worker-contract.ts'

export interface WorkerPoolSettings {
  readonly threads: number
  readonly batchSlots: number
  readonly gatherMicros: number
  /** Datagrams a second up to which the event loop serves the sockets itself (`direct-service.ts`); 0: never. */
  readonly directPerSecondMax?: number
}

export interface WorkerPoolParts {
  readonly calls: DatagramCalls
  readonly packetCache: PacketCache
  /** A worker ended that nobody told to; another one starts after `pauseMs`. */
  onFallen(error: string, pauseMs: number): void
}

/** Takes the misses of one socket; on the event loop. */
export type TakeMiss = (miss: Pick<Miss, 'kind' | 'peer' | 'query'>) => void

/** What workers counted outside the traffic counters. */
export interface WorkerCounts {
  readonly restarts: number
  /** Times that they took over from the event loop. */
  readonly handOvers: number
  readonly sendFailed: number
  readonly receiveFailed: number
}

/** Misses taken in one turn of the event loop; the others wait for the next, so that upstreams and the control plane have their share. */
const MISSES_PER_TURN_MAX = 256

/** Turns in which a socket that ends waits for its misses; the queue holds no more, but its other sockets may go on filling it. */
const LAST_TURNS_MAX = 64

/** A worker that falls at once is not started again at once; but while none runs, nobody on the node has UDP. */
const RESTART_MS_MIN = 10
const RESTART_MS_MAX = 1_000
/** A worker that ran for this long had a good start. */
const GOOD_RUN_MS = 5_000

/** Milliseconds to wait for a worker's turn, or its end; it answers in microseconds unless it is stuck. */
const TURN_WAIT_MS = 1_000
const LOOK_MS = 1

/** A worker's heap holds a few objects; the rest is outside it. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 2, stackSizeMb: 1 }

const WORKER_FILE = new URL(
  import.meta.url.endsWith('.ts') ? './worker.ts' : './nodelocal-mcs-worker.js',
  import.meta.url,
)

export class WorkerPool {
  readonly #workers: PooledWorker[]
  readonly #parts: WorkerPoolParts
  readonly #cells = new SharedArrayBuffer(SOCKETS_MAX * ZONE_LABELS_MAX * 4)
  readonly #direct: DirectService | undefined

  constructor(settings: WorkerPoolSettings, parts: WorkerPoolParts) {
    this.#parts = parts
    const { directPerSecondMax = 0 } = settings
    const directParts = { ...parts, cells: new Int32Array(this.#cells), perSecondMax: directPerSecondMax }
    this.#direct = directPerSecondMax > 0 ? new DirectService(directParts) : undefined
    this.#workers = Array.from({ length: settings.threads }, () => new PooledWorker(settings, this.#cells, parts))
  }

  get threads(): number {
    return this.#workers.length
  }

  /** The counters of each worker, and of the event loop in their place. */
  get traffic(): readonly TrafficCounters[] {
    const direct = this.#direct === undefined ? [] : [this.#direct.traffic]
    return [...this.#workers.map(({ traffic }) => traffic), ...direct]
  }

  /** Whether the event loop serves the sockets itself at the moment. */
  get isDirect(): boolean {
    return this.#direct?.isDirect ?? false
  }

  counts(): WorkerCounts {
    const sum = (count: (worker: PooledWorker) => number) =>
      this.#workers.reduce((total, worker) => total + count(worker), 0)
    return {
      restarts: sum(({ restarts }) => restarts),
      handOvers: this.#direct?.handOvers ?? 0,
      sendFailed: sum((worker) => worker.word(WorkerWord.SendFailed)) + (this.#direct?.sendFailed ?? 0),
      receiveFailed: sum((worker) => worker.word(WorkerWord.ReceiveFailed)) + (this.#direct?.receiveFailed ?? 0),
    }
  }

  /** Tells the workers which cell of the counters a server and a zone label have. */
  setCell(server: number, zoneLabel: number, cell: number): void {
    if (server < SOCKETS_MAX && zoneLabel < ZONE_LABELS_MAX) {
      new Int32Array(this.#cells)[server * ZONE_LABELS_MAX + zoneLabel] = cell
    }
  }

  /** Lets one worker serve a bound socket; returns how to end that. */
  serve(
    worker: number,
    socket: { readonly descriptor: number; readonly server: number; readonly family: 0 | 1 },
    take: TakeMiss,
  ): ServedSocket {
    return this.#workers[worker]!.serve(socket, take, this.#direct)
  }

  /** What each worker and others see of it, as `worker-contract` has it. */
  get controls(): readonly SharedArrayBuffer[] {
    return this.#workers.map(({ control }) => control)
  }

  /** Ends a worker as if it had fallen: for one that is stuck, and for tests. One that is in a system call ends when that does. */
  async fell(worker: number, why = 'it was ended'): Promise<void> {
    await this.#workers[worker]!.fell(why)
  }

  /** Ends the threads; their sockets have been taken back before. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop()))
    for (const worker of this.#workers) worker.close(this.#parts.calls)
  }
}

/** A socket in a worker's hands. */
export interface ServedSocket {
  /** Datagrams that came by it. */
  datagrams(): number
  /** Ends the worker's use of the socket: when this resolves, it does not touch it any more. */
  takeBack(): Promise<void>
}

class PooledWorker {
  readonly traffic: TrafficCounters
  restarts = 0
  readonly #parts: WorkerPoolParts
  readonly #start: WorkerStart
  readonly #control: Int32Array
  readonly #misses = new MissQueue()
  readonly #takers = new Map<number, TakeMiss>()
  #worker: Worker | undefined
  #whyFelled: string | undefined
  #startedAtMs = 0
  #pauseMs = RESTART_MS_MIN
  #isStopping = false
  #restart: NodeJS.Timeout | undefined

  constructor({ batchSlots, gatherMicros }: WorkerPoolSettings, cells: SharedArrayBuffer, parts: WorkerPoolParts) {
    const { calls, packetCache } = parts
    this.#parts = parts
    const counters = new SharedArrayBuffer(BLOCK_BYTES)
    this.traffic = new TrafficCounters(new CounterLabels(), counters)
    const control = new SharedArrayBuffer(CONTROL_OCTETS)
    this.#control = new Int32Array(control)
    const poll = orThrow('epoll_create1', calls.createPoll(), calls)
    const event = orThrow('eventfd', calls.createEvent(), calls)
    orThrow('epoll_ctl', calls.watch(poll, event, EVENT_TAG), calls)
    // Its first turn ends at once, and tells that it has begun.
    calls.raise(event)
    this.#start = {
      poll,
      event,
      batchSlots,
      gatherMicros,
      control,
      packetCache: packetCache.memory,
      seed: packetCache.seed,
      counters,
      cells,
      misses: this.#misses.memory,
      clockZeroSeconds: clockZeroSeconds(),
    }
    this.#run()
  }

  get control(): SharedArrayBuffer {
    return this.#start.control
  }

  word(word: number): number {
    return Atomics.load(this.#control, word)
  }

  serve(
    { descriptor, server, family }: { descriptor: number; server: number; family: 0 | 1 },
    take: TakeMiss,
    direct: DirectService | undefined,
  ): ServedSocket {
    const { calls } = this.#parts
    let tag = 0
    while (this.#takers.has(tag)) tag++
    if (tag >= SOCKETS_MAX) throw new Error(`a worker serves ${SOCKETS_MAX} sockets at most`)
    this.#takers.set(tag, take)
    const word = WorkerWord.Sockets + tag * SOCKET_WORDS
    this.#control[word + SocketWord.Descriptor] = descriptor
    this.#control[word + SocketWord.Server] = server
    this.#control[word + SocketWord.Family] = family
    Atomics.store(this.#control, word + SocketWord.Datagrams, 0)
    const workerDatagrams = () => this.word(word + SocketWord.Datagrams)
    const toWorker = () => void orThrow('epoll_ctl', calls.watch(this.#start.poll, descriptor, tag), calls)
    const fromWorker = () => void calls.unwatch(this.#start.poll, descriptor)
    const hasWorker = () => this.word(WorkerWord.Turns) !== 0
    const held = direct?.hold({ descriptor, server, family, take, hasWorker, toWorker, fromWorker, workerDatagrams })
    if (held === undefined) toWorker()
    return {
      datagrams: () => workerDatagrams() + (held?.datagrams() ?? 0),
      takeBack: async () => {
        held?.end()
        fromWorker()
        await this.#untilTurn()
        // What it passed on before is still to be taken.
        for (let turn = 0; turn < LAST_TURNS_MAX && this.#takeSomeMisses(); turn++) await nextTurn()
        this.#takers.delete(tag)
      },
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    clearTimeout(this.#restart)
    Atomics.store(this.#control, WorkerWord.IsToldToStop, 1)
    this.#parts.calls.raise(this.#start.event)
    const worker = this.#worker
    if (worker === undefined) return
    const ended = new Promise<void>((resolve) => void worker.once('exit', () => resolve()))
    const late = setTimeout(() => void worker.terminate(), TURN_WAIT_MS)
    await ended
    clearTimeout(late)
  }

  async fell(why: string): Promise<void> {
    this.#whyFelled = why
    await this.#worker?.terminate()
  }

  close(calls: DatagramCalls): void {
    calls.close(this.#start.poll)
    calls.close(this.#start.event)
  }

  #run(): void {
    this.#startedAtMs = performance.now()
    const worker = new Worker(WORKER_FILE, { workerData: this.#start, resourceLimits: RESOURCE_LIMITS })
    this.#worker = worker
    this.#whyFelled = undefined
    let why = 'it ended by itself'
    worker.on('message', () => this.#takeMisses())
    worker.on('error', (error) => (why = error instanceof Error ? (error.stack ?? error.message) : String(error)))
    worker.on('exit', () => {
      this.#worker = undefined
      if (!this.#isStopping) this.#runAgain(this.#whyFelled ?? why)
    })
  }

  #runAgain(why: string): void {
    if (performance.now() - this.#startedAtMs > GOOD_RUN_MS) this.#pauseMs = RESTART_MS_MIN
    this.restarts++
    this.#parts.onFallen(why, this.#pauseMs)
    this.#restart = setTimeout(() => this.#run(), this.#pauseMs)
    this.#pauseMs = Math.min(this.#pauseMs * 2, RESTART_MS_MAX)
  }

  #takeMisses(): void {
    if (this.#takeSomeMisses()) setImmediate(() => this.#takeMisses())
  }

  /** Those of one turn; whether there may be more. */
  #takeSomeMisses(): boolean {
    this.#misses.looking()
    for (let taken = 0; taken < MISSES_PER_TURN_MAX; taken++) {
      const miss = this.#misses.take()
      if (miss === undefined) return false
      this.#takers.get(miss.socket)?.(miss)
    }
    return true
  }

  /** Resolves when the worker has begun a turn after now; a worker that is gone or stuck is not waited for. */
  async #untilTurn(): Promise<void> {
    const before = this.word(WorkerWord.Turns)
    const endMs = performance.now() + TURN_WAIT_MS
    // Two turns: the first may have begun before.
    while (
      ((this.word(WorkerWord.Turns) - before) | 0) < 2 &&
      this.#worker !== undefined &&
      performance.now() < endMs
    ) {
      this.#parts.calls.raise(this.#start.event)
      await new Promise((resolve) => void setTimeout(resolve, LOOK_MS))
    }
  }
}

function orThrow(call: string, result: number, calls: DatagramCalls): number {
  if (result < 0) throw new Error(`${call}: ${calls.errorName(-result)}`)
  return result
}
