/**
 * What the TCP clients of all listen addresses have together: places, and room for what we hold for them. One Pod shall not get
 * more by asking another of our addresses, and many Pods not more than the node can give.
 */

import type { TcpLimits } from './tcp-limits.ts'

export type RoomLimits = Pick<TcpLimits, 'connectionsMax' | 'connectionsPerClientMax' | 'heldOctetsMax'>

/** A connection for which something is held. */
export interface Holder {
  /** Octets that are held for it now: less than it told last, when the kernel has taken some meanwhile. */
  readonly heldOctets: number
  /** Ends it at once; it tells `hold` so. */
  cutForRoom(): void
}

export type NoRoom = 'connections' | 'connectionsPerClient'

export class TcpRoom {
  readonly #limits: RoomLimits
  #connections = 0
  /** At most `connectionsMax` addresses: those with a connection. */
  readonly #ofClient = new Map<string, number>()
  #held = 0
  /** What each told last; those that hold nothing are not in it. */
  readonly #holders = new Map<Holder, number>()

  constructor(limits: RoomLimits) {
    this.#limits = limits
  }

  /** Why a client cannot have another connection; undefined when it can. */
  lacks(clientAddress: string): NoRoom | undefined {
    if (this.#connections >= this.#limits.connectionsMax) return 'connections'
    const ofClient = this.#ofClient.get(clientAddress) ?? 0
    return ofClient >= this.#limits.connectionsPerClientMax ? 'connectionsPerClient' : undefined
  }

  enter(clientAddress: string): void {
    this.#connections++
    this.#ofClient.set(clientAddress, (this.#ofClient.get(clientAddress) ?? 0) + 1)
  }

  leave(clientAddress: string): void {
    this.#connections--
    const left = (this.#ofClient.get(clientAddress) ?? 1) - 1
    if (left === 0) this.#ofClient.delete(clientAddress)
    else this.#ofClient.set(clientAddress, left)
  }

  /** Told by a connection when what is held for it has changed; 0 at its end. May cut it, or another. */
  hold(holder: Holder, octets: number): void {
    this.#set(holder, octets)
    if (this.#held > this.#limits.heldOctetsMax) this.#makeRoom()
  }

  #set(holder: Holder, octets: number): void {
    this.#held += octets - (this.#holders.get(holder) ?? 0)
    if (octets === 0) this.#holders.delete(holder)
    else this.#holders.set(holder, octets)
  }

  /** Cuts whoever has most, until the rest has room. Each cut frees at least an equal share, so that looks are few for what they cost. */
  #makeRoom(): void {
    for (const holder of this.#holders.keys()) this.#set(holder, holder.heldOctets)
    while (this.#held > this.#limits.heldOctetsMax) {
      let most: Holder | undefined
      let octetsOfMost = 0
      for (const [holder, octets] of this.#holders) if (octets > octetsOfMost) [most, octetsOfMost] = [holder, octets]
      if (most === undefined) return
      most.cutForRoom()
      // Whatever it says of itself, it is not asked again.
      this.#set(most, 0)
    }
  }
}
