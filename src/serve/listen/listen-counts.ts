/**
 * What listeners count: plain numbers that they write on the event loop and the scrape reads.
 *
 * Handed in, so that the listeners of all addresses share one, and a listener that is replaced leaves its counts behind.
 */

export type UdpCounts = {
  /** Datagrams from port 0, to which nobody can answer. */
  portZero: number
  /** Datagrams that came while the listener was stopping. */
  stopping: number
  /** The kernel would not take a response. */
  sendFailed: number
  /** The kernel reported an error instead of a datagram. */
  receiveFailed: number
  /** Responses that came after the socket was closed. */
  responsesLate: number
}

export type TcpCounts = {
  /** A gauge: connections open now. */
  connectionsOpen: number
  connectionsAccepted: number
  /** Connections closed at once: `TcpLimits.connectionsMax`, `connectionsPerClientMax`, or the kernel's own (descriptors). */
  refused: { connections: number; connectionsPerClient: number; acceptFailed: number }
  /** Connections that we ended, or lost, before the client said it was done. */
  cut: {
    idle: number
    /** A message was begun and not finished within `TcpLimits.partialMessageMs`, or the stream ended in its middle. */
    partialMessage: number
    /** A message of length 0: the stream makes no sense. */
    emptyMessage: number
    /** More than `TcpLimits.pendingWriteBytesMax`, or no progress for `TcpLimits.idleMs`. */
    slowReader: number
    /** All clients together had `TcpLimits.heldOctetsMax`, and this one most of it. */
    heldInAll: number
    /** Reset by the client or by the network. */
    reset: number
    /** Still busy, or not closed by the client, when the time to stop was over. */
    stopping: number
  }
  /** Times that a connection's messages had to wait. */
  paused: { queriesInFlight: number; pendingWrites: number; messagesPerTurn: number }
  /** Responses that came after the connection was gone. */
  responsesLate: number
}

export interface ListenCounts {
  readonly udp: UdpCounts
  readonly tcp: TcpCounts
}

/** All zero. */
export function newListenCounts(): ListenCounts {
  return {
    udp: { portZero: 0, stopping: 0, sendFailed: 0, receiveFailed: 0, responsesLate: 0 },
    tcp: {
      connectionsOpen: 0,
      connectionsAccepted: 0,
      refused: { connections: 0, connectionsPerClient: 0, acceptFailed: 0 },
      cut: { idle: 0, partialMessage: 0, emptyMessage: 0, slowReader: 0, heldInAll: 0, reset: 0, stopping: 0 },
      paused: { queriesInFlight: 0, pendingWrites: 0, messagesPerTurn: 0 },
      responsesLate: 0,
    },
  }
}
