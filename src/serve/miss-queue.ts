/**
 * Misses on their way from a worker to the event loop: a ring in shared memory with one writer and one reader.
 *
 * When the event loop falls behind, the oldest misses are dropped, by the writer: their clients are the first to have given
 * up. Both ends move the tail by compare-and-exchange; a reader whose miss was dropped while it copied it throws its copy away.
 *
 *    control: | 0 head | 1 tail | 2 1 while the reader has been told and has not looked yet |
 *    a miss:  | 0 octets in all | 1 kind, socket | 2 query octets, peer octets | peer, 32 octets | query |
 */

/** Octets of a ring: some 6,000 queries of usual size, a third of a second at 20,000 misses a second. */
export const MISS_QUEUE_OCTETS = 1024 * 1024

export const MissKind = { Query: 0, Renewal: 1, Gap: 2 } as const
export type MissKind = (typeof MissKind)[keyof typeof MissKind]

const CONTROL_OCTETS = 16
const Control = { Head: 0, Tail: 1, IsTold: 2 } as const
const PEER_AT = 12
const PEER_OCTETS = 32
const QUERY_AT = PEER_AT + PEER_OCTETS

/** A miss that was taken out; the bytes are the taker's own. */
export interface Miss {
  readonly kind: MissKind
  /** Which of the worker's sockets it came by. */
  readonly socket: number
  readonly peer: Uint8Array
  readonly query: Uint8Array
}

export class MissQueue {
  readonly memory: SharedArrayBuffer
  readonly #control: Int32Array
  readonly #words: Int32Array
  readonly #octets: Uint8Array
  readonly #size: number

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(CONTROL_OCTETS + MISS_QUEUE_OCTETS)) {
    this.memory = memory
    this.#size = memory.byteLength - CONTROL_OCTETS
    this.#control = new Int32Array(memory, 0, CONTROL_OCTETS / 4)
    this.#words = new Int32Array(memory, CONTROL_OCTETS, this.#size / 4)
    this.#octets = new Uint8Array(memory, CONTROL_OCTETS, this.#size)
  }

  /** Queues a datagram; its octets are copied. Returns how many others had to go for it. The writer's. */
  put(
    kind: MissKind,
    socket: number,
    bytes: Uint8Array,
    peerAt: number,
    peerOctets: number,
    at: number,
    octets: number,
  ): number {
    let dropped = 0
    const need = (QUERY_AT + octets + 3) & ~3
    const mask = this.#size - 1
    let head = this.#control[Control.Head]!
    const left = this.#size - (head & mask)
    if (left < need) {
      dropped += this.#makeRoom(head, left)
      this.#words[(head & mask) >> 2] = left
      if (left >= 8) this.#words[((head & mask) >> 2) + 1] = MissKind.Gap << 16
      head = (head + left) | 0
      Atomics.store(this.#control, Control.Head, head)
    }
    dropped += this.#makeRoom(head, need)
    const to = head & mask
    this.#words[to >> 2] = need
    this.#words[(to >> 2) + 1] = (kind << 16) | socket
    this.#words[(to >> 2) + 2] = (octets << 16) | peerOctets
    for (let i = 0; i < peerOctets; i++) this.#octets[to + PEER_AT + i] = bytes[peerAt + i]!
    for (let i = 0; i < octets; i++) this.#octets[to + QUERY_AT + i] = bytes[at + i]!
    Atomics.store(this.#control, Control.Head, (head + need) | 0)
    return dropped
  }

  /** Whether the reader has to be told that there is something; true once until it looks. The writer's. */
  mustTell(): boolean {
    const hasSome = this.#control[Control.Head] !== Atomics.load(this.#control, Control.Tail)
    return hasSome && Atomics.exchange(this.#control, Control.IsTold, 1) === 0
  }

  /** From now on the writer tells again. The reader's, before it looks. */
  looking(): void {
    Atomics.store(this.#control, Control.IsTold, 0)
  }

  /** The oldest miss; undefined when there is none. The reader's. */
  take(): Miss | undefined {
    const mask = this.#size - 1
    for (;;) {
      const tail = Atomics.load(this.#control, Control.Tail)
      if (tail === Atomics.load(this.#control, Control.Head)) return undefined
      const from = tail & mask
      const octets = this.#words[from >> 2]!
      const isGap = this.#size - from < QUERY_AT || this.#words[(from >> 2) + 1]! >> 16 === MissKind.Gap
      const miss = isGap ? undefined : this.#copy(from)
      const next = (tail + octets) | 0
      if (Atomics.compareExchange(this.#control, Control.Tail, tail, next) === tail && miss !== undefined) return miss
    }
  }

  #copy(from: number): Miss {
    const kindAndSocket = this.#words[(from >> 2) + 1]!
    const lengths = this.#words[(from >> 2) + 2]!
    const queryAt = from + QUERY_AT
    return {
      kind: (kindAndSocket >> 16) as MissKind,
      socket: kindAndSocket & 0xffff,
      // Torn lengths, of a miss that is being dropped, only make these shorter: slices end with the ring.
      peer: this.#octets.slice(from + PEER_AT, from + PEER_AT + Math.min(lengths & 0xffff, PEER_OCTETS)),
      query: Buffer.from(this.#octets.subarray(queryAt, queryAt + (lengths >>> 16))),
    }
  }

  /** Drops the oldest until `octets` are free behind `head`. */
  #makeRoom(head: number, octets: number): number {
    for (let dropped = 0; ; ) {
      const tail = Atomics.load(this.#control, Control.Tail)
      if (this.#size - ((head - tail) | 0) >= octets) return dropped
      const from = tail & (this.#size - 1)
      const isGap = this.#size - from < QUERY_AT || this.#words[(from >> 2) + 1]! >> 16 === MissKind.Gap
      const next = (tail + this.#words[from >> 2]!) | 0
      if (Atomics.compareExchange(this.#control, Control.Tail, tail, next) === tail && !isGap) {
        dropped++
      }
    }
  }
}
