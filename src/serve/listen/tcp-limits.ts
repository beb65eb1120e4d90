/** How much the TCP clients of a node may take of us (RFC 7766 section 6, RFC 9210 section 4). Each has a count when it is hit. */

import type { StreamBuffers } from '../../host/stream-calls.ts'

export interface TcpLimits {
  /**
   * Connections at a time, at all listen addresses together; one more is closed at once. A connection costs about 10 KiB, and the
   * kernel what `kernelOctets` says.
   */
  readonly connectionsMax: number
  /** Of them, from one client address. Pods have one each, but those in the host's network share the node's. */
  readonly connectionsPerClientMax: number
  /**
   * Connections of one listen address beyond both limits for clients that come from that address, or from loopback, which a Pod
   * cannot: our own queries to ourselves must not fail because others hold all connections.
   */
  readonly connectionsReserved: number
  /** Queries of one connection without a response; reading pauses until there are fewer. */
  readonly queriesInFlightMax: number
  /** Messages of one connection taken in one turn of the event loop; the rest wait for the next, others have theirs. */
  readonly messagesPerTurnMax: number
  /** Octets of responses that the client has not taken; reading pauses until it has taken them all. */
  readonly pendingWriteBytesPause: number
  /** The same, but now the client is cut off: it asks and does not read. */
  readonly pendingWriteBytesMax: number
  /**
   * Octets held for all clients together: responses that they have not taken, queries that we have not taken. Above it the connection
   * for which most is held is cut.
   */
  readonly heldOctetsMax: number
  /**
   * Octets that the kernel may keep of a connection beside ours; it takes twice as much memory for them. By itself it would keep
   * megabytes of what a client does not read, and they count for our container. Fewer than 48 KiB to send, and a large response waits
   * for acknowledgements that the client's kernel delays by 40 ms.
   */
  readonly kernelOctets: StreamBuffers
  /** Milliseconds without a query under way, without octets from the client or taken by it (RFC 7766 section 6.2.3). */
  readonly idleMs: number
  /** Milliseconds between the first octet of a message and its last. */
  readonly partialMessageMs: number
  /** Milliseconds that we wait for the client's FIN after ours. */
  readonly lingerMs: number
}

export const TCP_LIMITS: TcpLimits = {
  connectionsMax: 1024,
  connectionsPerClientMax: 128,
  connectionsReserved: 4,
  queriesInFlightMax: 128,
  messagesPerTurnMax: 256,
  pendingWriteBytesPause: 128 * 1024,
  pendingWriteBytesMax: 4 * 1024 * 1024,
  heldOctetsMax: 32 * 1024 * 1024,
  kernelOctets: { toSend: 64 * 1024, received: 32 * 1024 },
  idleMs: 10_000,
  partialMessageMs: 5_000,
  lingerMs: 1_000,
}
