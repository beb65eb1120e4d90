/** What the event loop and a worker share: what the worker is given, and the numbers that both look at. */

/** Handed to a worker when it starts. Descriptors belong to the process: the event loop opens and closes them. */
export interface WorkerStart {
  readonly poll: number
  /** Readable when the worker is to look at `WorkerWord.IsToldToStop`. */
  readonly event: number
  readonly batchSlots: number
  readonly gatherMicros: number
  readonly control: SharedArrayBuffer
  readonly packetCache: SharedArrayBuffer
  readonly seed: number
  readonly counters: SharedArrayBuffer
  readonly cells: SharedArrayBuffer
  readonly misses: SharedArrayBuffer
  /** CLOCK_MONOTONIC, in seconds, at which the event loop's clock is zero. */
  readonly clockZeroSeconds: number
}

/** Sockets that a worker may serve; listen addresses are few. */
export const SOCKETS_MAX = 128

/** The tag of the event descriptor in the worker's poll. */
export const EVENT_TAG = SOCKETS_MAX

/** Words of `control`. */
export const WorkerWord = {
  IsToldToStop: 0,
  /** Turns of the worker's loop: what was taken from its poll before one began is no longer touched after it. */
  Turns: 1,
  SendFailed: 2,
  ReceiveFailed: 3,
  /** From here on, for each socket: descriptor, server, family, datagrams. */
  Sockets: 4,
} as const

export const SocketWord = { Descriptor: 0, Server: 1, Family: 2, Datagrams: 3 } as const
export const SOCKET_WORDS = 4

export const CONTROL_OCTETS = (WorkerWord.Sockets + SOCKETS_MAX * SOCKET_WORDS) * 4

/** Octets of the largest `struct sockaddr`; the kernel takes it for IPv4 too. */
export const PEER_OCTETS = 28

/** CLOCK_MONOTONIC, in seconds, at which `performance.now()` of this thread is zero: each thread has its own. */
export function clockZeroSeconds(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds + nanoseconds / 1e9 - performance.now() / 1000
}
