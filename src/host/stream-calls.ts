/**
 * What Node's TCP sockets are not asked for, on their descriptors: sending without a detour, acknowledging at once, accepting
 * all that wait.
 *
 * A write through Node's streams takes several objects and callbacks; that was a sixth of the event loop's own time for a miss.
 *
 * A server that has Nagle's algorithm on holds its second small response back until the first one is acknowledged, and Linux
 * acknowledges after 40 ms when it has nothing to send itself (TCP_QUICKACK, tcp(7)). The option does not last: it is set
 * again after each read.
 */

import { type DatagramCalls, datagramCalls } from './syscalls.ts'

const IPPROTO_TCP = 6
const TCP_QUICKACK = 12
const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const ON = new Uint8Array(new Int32Array([1]).buffer)

type StreamCalls = Pick<DatagramCalls, 'setOption' | 'sendOctets' | 'accept' | 'close'>

let calls: StreamCalls | undefined

/** Without the native library the kernel decides, as it does everywhere else. */
export function acknowledgeNow(descriptor: number): void {
  calls ??= loaded()
  calls.setOption(descriptor, IPPROTO_TCP, TCP_QUICKACK, ON)
}

/** How many of the first `count` octets the kernel took; 0 when it takes none now, or never: whoever writes them learns why. */
export function sendNow(descriptor: number, octets: Uint8Array, count: number): number {
  calls ??= loaded()
  return Math.max(0, calls.sendOctets(descriptor, octets, count))
}

/** The descriptor of the next connection that waits at a listening one; negative where none does, or it cannot be had. */
export function acceptNow(listening: number): number {
  calls ??= loaded()
  return calls.accept(listening)
}

/** Closes a descriptor that nothing of Node's has taken. */
export function closeNow(descriptor: number): void {
  calls ??= loaded()
  calls.close(descriptor)
}

/** Octets that the kernel keeps of a stream, at most. */
export interface StreamBuffers {
  readonly toSend: number
  readonly received: number
}

/** Bounds what the kernel keeps of a stream, and of those that a listening socket accepts from then on. */
export function boundBuffers(descriptor: number, { toSend, received }: StreamBuffers): void {
  calls ??= loaded()
  calls.setOption(descriptor, SOL_SOCKET, SO_SNDBUF, new Uint8Array(new Int32Array([toSend]).buffer))
  calls.setOption(descriptor, SOL_SOCKET, SO_RCVBUF, new Uint8Array(new Int32Array([received]).buffer))
}

function loaded(): StreamCalls {
  try {
    return datagramCalls()
  } catch {
    // Said at the start: `udp-implementation` tells why the library is not there.
    return { setOption: () => 0, sendOctets: () => 0, accept: () => -1, close: () => 0 }
  }
}
