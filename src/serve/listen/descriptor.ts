/** The descriptor below one of Node's sockets, for the system calls that Node does not make. */

import type { Socket } from 'node:dgram'
import type { Server, Socket as TcpSocket } from 'node:net'

interface WithDescriptor {
  readonly fd?: number
}

/** None where the platform has no descriptors, or Node keeps them elsewhere one day. */
export function descriptorsOf(socket: Socket | Server | TcpSocket): readonly number[] {
  const handle = handleOf(socket)
  return handle?.fd === undefined || handle.fd < 0 ? [] : [handle.fd]
}

function handleOf(socket: object): WithDescriptor | null | undefined {
  // node:dgram keeps it behind a symbol, and warns whoever asks for the property that node:net has.
  const state = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol')
  if (state === undefined) return (socket as { readonly _handle?: WithDescriptor | null })._handle
  return (socket as Record<symbol, { readonly handle?: WithDescriptor | null }>)[state]?.handle
}
