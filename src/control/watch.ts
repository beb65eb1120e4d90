/**
 * One collection of the API followed forever: listed, watched, resumed where it broke off, listed again when it must be.
 *
 * A list changes objects as they come and removes what it did not name only at its end, so that there is no moment in
 * which a known name is denied. Where the server can, the list is a stream of events that goes on as the watch; older
 * servers are asked for pages from their cache.
 */

import { BackOff } from './back-off.ts'
import { failureOf } from './discovery.ts'
import { lines, listItems } from './json-stream.ts'
import type { ApiReply, ApiRequest, KubernetesApi } from './kubernetes-api.ts'
import { fieldOf } from './object-intake.ts'
import type { ObjectKey } from './object-store.ts'

export interface WatchLimits {
  /** Milliseconds until a response's headers. */
  readonly headersTimeoutMs: number
  /** Milliseconds of silence within a list. */
  readonly listIdleMs: number
  /** Seconds that the server is asked to keep a watch open, at least; up to twice as long by chance. */
  readonly watchSeconds: number
  /**
   * Milliseconds of silence after which a watch that had a bookmark is taken for dead: then one comes every minute. It has none
   * as long as its server has seen no newer version than it began with, which in a quiet cluster may be all its time.
   */
  readonly bookmarkIdleMs: number
  /** Objects a page. Servers that answer from their cache may send all at once. */
  readonly pageObjects: number
  /** A watch that ends sooner, without an event, counts as a failure. */
  readonly shortWatchMs: number
  /** A watch whose version expires so soon after its list is not listed again at once. */
  readonly freshListMs: number
  /**
   * Milliseconds over which chance spreads what a server's end makes all nodes do at once: the next watch, where one ended
   * before its time.
   */
  readonly resumeSpreadMs: number
  /** The same for a list after an expired version: for each object that the last list had, and at most. */
  readonly relistSpreadMsPerObject: number
  readonly relistSpreadMsMax: number
  /** Milliseconds after which a server that knew no streaming list is asked for one again: it may have been upgraded. */
  readonly streamRetryMs: number
}

export const WATCH_LIMITS: WatchLimits = {
  headersTimeoutMs: 30_000,
  listIdleMs: 30_000,
  watchSeconds: 300,
  bookmarkIdleMs: 150_000,
  pageObjects: 500,
  shortWatchMs: 1_000,
  freshListMs: 10_000,
  resumeSpreadMs: 1_000,
  relistSpreadMsPerObject: 1,
  relistSpreadMsMax: 10_000,
  streamRetryMs: 10 * 60_000,
}

export interface WatchParts {
  readonly api: KubernetesApi
  /** Of the collection, such as `/apis/discovery.k8s.io/v1/endpointslices`. */
  readonly path: string
  readonly labelSelector: string | undefined
  readonly limits: WatchLimits
  /** An object that is there; returns its identity, undefined when it has none. */
  put(object: unknown): ObjectKey | undefined
  /** An object that was deleted. */
  remove(object: unknown): void
  /** The end of a list: what it did not name is gone. */
  retain(listed: ReadonlySet<ObjectKey>): Promise<void>
  /** The collection is listed; called after every list. */
  onListed(): void
  /** The server said something. */
  onWord(): void
  onConnected(isConnected: boolean): void
  onRelist(): void
  onTooLarge(octets: number): void
  onFailure(code: string, message: string): void
  /** After every watch that ended: whether this is still the collection to follow. */
  isStillRight(): Promise<boolean>
  nowMs(): number
  chance(): number
  /** Resolves after a time, or at once when aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>
  /** Lets queries have their turn when events come faster than they are taken in. */
  breathe(): Promise<void> | undefined
}

/** Why following ended: there is no such collection, another one is right now, or it was aborted. */
export type WatchEnd = 'missing' | 'moved' | 'stopped'

type Step =
  | { readonly kind: 'listed' }
  /** The server ended the watch in good order. */
  | { readonly kind: 'ended'; readonly isShort: boolean; readonly isEarly: boolean }
  /** 410 Gone: the versions we know are forgotten there. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'missing' }
  /** The server knows no streaming list. */
  | { readonly kind: 'unsupported' }
  | {
      readonly kind: 'failed'
      readonly code: string
      readonly message: string
      readonly retryAfterSeconds: number | undefined
    }

/** Of the time that was asked for: a watch that ended after it ended in its time. */
const IN_TIME_PART = 0.9

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end'

export class Watch {
  readonly #parts: WatchParts
  readonly #backOff: BackOff
  /** Of the last word; undefined: never listed. */
  #resourceVersion: string | undefined
  #mustList = true
  #listsDone = 0
  #listedObjects = 0
  /** The next list must not rely on what the server has in its cache: it has forgotten or never seen our version. */
  #mustBeCurrent = false
  #noStreamingUntilMs = Number.NEGATIVE_INFINITY
  #listedAtMs = Number.NEGATIVE_INFINITY

  constructor(parts: WatchParts) {
    this.#parts = parts
    this.#backOff = new BackOff(parts.chance)
  }

