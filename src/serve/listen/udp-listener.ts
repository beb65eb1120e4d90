/**
 * What every way of listening on UDP has in common: `udp-dgram` works everywhere and is the reference, batched system
 * calls are an upgrade of the same interface. `test/serve/listen/udp-listener-suite.ts` says what both must do.
 */

import type { Listener, QueryHandler } from '../query-handler.ts'
import type { ListenAddress } from './listen-address.ts'
import type { UdpCounts } from './listen-counts.ts'

export interface UdpListenerOptions extends ListenAddress {
  /** See `UDP_RECEIVE_BUFFER_BYTES`. */
  readonly receiveBufferBytes?: number
}

export interface UdpListenerParts {
  readonly counts: UdpCounts
}

export type OpenUdpListener = (
  options: UdpListenerOptions,
  handler: QueryHandler,
  parts: UdpListenerParts,
) => Promise<Listener>

/**
 * Bytes the kernel may queue for one socket while the event loop is busy: at 20,000 queries a second, and 768 bytes of
 * kernel memory a small datagram, a stall of about a quarter of a second. The kernel cuts it to net.core.rmem_max.
 */
export const UDP_RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
