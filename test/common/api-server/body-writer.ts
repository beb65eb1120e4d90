/** Writes a response's body at the pace of the client and of the faults, and counts its octets. */

import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Faults } from './faults.ts'

/** A request and what became of it. */
export interface RequestLogEntry {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly userAgent: string
  readonly authorization: string
  /** 0: not answered yet. */
  status: number
  /** Octets of the body so far. */
  bytes: number
  /** False once the response or its connection ended. */
  isOpen: boolean
}

export class BodyWriter {
  readonly #response: ServerResponse
  readonly #entry: RequestLogEntry
  readonly #faults: Faults
  readonly #closed: Promise<unknown>

  constructor(response: ServerResponse, entry: RequestLogEntry, faults: Faults) {
    this.#response = response
    this.#entry = entry
    this.#faults = faults
    this.#closed = new Promise((resolve) => response.once('close', resolve))
  }

  get isOpen(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded
  }

  head(status: number, headers: Readonly<Record<string, string>>): void {
    this.#entry.status = status
    this.#response.writeHead(status, headers)
  }

  /** Sends the head before there is a body, as for a watch with nothing to say yet. */
  flushHead(): void {
    this.#response.flushHeaders()
  }

  /** False when nobody reads any more. */
  async write(text: string): Promise<boolean> {
    const bytes = Buffer.from(text)
    if (this.#faults.pace === undefined) return await this.#send(bytes)
    for (let start = 0; start < bytes.length; ) {
      const { chunkOctets, everyMs } = this.#faults.pace ?? { chunkOctets: bytes.length, everyMs: 0 }
      if (!(await this.#send(bytes.subarray(start, start + chunkOctets)))) return false
      start += chunkOctets
      await Promise.race([delay(everyMs), this.#closed])
    }
    return this.isOpen
  }

  end(): void {
    if (this.isOpen) this.#response.end()
  }

  /** Breaks the connection without an end of the body: FIN, or with `isReset` RST. */
  cut(isReset: boolean): void {
    if (isReset) this.#response.socket?.resetAndDestroy()
    else this.#response.socket?.destroy()
  }

  async #send(bytes: Buffer): Promise<boolean> {
    if (!this.isOpen) return false
    this.#entry.bytes += bytes.length
    // Until the kernel has it: what breaks next must not take it along.
    const written = new Promise<void>((resolve) => this.#response.write(bytes, () => resolve()))
    await Promise.race([written, this.#closed])
    return this.isOpen
  }
}
