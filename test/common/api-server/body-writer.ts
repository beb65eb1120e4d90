/** Writes a response's body at the pace of the client and of the faults, and counts its octets. */

import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { constants, createGzip, type Gzip } from 'node:zlib'
import type { Faults } from './faults.ts'

/** A request and what became of it. */
export interface RequestLogEntry {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly userAgent: string
  readonly authorization: string
  /** Common name of the client's certificate; empty without one. */
  readonly client: string
  readonly acceptsGzip: boolean
  /** 0: not answered yet. */
  status: number
  /** Octets of the body so far, as sent: compressed ones where it is. */
  bytes: number
  /** False once the response or its connection ended. */
  isOpen: boolean
}

export class BodyWriter {
  /** Octets of the body before the connection breaks; undefined: it does not. */
  cutAfterOctets: number | undefined
  readonly #response: ServerResponse
  readonly #entry: RequestLogEntry
  readonly #faults: Faults
  readonly #onSend: (() => void) | undefined
  readonly #closed: Promise<unknown>
  #gzip: Gzip | undefined
  #packed: Promise<void> | undefined

  constructor(response: ServerResponse, entry: RequestLogEntry, faults: Faults, onSend?: () => void) {
    this.#response = response
    this.#entry = entry
    this.#faults = faults
    this.#onSend = onSend
    this.#closed = new Promise((resolve) => response.once('close', resolve))
  }

  get isOpen(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded
  }

  get acceptsGzip(): boolean {
    return this.#entry.acceptsGzip
  }

  head(status: number, headers: Readonly<Record<string, string>>): void {
    this.#entry.status = status
    this.#response.writeHead(status, headers)
  }

  /** Sends the head before there is a body, as for a watch with nothing to say yet. */
  flushHead(): void {
    this.#response.flushHeaders()
  }

  /** Compresses what is written from here on; the head has to say so. */
  pack(): void {
    // Level 1, as the API server: it compresses while clients wait.
    const gzip = createGzip({ level: 1 })
    this.#gzip = gzip
    this.#packed = (async () => {
      // Read to the end even when nobody wants it any more, or the writer would wait for ever.
      for await (const chunk of gzip) await this.#paced(chunk as Buffer)
    })()
  }

  /** False when nobody reads any more. */
  async write(text: string): Promise<boolean> {
    if (this.#gzip === undefined) return await this.#paced(Buffer.from(text))
    if (!this.#gzip.write(text)) await once(this.#gzip, 'drain')
    return this.isOpen
  }

  async end(): Promise<void> {
    this.#gzip?.end()
    await this.#packed
    if (this.isOpen) this.#response.end()
  }

  /** Breaks the connection without an end of the body: FIN, or with `isReset` RST. What was written before arrives. */
  async cut(isReset: boolean): Promise<void> {
    const gzip = this.#gzip
    if (gzip !== undefined) {
      await new Promise<void>((resolve) => gzip.flush(constants.Z_SYNC_FLUSH, resolve))
      gzip.push(null)
      await this.#packed
    }
    if (isReset) this.#response.socket?.resetAndDestroy()
    else this.#response.socket?.destroy()
  }

  async #paced(bytes: Buffer): Promise<boolean> {
    if (this.#faults.pace === undefined) return await this.#send(bytes)
    for (let start = 0; start < bytes.length; ) {
      const { chunkOctets, everyMs } = this.#faults.pace ?? { chunkOctets: bytes.length, everyMs: 0 }
      if (!(await this.#send(bytes.subarray(start, start + chunkOctets)))) return false
      start += chunkOctets
      await Promise.race([delay(everyMs), this.#closed])
    }
    return this.isOpen
  }

  async #send(bytes: Buffer): Promise<boolean> {
    if (!this.isOpen) return false
    const left = (this.cutAfterOctets ?? Number.POSITIVE_INFINITY) - this.#entry.bytes
    if (bytes.length > left) {
      if (left > 0) await this.#send(bytes.subarray(0, left))
      this.#response.socket?.destroy()
      return false
    }
    this.#entry.bytes += bytes.length
    this.#onSend?.()
    // Until the kernel has it: what breaks next must not take it along.
    const written = new Promise<void>((resolve) => this.#response.write(bytes, () => resolve()))
    await Promise.race([written, this.#closed])
    return this.isOpen
  }
}