  async run(signal: AbortSignal): Promise<WatchEnd> {
    while (!signal.aborted) {
      const step = await this.#step(signal)
      if (step.kind !== 'listed') this.#parts.onConnected(false)
      if (signal.aborted) break
      switch (step.kind) {
        case 'listed':
          this.#backOff.reset()
          break
        case 'ended':
          if (step.isShort) await this.#parts.wait(this.#backOff.next(), signal)
          else {
            this.#backOff.reset()
            if (step.isEarly) await this.#spread(this.#parts.limits.resumeSpreadMs, signal)
          }
          if (!signal.aborted && !(await this.#parts.isStillRight())) return 'moved'
          break
        case 'expired':
          this.#parts.onFailure('410', 'the resource version expired')
          // A list that expired in its pages, or a watch that did soon after one, needs the present state.
          if (this.#mustList || this.#parts.nowMs() - this.#listedAtMs < this.#parts.limits.freshListMs) {
            this.#mustBeCurrent = true
            await this.#parts.wait(this.#backOff.next(), signal)
          } else {
            const { relistSpreadMsPerObject, relistSpreadMsMax } = this.#parts.limits
            await this.#spread(Math.min(this.#listedObjects * relistSpreadMsPerObject, relistSpreadMsMax), signal)
          }
          this.#mustList = true
          break
        case 'unsupported':
          this.#noStreamingUntilMs = this.#parts.nowMs() + this.#parts.limits.streamRetryMs
          break
        case 'missing':
          this.#parts.onFailure('404', `${this.#parts.path} is not served`)
          return 'missing'
        case 'failed':
          this.#parts.onFailure(step.code, step.message)
          // It may be a token that was rotated (401), or a user that was changed (403): both are read anew before the next try.
          if (step.code === '401' || step.code === '403') this.#parts.api.forgetCredentials()
          // 504 is a server that has not seen our version (yet, or any more after a restore).
          if (step.code === '504' && this.#mustList) this.#mustBeCurrent = true
          if (step.code === '400' || step.code === '422') this.#mustList = true
          await this.#parts.wait(this.#backOff.next(step.retryAfterSeconds), signal)
          break
      }
    }
    return 'stopped'
  }

  /** What is known goes on being answered meanwhile. */
  async #spread(ms: number, signal: AbortSignal): Promise<void> {
    await this.#parts.wait(this.#parts.chance() * ms, signal)
  }

  async #step(signal: AbortSignal): Promise<Step> {
    let isStreaming = false
    try {
      if (!this.#mustList) return await this.#watch(signal, undefined)
      if (this.#listsDone > 0) this.#parts.onRelist()
      isStreaming = this.#parts.nowMs() >= this.#noStreamingUntilMs
      return isStreaming ? await this.#watch(signal, new Set()) : await this.#list(signal)
    } catch (failure) {
      const { code, message, name } = failure as NodeJS.ErrnoException
      // A server that overlooks what it does not know would keep us waiting for the end of the initial events.
      if (code === 'IDLE' && isStreaming && this.#mustList) return { kind: 'unsupported' }
      return { kind: 'failed', code: code ?? name, message, retryAfterSeconds: undefined }
    }
  }

  /** The version a list must not be older than: the cache's at first, then never before what we have seen. */
  #listVersion(): string {
    return this.#mustBeCurrent ? '' : (this.#resourceVersion ?? '0')
  }

  async #list(signal: AbortSignal): Promise<Step> {
    const { limits } = this.#parts
    const listed = new Set<ObjectKey>()
    let next: string | undefined
    let version: string | undefined
    do {
      const query: Record<string, string> = { limit: String(limits.pageObjects) }
      if (next !== undefined) query['continue'] = next
      else if (this.#listVersion() !== '') {
        query['resourceVersion'] = this.#listVersion()
        query['resourceVersionMatch'] = 'NotOlderThan'
      }
      const reply = await this.#get(query, limits.listIdleMs, signal)
      if (reply.kind !== 'ok') return this.#stepOf(reply)
      next = undefined
      for await (const piece of listItems(reply.body)) {
        if (piece.kind === 'too-large') this.#parts.onTooLarge(piece.octets)
        else if (piece.isList) {
          const metadata = fieldOf(piece.object, 'metadata')
          const token = fieldOf(metadata, 'continue')
          if (typeof token === 'string' && token !== '') next = token
          const itsVersion = fieldOf(metadata, 'resourceVersion')
          if (typeof itsVersion === 'string') version = itsVersion
        } else this.#put(piece.object, listed)
        const pause = this.#parts.breathe()
        if (pause !== undefined) await pause
        if (signal.aborted) return { kind: 'ended', isShort: false, isEarly: false }
      }
      this.#parts.onWord()
    } while (next !== undefined)
    await this.#finishList(listed, version)
    return { kind: 'listed' }
  }

  /** A watch; with `listed`, one that begins with everything there is. */
  async #watch(signal: AbortSignal, listed: Set<ObjectKey> | undefined): Promise<Step> {
    const { limits } = this.#parts
    const seconds = Math.round(limits.watchSeconds * (1 + this.#parts.chance()))
    const query: Record<string, string> = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(seconds),
      resourceVersion: listed === undefined ? (this.#resourceVersion ?? '') : this.#listVersion(),
    }
    if (listed !== undefined) {
      query['sendInitialEvents'] = 'true'
      query['resourceVersionMatch'] = 'NotOlderThan'
    }
    let isListing = listed !== undefined
    let hasBookmarks = false
    const idleMs = (): number => {
      if (isListing) return limits.listIdleMs
      return hasBookmarks ? limits.bookmarkIdleMs : seconds * 1000 + limits.headersTimeoutMs
    }
    const beganMs = this.#parts.nowMs()
    const reply = await this.#get(query, idleMs, signal)
    if (reply.kind !== 'ok') {
      // How servers without it refuse: the parameters are forbidden (422, older ones 400).
      const isRefused = reply.kind === 'refused' && (reply.status === 422 || reply.status === 400)
      return listed !== undefined && isRefused ? { kind: 'unsupported' } : this.#stepOf(reply)
    }
    if (listed === undefined) this.#parts.onConnected(true)
    let events = 0
    for await (const piece of lines(reply.body)) {
      this.#parts.onWord()
      if (piece.kind === 'too-large') this.#parts.onTooLarge(piece.octets)
      else {
        const type = fieldOf(piece.object, 'type')
        const object = fieldOf(piece.object, 'object')
        if (type === 'ERROR') return this.#stepOfStatus(object, listed !== undefined && isListing)
        const isEnd = this.#take(type, object, isListing ? listed : undefined)
        if (isEnd && isListing) {
          isListing = false
          await this.#finishList(listed!, this.#resourceVersion)
          this.#parts.onConnected(true)
          this.#backOff.reset()
        } else if (type === 'BOOKMARK') hasBookmarks = true
        if (!isListing) events++
      }
      const pause = this.#parts.breathe()
      if (pause !== undefined) await pause
      if (signal.aborted) break
    }
    // A server that does not know what was asked sends no end of the initial events.
    if (isListing) return { kind: 'unsupported' }
    const tookMs = this.#parts.nowMs() - beganMs
    return {
      kind: 'ended',
      isShort: events === 0 && tookMs < limits.shortWatchMs,
      isEarly: tookMs < seconds * 1000 * IN_TIME_PART,
    }
  }

  /** One event; true at the bookmark that ends the initial ones. */
  #take(type: unknown, object: unknown, listed: Set<ObjectKey> | undefined): boolean {
    const metadata = fieldOf(object, 'metadata')
    if (type === 'ADDED' || type === 'MODIFIED') this.#put(object, listed)
    else if (type === 'DELETED') this.#parts.remove(object)
    const version = fieldOf(metadata, 'resourceVersion')
    const isEnd = type === 'BOOKMARK' && fieldOf(fieldOf(metadata, 'annotations'), INITIAL_EVENTS_END) === 'true'
    // Half a list is no place to go on from.
    if (typeof version === 'string' && version !== '' && (listed === undefined || isEnd))
      this.#resourceVersion = version
    return isEnd
  }

  #put(object: unknown, listed: Set<ObjectKey> | undefined): void {
    const key = this.#parts.put(object)
    if (key !== undefined) listed?.add(key)
  }

  async #finishList(listed: ReadonlySet<ObjectKey>, version: string | undefined): Promise<void> {
    await this.#parts.retain(listed)
    this.#resourceVersion = version
    this.#mustList = version === undefined
    this.#mustBeCurrent = false
    this.#listsDone++
    this.#listedObjects = listed.size
    this.#listedAtMs = this.#parts.nowMs()
    this.#parts.onListed()
  }

