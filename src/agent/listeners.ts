/** The DNS listeners: UDP and TCP on every listen address, opened together and stopped together. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config/config.ts'
import { DescriptorReceiver, DescriptorSender, type PassedDescriptor } from '../host/pass-descriptors.ts'
import { leadConnectionsTo, spreadConnections, takeNothingNew } from '../host/shared-port.ts'
import { closeDescriptor, SyscallError } from '../host/syscalls.ts'
import type { Log } from '../observe/log.ts'
import { ListenError, serverName } from '../serve/listen/listen-address.ts'
import type { ListenCounts } from '../serve/listen/listen-counts.ts'
import { openTcpListener } from '../serve/listen/tcp.ts'
import { TcpRoom } from '../serve/listen/tcp-room.ts'
import type { OpenUdpListener } from '../serve/listen/udp-listener.ts'
import type { Listener, QueryHandler } from '../serve/query-handler.ts'

import { nowMs } from './clock-and-chance.ts'
import { textOf } from './error-text.ts'
import { askOurselves } from './own-query.ts'

export interface ListeningOn {
  readonly transport: 'udp' | 'tcp'
  readonly address: string
  readonly port: number
}

/** Ports that the system may choose for UDP, while somebody has the same one for TCP, before we give up. */
const CHOSEN_PORT_ATTEMPTS_MAX = 20

/** Milliseconds between two attempts to pass connections. */
const HAND_OVER_PAUSE_MS = 2

/** Connections taken in one turn of the event loop; the rest in the next. */
const TAKE_OVER_MAX = 256

/** Agents that may share a port at once: one that comes, and some that leave. */
const PLACES_MAX = 6

/** Who leaves, and who goes on. */
export interface Steering {
  readonly instance: string
  readonly successor: string | undefined
}

