/** The DNS listeners: UDP and TCP on every listen address, opened together and stopped together. */

import type { Config } from '../config/config.ts'
import { ListenError, serverName } from '../serve/listen/listen-address.ts'
import type { ListenCounts } from '../serve/listen/listen-counts.ts'
import { openTcpListener } from '../serve/listen/tcp.ts'
import { openUdpListener } from '../serve/listen/udp-dgram.ts'
import type { Listener, QueryHandler } from '../serve/query-handler.ts'

export interface ListeningOn {
  readonly transport: 'udp' | 'tcp'
  readonly address: string
  readonly port: number
}

/** Ports that the system may choose for UDP, while somebody has the same one for TCP, before we give up. */
const CHOSEN_PORT_ATTEMPTS_MAX = 20

export class Listeners {
  readonly #counts: ListenCounts
  readonly #open: { readonly transport: 'udp' | 'tcp'; readonly listener: Listener }[] = []

  constructor(counts: ListenCounts) {
    this.#counts = counts
  }

  get listening(): readonly ListeningOn[] {
    return this.#open.map(({ transport, listener: { address, port } }) => ({ transport, address, port }))
  }

  /** The servers as metrics name them, one for each address. */
  get servers(): readonly string[] {
    return this.#open
      .filter(({ transport }) => transport === 'udp')
      .map(({ listener }) => serverName(listener.address, listener.port))
  }

  /** Opens all; rejects with a `ListenError` at the first that cannot be opened. Those before it stay open until the stop. */
  async start({ listen, tcp }: Config, handle: QueryHandler): Promise<void> {
    const limits = {
      connectionsMax: tcp.connectionsMax,
      connectionsPerClientMax: tcp.connectionsPerClientMax,
      idleMs: tcp.idleTimeoutMs,
    }
    const open = async (address: string, attemptsLeft: number): Promise<void> => {
      const { udp: udpCounts, tcp: tcpCounts } = this.#counts
      const udp = await openUdpListener({ address, port: listen.port, reusePort: false }, handle, { counts: udpCounts })
      const options = { address, port: udp.port, reusePort: false, limits }
      try {
        // A port that the system chose for UDP is wanted for TCP too: clients turn from one to the other.
        const tcpListener = await openTcpListener(options, handle, { counts: tcpCounts })
        this.#open.push({ transport: 'udp', listener: udp }, { transport: 'tcp', listener: tcpListener })
      } catch (error) {
        await udp.stop(0)
        const isChosenPortTaken = listen.port === 0 && error instanceof ListenError && error.code === 'ADDRESS_IN_USE'
        if (!isChosenPortTaken || attemptsLeft === 0) throw error
        await open(address, attemptsLeft - 1)
      }
    }
    for (const address of listen.addresses) await open(address, CHOSEN_PORT_ATTEMPTS_MAX)
  }

  async stop(drainMs: number): Promise<void> {
    await Promise.all(this.#open.map(({ listener }) => listener.stop(drainMs)))
  }
}
