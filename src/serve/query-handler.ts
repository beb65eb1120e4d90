/** What a listener hands to the slow path, and what it gets back: the door between sockets and answers. */

export const Transport = { Udp: 0, Tcp: 1 } as const
export type Transport = (typeof Transport)[keyof typeof Transport]

export const Family = { V4: 0, V6: 1 } as const
export type Family = (typeof Family)[keyof typeof Family]

/** One message of a client and the way back to it. Exactly one of `respond` and `drop` is called, exactly once. */
export interface Arrival {
  /** The bytes as they came. Valid until the handler returns: copy what must outlive it. */
  readonly message: Uint8Array
  readonly transport: Transport
  readonly family: Family
  /** The address that was asked, as metrics name it: `dns://169.254.20.10:53`. */
  readonly server: string
  /** The client's address without port, for logs and limits. */
  readonly clientAddress: string
  /** Sends the response; the listener owns the bytes from then on. */
  respond(response: Uint8Array): void
  /** Ends the query in silence. */
  drop(): void
}

/** Called on the event loop for every message; must not throw. */
export type QueryHandler = (arrival: Arrival) => void

/** A bound socket that serves one address. */
export interface Listener {
  /** The address in use, with the port that was really bound. */
  readonly address: string
  readonly port: number
  /** Those of the bound sockets; empty once they are closed. What is done to them must keep them readable. */
  readonly descriptors: readonly number[]
  /** The far ends of the open connections; none where there are no connections. */
  clientEnds(): readonly { readonly address: string; readonly port: number }[]
  /** Passes connections that are at rest to somebody else, who is given their descriptors; returns how many are left. */
  handOver(pass: (descriptor: number) => boolean): number
  /** Serves a connection that somebody else accepted. */
  adopt(descriptor: number): void
  /** Goes on answering until nothing is under way and nothing arrives, at the latest for `drainMs`, then closes. Idempotent. */
  stop(drainMs: number): Promise<void>
}
