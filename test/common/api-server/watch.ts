/** One watch: the state it begins with, then every change it selects, until its time is over or something breaks. */

import type { BodyWriter } from './body-writer.ts'
import { bookmarkJson, objectJson } from './encode.ts'
import type { Faults, Met } from './faults.ts'
import type { ListRequest } from './list.ts'
import type { Change, ObjectStore, Stored } from './object-store.ts'
import { type ApiError, versionTooLarge, watchExpired } from './status.ts'

/**
 * How a watch breaks. `end`: a clean end of the body; `cut`: FIN in the middle of a line; `reset`: RST; `silent`: no further
 * octet, never closed (half-open); `expired`: an ERROR event with 410, then the end.
 */
export type Break = 'end' | 'cut' | 'reset' | 'silent' | 'expired'

/** Lines a client may be behind; the server ends the watch of a slower one. */
const BEHIND_LINES_MAX = 100_000
/** Before its end a watch gets a last bookmark; one that is over sooner gets none. */
const LAST_BOOKMARK_MS = 2_000

export class Watch {
  readonly #store: ObjectStore
  readonly #faults: Faults
  readonly #writer: BodyWriter
  readonly request: ListRequest
  #stopListening: () => void = () => {}
  readonly #timers: NodeJS.Timeout[] = []
  #behindLines = 0
  #isSilent = false
  #beganAt = 0
  #tail: Promise<void> = Promise.resolve()

  constructor(store: ObjectStore, faults: Faults, writer: BodyWriter, request: ListRequest) {
    this.#store = store
    this.#faults = faults
    this.#writer = writer
    this.request = request
  }

  start(bookmarkEveryMs: number): void {
    const { resource, options } = this.request
    const from = options.resourceVersion ?? 0
    this.#beganAt = options.sendsInitialEvents === true || from === 0 ? this.#store.version : from
    this.#writer.head(200, { 'content-type': 'application/json' })
    this.#writer.flushHead()
    // The API server waits three seconds for that version, the response begun already.
    if (options.sendsInitialEvents === true && from > this.#store.version) {
      this.#fail(versionTooLarge(from, this.#store.version))
      return
    }
    if (options.sendsInitialEvents ?? from === 0) {
      for (const stored of this.#store.at(resource, this.#store.version)) {
        if (this.#selects(stored)) this.#event('ADDED', stored)
      }
      if (options.sendsInitialEvents === true && options.allowsBookmarks) this.#bookmark(true)
    } else if (from > 0) {
      const missed = this.#store.since(resource, from)
      if (missed === undefined) {
        this.#fail(watchExpired(from, this.#store.compactedTo))
        return
      }
      for (const change of missed) this.#take(change)
    }
    // A version from the future is waited for: nothing before it is told.
    this.#stopListening = this.#store.onChange((change) => {
      if (change.version > from) this.#take(change)
    })
    if (options.allowsBookmarks) this.#timers.push(setInterval(() => this.bookmark(), bookmarkEveryMs))
    if (options.timeoutSeconds !== undefined) {
      const ms = options.timeoutSeconds * 1000
      this.#timers.push(setTimeout(() => this.#onTimeout(), ms))
      if (ms > LAST_BOOKMARK_MS) this.#timers.push(setTimeout(() => this.bookmark(), ms - LAST_BOOKMARK_MS))
    }
  }

  /** Tells the version reached, if the client wants to know and does not. */
  bookmark(): void {
    // None while there is no newer version than the one it began with: in a quiet cluster a watch has none at all.
    if (this.request.options.allowsBookmarks && this.#store.version > this.#beganAt) this.#bookmark(false)
  }

  /** A line as it is, whole or not. */
  raw(text: string): void {
    this.#line(text)
  }

  break(how: Break): void {
    if (how === 'silent') {
      this.#isSilent = true
      return
    }
    if (how === 'expired') {
      this.#fail(watchExpired(this.#store.compactedTo, this.#store.version))
      return
    }
    this.#forget()
    if (how === 'cut') this.#line('{"type":"MODIFIED","object":{"metadata":{"name":"ha')
    this.#after(() => (how === 'end' ? this.#writer.end() : this.#writer.cut(how === 'reset')))
  }

  /** The client is gone. */
  close(): void {
    this.#forget()
  }

  #onTimeout(): void {
    if (!this.#isSilent) this.break('end')
  }

  #take({ resource, version, before, after }: Change): void {
    if (resource !== this.request.resource.name) return
    const was = before !== undefined && this.#selects(before)
    const is = after !== undefined && this.#selects(after)
    if (is) this.#event(was ? 'MODIFIED' : 'ADDED', after, version)
    // What leaves the selection is told as its last selected state, with the version of the change.
    else if (was) this.#event('DELETED', before, version)
  }

  #selects({ namespace, metadata }: Stored): boolean {
    if (this.request.namespace !== undefined && namespace !== this.request.namespace) return false
    return this.request.options.selector((metadata['labels'] ?? {}) as Record<string, unknown>)
  }

  #event(type: 'ADDED' | 'MODIFIED' | 'DELETED', stored: Stored, version = stored.version): void {
    const line = () =>
      `{"type":"${type}","object":${objectJson(this.request.resource, this.request.version, stored, version)}}\n`
    this.#line(line)
    if (this.#faults.duplicateEvents) this.#line(line)
  }

  #bookmark(isInitialEnd: boolean): void {
    this.#line(`${bookmarkJson(this.request.resource, this.request.version, this.#store.version, isInitialEnd)}\n`)
  }

  #fail(error: ApiError): void {
    this.#forget()
    this.#line(`${JSON.stringify({ type: 'ERROR', object: error.status })}\n`)
    this.#after(() => this.#writer.end())
  }

  /** Text is made only when it is sent, so that a watch that lags behind costs no copy of everything. */
  #line(line: string | (() => string)): void {
    if (++this.#behindLines > BEHIND_LINES_MAX) {
      this.#forget()
      void this.#writer.end()
      return
    }
    this.#after(async () => {
      this.#behindLines--
      await this.#writer.write(typeof line === 'string' ? line : line())
    })
  }

  #after(step: () => void | Promise<void>): void {
    const met: Met = { verb: 'watch', resource: this.request.resource.name }
    this.#tail = this.#tail.then(async () => {
      await this.#faults.untilReleased(met)
      if (!this.#isSilent && this.#writer.isOpen) await step()
    })
  }

  #forget(): void {
    this.#stopListening()
    for (const timer of this.#timers) clearTimeout(timer)
  }
}
