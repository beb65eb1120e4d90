/** What is common to all listeners: where they listen, how that is named, and why it may be impossible. */

import { isIPv6 } from 'node:net'
import { Family } from '../query-handler.ts'

export interface ListenAddress {
  /** IPv4 or IPv6, not a name; an IPv6 socket never takes IPv4. */
  readonly address: string
  /** 0: the kernel picks one. */
  readonly port: number
  /** SO_REUSEPORT: other sockets, of this process or the next one, may share the port. */
  readonly reusePort: boolean
}

export type ListenErrorCode = 'ADDRESS_IN_USE' | 'ADDRESS_NOT_LOCAL' | 'PORT_NOT_PERMITTED' | 'LISTEN_FAILED'

/** The world refused to let us listen. The message names address and port; `cause` is the system's error. */
export class ListenError extends Error {
  readonly code: ListenErrorCode

  constructor(code: ListenErrorCode, message: string, cause: unknown) {
    super(message, { cause })
    this.name = 'ListenError'
    this.code = code
  }
}

/** The family of an address as metrics count it. */
export function familyOf(address: string): Family {
  return isIPv6(address) ? Family.V6 : Family.V4
}

/** A listen address as metrics name it: `dns://169.254.20.10:53`, `dns://[fd00::1]:53`. */
export function serverName(address: string, port: number): string {
  return isIPv6(address) ? `dns://[${address}]:${port}` : `dns://${address}:${port}`
}

/** Says what a failed bind or listen means to an operator. */
export function listenError(protocol: 'UDP' | 'TCP', listen: ListenAddress, cause: Error): ListenError {
  const where = `cannot listen on ${listen.address} port ${listen.port} (${protocol})`
  const systemCode = 'code' in cause ? cause.code : undefined
  switch (systemCode) {
    case 'EADDRINUSE':
      return new ListenError('ADDRESS_IN_USE', `${where}: another process has it`, cause)
    case 'EADDRNOTAVAIL':
      return new ListenError('ADDRESS_NOT_LOCAL', `${where}: no interface of this machine has the address`, cause)
    case 'EACCES':
    case 'EPERM':
      return new ListenError(
        'PORT_NOT_PERMITTED',
        `${where}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE`,
        cause,
      )
    default:
      return new ListenError('LISTEN_FAILED', `${where}: ${cause.message}`, cause)
  }
}