  #get(
    query: Readonly<Record<string, string>>,
    idleTimeoutMs: ApiRequest['idleTimeoutMs'],
    signal: AbortSignal,
  ): Promise<ApiReply> {
    const { api, path, labelSelector, limits } = this.#parts
    return api.get({
      path,
      query: labelSelector === undefined ? query : { ...query, labelSelector },
      headersTimeoutMs: limits.headersTimeoutMs,
      idleTimeoutMs,
      signal,
    })
  }

  #stepOf(reply: Exclude<ApiReply, { kind: 'ok' }>): Step {
    if (reply.kind === 'refused' && reply.status === 410) return { kind: 'expired' }
    if (reply.kind === 'refused' && reply.status === 404) return { kind: 'missing' }
    return failureOf(reply)
  }

  #stepOfStatus(status: unknown, isListing: boolean): Step {
    const code = fieldOf(status, 'code')
    const message = fieldOf(status, 'message')
    if (code === 410) return { kind: 'expired' }
    if (isListing && (code === 422 || code === 400)) return { kind: 'unsupported' }
    return {
      kind: 'failed',
      code: typeof code === 'number' ? String(code) : 'ERROR',
      message: typeof message === 'string' ? message.slice(0, 500) : 'a watch error without a message',
      retryAfterSeconds: undefined,
    }
  }
}
