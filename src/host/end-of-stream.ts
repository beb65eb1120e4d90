/**
 * The end of a TCP connection at the moment that costs its client least: when nothing of it is unread, and at once.
 *
 * Between a look at the socket and the end lies nothing but a system call. Node ends a socket a turn of the event loop later, and
 * what a client asks meanwhile is read by nobody.
 */

import { endSending, hasUnread } from './syscalls.ts'

export type EndOfStream =
  | 'ended'
  /** The client has said something; whoever reads it gets another chance. */
  | 'unread'
  /** Without the native library, or when the connection is gone: to be ended as Node does it. */
  | 'unknown'

/** Ends our side of a connection unless the client has said something that nobody read yet. */
export function endUnlessUnread(descriptor: number): EndOfStream {
  try {
    if (hasUnread(descriptor)) return 'unread'
    endSending(descriptor)
    return 'ended'
  } catch {
    return 'unknown'
  }
}
