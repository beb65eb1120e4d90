/**
 * One TCP connection of a client: messages out of its stream to the handler, responses back in any order (RFC 7766).
 *
 *    reading --FIN, or we stop--> answering --nothing under way--> ending --FIN of both, or lingerMs--> closed
 *
 * It reads no more while the client has too much under way or does not take its responses, and is cut when it goes on.
 */

import type { Socket } from 'node:net'
import { endUnlessUnread } from '../../host/end-of-stream.ts'
import { type Arrival, type Family, type QueryHandler, Transport } from '../query-handler.ts'
import { descriptorsOf } from './descriptor.ts'
import { framed, MessageStream } from './framing.ts'
import type { TcpCounts } from './listen-counts.ts'
import type { TcpLimits } from './tcp-limits.ts'
import type { Holder, TcpRoom } from './tcp-room.ts'

export interface ConnectionParts {
  readonly handler: QueryHandler
  readonly limits: TcpLimits
  readonly counts: TcpCounts
  readonly room: TcpRoom
  readonly server: string
  readonly family: Family
  readonly clientAddress: string
}

type CutReason = keyof TcpCounts['cut']

/** Milliseconds of silence after which nobody is taken to be about to ask. */
const QUIET_MS = 100

export class TcpConnection implements Holder {
  readonly parts: ConnectionParts
  readonly #socket: Socket
  readonly #stream = new MessageStream()
  #octetsRead = 0
  /** As the room was told last. */
  #heldAsTold = 0
  #inFlight = 0
  #isTaking = false
  #isContinuing = false
  #isWaitingForDrain = false
  #isCorked = false
  /** No more messages will be taken from the stream than it holds. */
  #isInputOver = false
  #isEnding = false
  /** Whether the message that is begun is another than the one the timer was started for. */
  #isPartialNew = false
  /** Runs from the first octet of a message to its last. */
  #partialTimer: NodeJS.Timeout | undefined
  #lingerTimer: NodeJS.Timeout | undefined
  #finishTimer: NodeJS.Timeout | undefined
  #isFinishing = false
  /** When the client last said something; opening the connection counts. */
  #readAt = performance.now()
  readonly #uncork = (): void => {
    this.#isCorked = false
    if (this.#socket.destroyed) return
    this.#socket.uncork()
    this.#tellHeld()
  }

