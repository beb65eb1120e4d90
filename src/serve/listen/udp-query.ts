/** What UDP listeners have in common, however they receive: a query is settled once, and a stop waits for those under way. */

import { type Arrival, type Family, Transport } from '../query-handler.ts'
import { untilQuiet } from './quiet.ts'

/** Where queries come in and their responses leave; `Peer` is what it knows a client by. */
export interface UdpPlace<Peer> {
  readonly family: Family
  readonly server: string
  /** The client's address, without port. */
  addressOf(peer: Peer): string
  /** Sends one response, or none, and counts the query as done. */
  settle(response: Uint8Array | undefined, peer: Peer): void
}

export class UdpQuery<Peer> implements Arrival {
  readonly message: Uint8Array
  readonly transport = Transport.Udp
  readonly #place: UdpPlace<Peer>
  readonly #peer: Peer
  #isSettled = false

  constructor(place: UdpPlace<Peer>, message: Uint8Array, peer: Peer) {
    this.#place = place
    this.message = message
    this.#peer = peer
  }

  get family(): Family {
    return this.#place.family
  }

  get server(): string {
    return this.#place.server
  }

  get clientAddress(): string {
    return this.#place.addressOf(this.#peer)
  }

  respond(response: Uint8Array): void {
    this.#settle(response)
  }

  drop(): void {
    this.#settle(undefined)
  }

  #settle(response: Uint8Array | undefined): void {
    if (this.#isSettled) throw new Error('a query is answered or dropped once')
    this.#isSettled = true
    this.#place.settle(response, this.#peer)
  }
}

/** The queries of a listener that were taken and are not settled yet. */
export class UnderWay {
  #queries = 0
  #onIdle: (() => void) | undefined

  begin(): void {
    this.#queries++
  }

  end(): void {
    this.#queries--
    if (this.#queries === 0) this.#onIdle?.()
  }

  /** Resolves when nothing more comes and nothing is under way, or the time is over. `arrivals`: all that ever came. */
  async untilIdle(arrivals: () => number, leftMs: () => number): Promise<void> {
    for (;;) {
      await untilQuiet(arrivals)
      const waitMs = leftMs()
      if (this.#queries === 0 || waitMs <= 0) return
      const idle = Promise.withResolvers<void>()
      this.#onIdle = idle.resolve
      const timer = setTimeout(idle.resolve, waitMs)
      await idle.promise
      clearTimeout(timer)
    }
  }
}
