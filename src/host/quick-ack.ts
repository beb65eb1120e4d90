/**
 * Acknowledging at once what came over TCP (TCP_QUICKACK, tcp(7)).
 *
 * A server that has Nagle's algorithm on holds its second small response back until the first one is acknowledged, and Linux
 * acknowledges after 40 ms when it has nothing to send itself. The option does not last: it is set again after each read.
 */

import { datagramCalls } from './syscalls.ts'

const IPPROTO_TCP = 6
const TCP_QUICKACK = 12
const ON = new Uint8Array(new Int32Array([1]).buffer)

type SetOption = (descriptor: number, level: number, option: number, value: Uint8Array) => number

let setOption: SetOption | undefined

/** Without the native library the kernel decides, as it does everywhere else. */
export function acknowledgeNow(descriptor: number): void {
  setOption ??= loaded()
  setOption(descriptor, IPPROTO_TCP, TCP_QUICKACK, ON)
}

function loaded(): SetOption {
  try {
    return datagramCalls().setOption
  } catch {
    // Said at the start: `udp-implementation` tells why the library is not there.
    return () => 0
  }
}