  constructor(socket: Socket, parts: ConnectionParts) {
    this.#socket = socket
    this.parts = parts
    socket.setTimeout(parts.limits.idleMs)
    socket.on('data', (bytes: Buffer) => this.#read(bytes))
    socket.on('end', () => this.#takeNoMore())
    socket.on('drain', () => this.#drained())
    socket.on('timeout', () => this.#timedOut())
    socket.on('error', () => this.#countCut('reset'))
    socket.on('close', () => {
      this.#tellHeld()
      clearTimeout(this.#partialTimer)
      clearTimeout(this.#lingerTimer)
      clearTimeout(this.#finishTimer)
    })
  }

  /** The client's end; undefined once the connection is gone. */
  get clientEnd(): { readonly address: string; readonly port: number } | undefined {
    const { remoteAddress: address, remotePort: port } = this.#socket
    return address === undefined || port === undefined ? undefined : { address, port }
  }

  /** Octets that came from the client. */
  get octetsRead(): number {
    return this.#octetsRead
  }

  get heldOctets(): number {
    return this.#socket.destroyed ? 0 : this.#socket.writableLength + this.#stream.heldOctets
  }

  cutForRoom(): void {
    this.cut('heldInAll')
  }

  #tellHeld(): void {
    const held = this.heldOctets
    if (held === this.#heldAsTold) return
    this.#heldAsTold = held
    this.parts.room.hold(this, held)
  }

  /**
   * Ends at the moment that costs the client least: right after the last response that it waits for. One that asks again and
   * again without waiting has `withinMs` for such a moment. Idempotent.
   */
  finish(withinMs: number): void {
    if (this.#isInputOver || this.#isFinishing) return
    this.#isFinishing = true
    const endMs = performance.now() + withinMs
    const look = (): void => {
      const nowMs = performance.now()
      if (nowMs >= endMs) this.#takeNoMore()
      else if (nowMs - this.#readAt > QUIET_MS) this.#finishUnlessAsked()
      // One that was opened a moment ago and says nothing is quiet a moment later.
      if (!this.#isInputOver) this.#finishTimer = setTimeout(look, Math.min(endMs - nowMs, QUIET_MS))
    }
    look()
  }

  /**
   * Passes the connection to another process, if nothing of it is here: no query under way, no part of a message, no response
   * that the kernel has not taken. The client notices nothing.
   */
  handOver(pass: (descriptor: number) => boolean): boolean {
    const socket = this.#socket
    if (socket.destroyed) return true
    const isAtRest = this.#isAtRest && !this.#isInputOver && !this.#isEnding
    if (!isAtRest || socket.writableLength > 0 || socket.readableLength > 0) return false
    const [descriptor] = descriptorsOf(socket)
    if (descriptor === undefined || !pass(descriptor)) return false
    // Closes our descriptor alone: the other process holds the connection open.
    socket.destroy()
    return true
  }

  get #isAtRest(): boolean {
    return this.#inFlight === 0 && this.#stream.heldOctets === 0
  }

  /**
   * Ends, if the client has asked nothing that is not answered. The end leaves right behind the last response, so that the client
   * reads both at once: one that goes on asking on this connection could have known better.
   */
  #finishUnlessAsked(): void {
    if (!this.#isAtRest) return
    const socket = this.#socket
    if (this.#isCorked) this.#uncork()
    const [descriptor] = descriptorsOf(socket)
    const isSent = socket.writableLength === 0
    const end = descriptor === undefined || !isSent ? 'unknown' : endUnlessUnread(descriptor)
    if (end === 'ended') this.#takeNoMore()
    else if (end === 'unknown') this.#finishUnlessRead()
  }

  /** The same by Node's means: what the kernel has for us is read in the next turn; only when that was nothing is this the moment. */
  #finishUnlessRead(): void {
    const before = this.#octetsRead
    const finish = (): void => {
      if (this.#octetsRead === before && this.#isAtRest && !this.#socket.destroyed) this.#takeNoMore()
    }
    // The first turn ends without another look at the sockets.
    setImmediate(() => setImmediate(finish))
  }

  /** Takes no further octets, answers the queries that are here, then ends. Idempotent. */
  #takeNoMore(): void {
    if (this.#isInputOver) return
    this.#isInputOver = true
    this.#socket.pause()
    this.#take()
  }

  /** Ends at once, with whatever is under way. */
  cut(reason: CutReason): void {
    if (this.#socket.destroyed) return
    this.#countCut(reason)
    this.#socket.destroy()
    this.#tellHeld()
  }

  /** Sends one response, or none, and takes the next messages if that was what they waited for. */
  settle(response: Uint8Array | undefined): void {
    this.#inFlight--
    if (this.#socket.destroyed || this.#isEnding) {
      if (response !== undefined) this.parts.counts.responsesLate++
      return
    }
    if (response !== undefined) this.#write(response)
    this.#take()
    if (this.#isFinishing && !this.#isInputOver) this.#finishUnlessAsked()
  }

  #read(bytes: Buffer): void {
    this.#octetsRead += bytes.length
    this.#readAt = performance.now()
    // After our FIN the client may still talk; nobody listens.
    if (this.#isInputOver) return
    this.#stream.push(bytes)
    this.#take()
    this.#tellHeld()
  }

  /** Hands over the messages that are here, as far as the limits let it, and decides whether to read on. */
  #take(): void {
    // A handler that responds at once leads back here.
    if (this.#isTaking || this.#isContinuing || this.#isEnding) return
    this.#isTaking = true
    const isPaused = this.#takeMessages()
    this.#isTaking = false
    if (this.#socket.destroyed || this.#isEnding) return
    if (this.#isInputOver) {
      if (!isPaused && this.#inFlight === 0) this.#end()
      return
    }
    if (isPaused) this.#socket.pause()
    else if (this.#socket.isPaused()) this.#socket.resume()
    this.#watchPartialMessage(isPaused)
  }

  /** Returns whether it left messages, or what may be messages, for later. */
  #takeMessages(): boolean {
    const { limits, counts, handler } = this.parts
    for (let taken = 0; !this.#socket.destroyed; taken++) {
      if (this.#inFlight >= limits.queriesInFlightMax) {
        counts.paused.queriesInFlight++
        return true
      }
      if (this.#isWaitingForDrain || this.#socket.writableLength > limits.pendingWriteBytesPause) {
        if (!this.#isWaitingForDrain) counts.paused.pendingWrites++
        this.#isWaitingForDrain = true
        return true
      }
      if (taken === limits.messagesPerTurnMax) {
        counts.paused.messagesPerTurn++
        this.#continueNextTurn()
        return true
      }
      const message = this.#stream.next()
      if (message === undefined) return false
      if (message.length === 0) {
        // Nothing behind it can be trusted to be a message; what was asked before is still answered.
        counts.cut.emptyMessage++
        this.#stream.clear()
        this.#isInputOver = true
        this.#socket.pause()
        return false
      }
      this.#isPartialNew = true
      this.#inFlight++
      handler(new TcpArrival(this, message))
    }
    return false
  }

  #continueNextTurn(): void {
    this.#isContinuing = true
    setImmediate(() => {
      this.#isContinuing = false
      if (!this.#socket.destroyed) this.#take()
    })
  }

  #watchPartialMessage(isPaused: boolean): void {
    if (isPaused || this.#stream.heldOctets === 0) {
      clearTimeout(this.#partialTimer)
      this.#partialTimer = undefined
      return
    }
    if (this.#partialTimer !== undefined && this.#isPartialNew) this.#partialTimer.refresh()
    this.#partialTimer ??= setTimeout(() => this.cut('partialMessage'), this.parts.limits.partialMessageMs)
    this.#isPartialNew = false
  }

  /** Responses of one turn leave in one system call. */
  #write(response: Uint8Array): void {
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      process.nextTick(this.#uncork)
    }
    this.#socket.write(framed(response))
    if (this.#socket.writableLength > this.parts.limits.pendingWriteBytesMax) this.cut('slowReader')
  }

  #drained(): void {
    this.#isWaitingForDrain = false
    this.#take()
    this.#tellHeld()
  }

  #timedOut(): void {
    if (this.#socket.writableLength > 0) this.cut('slowReader')
    else if (this.#inFlight === 0 && this.#stream.heldOctets === 0) this.cut('idle')
    // The queries under way have their own time limits; a partial message has its own.
    else this.#socket.setTimeout(this.parts.limits.idleMs)
  }

  #end(): void {
    this.#isEnding = true
    if (this.#stream.heldOctets > 0) this.#countCut('partialMessage')
    this.#socket.end(() => {
      if (this.#socket.destroyed) return
      this.#lingerTimer = setTimeout(() => this.#socket.destroy(), this.parts.limits.lingerMs)
    })
    // Reads and forgets until the client's FIN: closing with octets unread would reset the responses away.
    this.#socket.resume()
  }

  #countCut(reason: CutReason): void {
    this.parts.counts.cut[reason]++
  }
}

class TcpArrival implements Arrival {
  readonly message: Uint8Array
  readonly transport = Transport.Tcp
  readonly #connection: TcpConnection
  #isSettled = false

  constructor(connection: TcpConnection, message: Uint8Array) {
    this.#connection = connection
    this.message = message
  }

  get family(): Family {
    return this.#connection.parts.family
  }

  get server(): string {
    return this.#connection.parts.server
  }

  get clientAddress(): string {
    return this.#connection.parts.clientAddress
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
    this.#connection.settle(response)
  }
}