/** Milliseconds for the query that shows where connections are led. */
const STEERED_QUERY_MS = 500

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
  async start({ listen, tcp, host }: Config, openUdp: OpenUdpListener, handle: QueryHandler, log: Log): Promise<void> {
    const reusePort = host.stateDirectory !== null
    const limits = {
      connectionsMax: tcp.connectionsMax,
      connectionsPerClientMax: tcp.connectionsPerClientMax,
      heldOctetsMax: tcp.maxHeldBytes,
      idleMs: tcp.idleTimeoutMs,
    }
    const room = new TcpRoom(limits)
    const open = async (address: string, attemptsLeft: number): Promise<void> => {
      const { udp: udpCounts, tcp: tcpCounts } = this.#counts
      const udp = await openUdp({ address, port: listen.port, reusePort }, handle, { counts: udpCounts })
      const options = { address, port: udp.port, reusePort, limits }
      try {
        // A port that the system chose for UDP is wanted for TCP too: clients turn from one to the other.
        const tcpListener = await openTcpListener(options, handle, { counts: tcpCounts, room })
        this.#open.push({ transport: 'udp', listener: udp }, { transport: 'tcp', listener: tcpListener })
      } catch (error) {
        await udp.stop(0)
        const isChosenPortTaken = listen.port === 0 && error instanceof ListenError && error.code === 'ADDRESS_IN_USE'
        if (!isChosenPortTaken || attemptsLeft === 0) throw error
        await open(address, attemptsLeft - 1)
      }
    }
    for (const address of listen.addresses) await open(address, CHOSEN_PORT_ATTEMPTS_MAX)
    if (reusePort) this.#spreadConnections(log)
  }

  clientEnds(): { readonly address: string; readonly port: number }[] {
    return this.#open.flatMap(({ listener }) => listener.clientEnds())
  }

  /**
   * Leads what comes next to the sockets of another agent; what is queued here stays and is answered here. Where that cannot be
   * done it is said: then what arrives between our last look at a queue and its end is lost.
   */
  async steerAway({ instance, successor }: Steering, log: Log): Promise<void> {
    for (const { transport, listener } of this.#open) {
      const { address, port } = listener
      try {
        if (address === '0.0.0.0' || address === '::') throw new Error('a wildcard address is not steered')
        if (transport === 'udp') for (const each of listener.descriptors) takeNothingNew(each, address, port)
        else await steerConnections(listener, instance, successor)
      } catch (error) {
        log.warn('steering-failed', { transport, address, error: textOf(error) })
      }
    }
  }

  /**
   * Passes open TCP connections to another agent, each as soon as it is at rest, until none is left or the time is over. Throws
   * where there is nobody to take them.
   */
  async handOver(path: string, withinMs: number): Promise<{ readonly left: number }> {
    const sender = new DescriptorSender(path)
    const endMs = nowMs() + withinMs
    try {
      for (;;) {
        const left = this.#open
          .map(({ transport, listener }) => {
            const note = JSON.stringify({ transport, address: listener.address, port: listener.port })
            return listener.handOver((descriptor) => sender.send({ descriptor, note }))
          })
          .reduce((sum, each) => sum + each, 0)
        if (left === 0 || nowMs() > endMs) return { left }
        await sleep(HAND_OVER_PAUSE_MS)
      }
    } finally {
      sender.close()
    }
  }

  /** Serves connections that another agent passes to us; returns the function that ends it. Throws where that is impossible. */
  takeOver(path: string, log: Log): () => void {
    const receiver = new DescriptorReceiver(path)
    // Nobody is woken until somebody passes one.
    const take = (): void => {
      let taken = 0
      try {
        for (; taken < TAKE_OVER_MAX; taken++) {
          const passed = receiver.receive()
          if (passed === undefined) break
          this.#adopt(passed)
        }
      } catch (error) {
        // Whoever wrote that is no agent of this version; the next one may be.
        log.warn('connections-not-taken-over', { error: textOf(error) })
      }
      if (taken > 0) log.info('connections-taken-over', { taken })
    }
    try {
      receiver.watch(take)
    } catch (error) {
      receiver.close()
      throw error
    }
    return () => {
      // What was passed before we said that we leave is nobody else's.
      take()
      receiver.close()
    }
  }

  #adopt({ descriptor, note }: PassedDescriptor): void {
    try {
      const wanted = JSON.parse(note) as Partial<ListeningOn>
      const place = this.#open.find(
        ({ transport, listener: { address, port } }) =>
          transport === 'tcp' && address === wanted.address && port === wanted.port,
      )
      if (place === undefined) throw new Error(`nobody listens for ${note}`)
      place.listener.adopt(descriptor)
    } catch (error) {
      closeDescriptor(descriptor)
      throw error
    }
  }

  async stop(drainMs: number): Promise<void> {
    await Promise.all(this.#open.map(({ listener }) => listener.stop(drainMs)))
  }

  /** Someone who left before may have led new connections to a place that is somebody else's now. */
  #spreadConnections(log: Log): void {
    for (const { transport, listener } of this.#open) {
      if (transport === 'udp') continue
      for (const descriptor of listener.descriptors) {
        try {
          spreadConnections(descriptor)
        } catch (error) {
          // Nobody led them anywhere.
          if (error instanceof SyscallError && error.code === 'ENOENT') continue
          log.warn('steering-failed', { transport, address: listener.address, error: textOf(error) })
        }
      }
    }
  }
}

/** Whose socket is in which place, a query to ourselves tells. */
async function steerConnections(listener: Listener, instance: string, successor: string | undefined): Promise<void> {
  const [descriptor] = listener.descriptors
  if (descriptor === undefined) throw new Error('the listening socket has no descriptor')
  const target = { transport: 'tcp', address: listener.address, port: listener.port } as const
  for (let place = 0; place < PLACES_MAX; place++) {
    leadConnectionsTo(place, descriptor)
    const answer = await askOurselves(target, instance, STEERED_QUERY_MS)
    if (answer.kind === 'not-ours' && answer.author === successor) return
  }
  spreadConnections(descriptor)
  throw new Error('new connections come to the successor from no place')
}
