/** Two UDP sockets on loopback by system calls: one serves, the other is connected to it. */

import { socketAddress } from '../../src/host/shared-port.ts'
import type { DatagramCalls } from '../../src/host/syscalls.ts'

const AF_INET = 2
const ADDRESS_OCTETS = 16

export interface DatagramPair {
  readonly server: number
  readonly client: number
  close(): void
}

export function datagramPair(calls: DatagramCalls): DatagramPair {
  const server = boundSocket(calls)
  return {
    server,
    client: connectedTo(calls, localAddressOf(calls, server)),
    close() {
      calls.close(this.client)
      calls.close(server)
    },
  }
}

/** A socket whose peer is `port` of 127.0.0.1. */
export function clientOf(calls: DatagramCalls, port: number): number {
  return connectedTo(calls, socketAddress('127.0.0.1', port))
}

function boundSocket(calls: DatagramCalls): number {
  const descriptor = done(calls, 'socket', calls.socket(AF_INET))
  done(calls, 'bind', calls.bind(descriptor, socketAddress('127.0.0.1', 0)))
  return descriptor
}

function connectedTo(calls: DatagramCalls, address: Uint8Array): number {
  const descriptor = boundSocket(calls)
  done(calls, 'connect', calls.connect(descriptor, address))
  return descriptor
}

function localAddressOf(calls: DatagramCalls, descriptor: number): Uint8Array {
  const address = new Uint8Array(ADDRESS_OCTETS)
  done(calls, 'getsockname', calls.localAddress(descriptor, address))
  return address
}

function done(calls: DatagramCalls, call: string, result: number): number {
  if (result < 0) throw new Error(`${call}: ${calls.errorName(-result)}`)
  return result
}
