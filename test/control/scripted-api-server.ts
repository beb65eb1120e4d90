/**
 * An API server small enough for tests that lists, watches, pages, forgets and refuses as kube-apiserver does.
 *
 * It keeps objects of any kind by their REST path, gives every change the next resource version, remembers the latest
 * changes for resumed watches, and answers what is older with `410 Gone`. What a test wants to go wrong is set by `next`.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: {
    name: string
    namespace: string
    labels?: Record<string, string>
    resourceVersion?: string
    [field: string]: unknown
  }
  [field: string]: unknown
}

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED'

interface Change {
  readonly version: number
  readonly type: EventType
  readonly object: KubeObject
  readonly former: KubeObject | undefined
}

interface Watcher {
  readonly resource: string
  readonly matches: (object: KubeObject) => boolean
  readonly response: ServerResponse
  readonly apiVersion: string
}

/** What happens to the next request whose path and query the test matches. */
export interface Misfortune {
  readonly matches: (request: SeenRequest) => boolean
  /** Refused with this status; 0: the connection is cut before an answer. */
  readonly status?: number
  readonly retryAfterSeconds?: number
  /** The connection is cut after this many octets of the body. */
  readonly cutAfterOctets?: number
  /** The body of a list comes in pieces of so many octets, a turn of the event loop apart. */
  readonly chunkOctets?: number
  /** The response never comes. */
  readonly isSilent?: boolean
  /** How many requests it meets; 1 unless told. */
  times?: number
}

export interface SeenRequest {
  readonly path: string
  readonly query: URLSearchParams
  readonly token: string | undefined
  readonly isWatch: boolean
}

export interface ScriptedApiServerOptions {
  /** Whether `sendInitialEvents` is known (the WatchList feature). */
  readonly hasStreamingList?: boolean
  /** Whether lists from the cache are paged, as newer servers do. */
  readonly pagesFromCache?: boolean
  /** Changes remembered for resumed watches. */
  readonly historyMax?: number
  /** Milliseconds between bookmarks; 0: none. */
  readonly bookmarkMs?: number
}

const IMPORTS = 'serviceimports'
const SLICES = 'endpointslices'
const IMPORT_GROUP = 'multicluster.x-k8s.io'

export class ScriptedApiServer {
  readonly #options: Required<ScriptedApiServerOptions>
  readonly #objects = new Map<string, Map<string, KubeObject>>([
    [IMPORTS, new Map()],
    [SLICES, new Map()],
  ])
  readonly #history: (Change & { readonly resource: string })[] = []
  readonly #watchers = new Set<Watcher>()
  readonly #server = createServer((request, response) => this.#serve(request, response))
  readonly #bookmarks: NodeJS.Timeout | undefined
  #version = 1000
  #forgottenVersion = 0
  #importVersions: readonly string[]
  #misfortunes: Misfortune[] = []
  #tokens: ReadonlySet<string> | undefined
  #continueEpoch = 0
  readonly requests: SeenRequest[] = []

  constructor(options: ScriptedApiServerOptions = {}) {
    this.#options = { hasStreamingList: true, pagesFromCache: true, historyMax: 10_000, bookmarkMs: 0, ...options }
    this.#importVersions = ['v1beta1', 'v1alpha1']
    if (this.#options.bookmarkMs > 0) {
      this.#bookmarks = setInterval(() => this.sendBookmarks(), this.#options.bookmarkMs)
      this.#bookmarks.unref()
    }
  }

  async start(port = 0): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, '127.0.0.1', resolve)
    })
  }

  async stop(): Promise<void> {
    clearInterval(this.#bookmarks)
    this.#server.closeAllConnections()
    await new Promise((resolve) => void this.#server.close(resolve))
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get watcherCount(): number {
    return this.#watchers.size
  }

  /** The tokens that are good; undefined: everybody may ask. Open watches live on, as they do there. */
  set tokens(tokens: readonly string[] | undefined) {
    this.#tokens = tokens === undefined ? undefined : new Set(tokens)
  }

  /** Versions in which ServiceImports are served; none: the CRD is absent. Watches on them are ended by a change. */
  set importVersions(versions: readonly string[]) {
    this.#importVersions = versions
    if (versions.length === 0) for (const object of this.#of(IMPORTS).values()) this.delete(object)
    for (const watcher of this.#watchers) {
      if (watcher.resource !== IMPORTS) continue
      watcher.response.end()
      this.#watchers.delete(watcher)
    }
  }

  next(misfortune: Misfortune): void {
    this.#misfortunes.push({ times: 1, ...misfortune })
  }

  /** Creates or replaces an object. */
  put(object: KubeObject): void {
    const objects = this.#of(resourceOf(object))
    const key = keyOf(object)
    const former = objects.get(key)
    const version = ++this.#version
    const kept = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } }
    objects.set(key, kept)
    this.#record(resourceOf(object), {
      version,
      type: former === undefined ? 'ADDED' : 'MODIFIED',
      object: kept,
      former,
    })
  }

  delete(object: KubeObject): void {
    const former = this.#of(resourceOf(object)).get(keyOf(object))
    if (former === undefined) return
    this.#of(resourceOf(object)).delete(keyOf(object))
    const version = ++this.#version
    const last = { ...former, metadata: { ...former.metadata, resourceVersion: String(version) } }
    this.#record(resourceOf(object), { version, type: 'DELETED', object: last, former })
  }

  /** Changes that no watch hears of, as when it was away: what it resumes from must tell. */
  forgetHistory(): void {
    this.#history.length = 0
    this.#forgottenVersion = this.#version
  }

  /** Continue tokens given out so far are expired, as after a compaction. */
  expireContinueTokens(): void {
    this.#continueEpoch++
  }

  /** Cuts every watch as a broken network does. */
  cutWatches(): void {
    for (const { response } of this.#watchers) response.destroy()
    this.#watchers.clear()
  }

  /** Ends every watch as the server does at its time-out. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end()
    this.#watchers.clear()
  }

  /** Sends the watches of a resource an event as it is. */
  send(resource: 'serviceimports' | 'endpointslices', event: unknown): void {
    for (const watcher of this.#watchers) {
      if (watcher.resource === resource) watcher.response.write(`${JSON.stringify(event)}\n`)
    }
  }

  sendBookmarks(): void {
    for (const watcher of this.#watchers) this.#bookmark(watcher, {})
  }

  #of(resource: string): Map<string, KubeObject> {
    return this.#objects.get(resource)!
  }

  #record(resource: string, change: Change): void {
    this.#history.push({ ...change, resource })
    while (this.#history.length > this.#options.historyMax) this.#forgottenVersion = this.#history.shift()!.version
    for (const watcher of this.#watchers) if (watcher.resource === resource) tell(watcher, change)
  }

  #bookmark(watcher: Watcher, annotations: Record<string, string>): void {
    const kind = watcher.resource === IMPORTS ? 'ServiceImport' : 'EndpointSlice'
    const metadata = { resourceVersion: String(this.#version), creationTimestamp: null, annotations }
    write(watcher, 'BOOKMARK', { kind, apiVersion: watcher.apiVersion, metadata })
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://server')
    const token = /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1]
    const seen: SeenRequest = {
      path: url.pathname,
      query: url.searchParams,
      token,
      isWatch: url.searchParams.get('watch') === 'true',
    }
    this.requests.push(seen)
    const misfortune = this.#misfortuneOf(seen)
    if (misfortune?.isSilent === true) return
    if (misfortune?.status === 0) return void request.socket.destroy()
    if (misfortune?.status !== undefined) {
      if (misfortune.retryAfterSeconds !== undefined) {
        response.setHeader('Retry-After', String(misfortune.retryAfterSeconds))
      }
      return refuse(response, misfortune.status)
    }
    if (this.#tokens !== undefined && !this.#tokens.has(token ?? '')) return refuse(response, 401)
    const path = /^\/apis\/([^/]+)\/([^/]+)(?:\/(?:namespaces\/([^/]+)\/)?([^/]+))?$/.exec(url.pathname)
    if (path === null) return refuse(response, 404)
    const [, group, version, namespace, resource] = path as unknown as [string, string, string, string?, string?]
    const isServed =
      group === IMPORT_GROUP ? this.#importVersions.includes(version) : group === 'discovery.k8s.io' && version === 'v1'
    if (!isServed) return refuse(response, 404)
    const own = group === IMPORT_GROUP ? IMPORTS : SLICES
    if (resource === undefined) {
      return json(response, {
        kind: 'APIResourceList',
        apiVersion: 'v1',
        groupVersion: `${group}/${version}`,
        resources: [{ name: own, namespaced: true, verbs: ['list', 'watch'] }],
      })
    }
    if (resource !== own) return refuse(response, 404)
    const matches = matcherOf(namespace, url.searchParams.get('labelSelector'))
    const apiVersion = `${group}/${version}`
    if (seen.isWatch) this.#watch(response, own, apiVersion, url.searchParams, matches, misfortune)
    else this.#list(response, own, apiVersion, url.searchParams, matches, misfortune)
  }

  #misfortuneOf(seen: SeenRequest): Misfortune | undefined {
    const misfortune = this.#misfortunes.find(({ matches }) => matches(seen))
    if (misfortune === undefined) return undefined
    misfortune.times = (misfortune.times ?? 1) - 1
    if (misfortune.times <= 0) this.#misfortunes = this.#misfortunes.filter((other) => other !== misfortune)
    return misfortune
  }

  #list(
    response: ServerResponse,
    resource: string,
    apiVersion: string,
    query: URLSearchParams,
    matches: (object: KubeObject) => boolean,
    misfortune: Misfortune | undefined,
  ): void {
    const asked = Number(query.get('resourceVersion') ?? 0)
    if (asked > this.#version) return refuse(response, 504, 'Too large resource version')
    const limit = Number(query.get('limit') ?? 0)
    const isFromCache = query.get('resourceVersion') !== null
    const token = query.get('continue')
    let from = 0
    if (token !== null) {
      const [epoch, offset] = Buffer.from(token, 'base64').toString().split(' ').map(Number) as [number, number]
      if (epoch !== this.#continueEpoch) return refuse(response, 410, 'The provided continue parameter is too old')
      from = offset
    }
    const all = [...this.#of(resource).values()].filter(matches)
    const isPaged = limit > 0 && (!isFromCache || this.#options.pagesFromCache)
    const items = isPaged ? all.slice(from, from + limit) : all
    const rest = all.length - from - items.length
    const next = Buffer.from(`${this.#continueEpoch} ${from + items.length}`).toString('base64')
    const metadata = {
      resourceVersion: String(this.#version),
      ...(rest > 0 ? { continue: next, remainingItemCount: rest } : {}),
    }
    const kind = resource === IMPORTS ? 'ServiceImport' : 'EndpointSlice'
    const list =
      resource === IMPORTS
        ? // Custom resources are listed with their kind and before the metadata, built-in ones without and after it.
          { apiVersion, items: items.map((item) => ({ ...item, apiVersion })), kind: `${kind}List`, metadata }
        : {
            kind: `${kind}List`,
            apiVersion,
            metadata,
            items: Array.from(items, (item) => Object.assign({}, item, { kind: undefined, apiVersion: undefined })),
          }
    const body = Buffer.from(`${JSON.stringify(list)}\n`)
    response.setHeader('Content-Type', 'application/json')
    if (misfortune?.cutAfterOctets !== undefined) {
      response.write(body.subarray(0, misfortune.cutAfterOctets), () => response.destroy())
    } else if (misfortune?.chunkOctets !== undefined) sendSlowly(response, body, misfortune.chunkOctets)
    else response.end(body)
  }

  #watch(
    response: ServerResponse,
    resource: string,
    apiVersion: string,
    query: URLSearchParams,
    matches: (object: KubeObject) => boolean,
    misfortune: Misfortune | undefined,
  ): void {
    const wantsInitial = query.get('sendInitialEvents') === 'true'
    if (wantsInitial && !this.#options.hasStreamingList) {
      return refuse(response, 422, 'sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch')
    }
    const from = Number(query.get('resourceVersion') || 0)
    if (from > this.#version) return refuse(response, 504, 'Too large resource version')
    response.setHeader('Content-Type', 'application/json')
    response.flushHeaders()
    const watcher: Watcher = { resource, matches, response, apiVersion }
    if (misfortune?.cutAfterOctets !== undefined) {
      const writeWhole = response.write.bind(response) as (chunk: string) => boolean
      let left = misfortune.cutAfterOctets
      response.write = ((chunk: string) => {
        const isWritten = writeWhole(chunk.slice(0, left))
        left -= chunk.length
        if (left <= 0) setImmediate(() => response.destroy())
        return isWritten
      }) as typeof response.write
    }
    if (wantsInitial || from === 0) {
      for (const object of this.#of(resource).values()) if (matches(object)) write(watcher, 'ADDED', object)
      if (wantsInitial) this.#bookmark(watcher, { 'k8s.io/initial-events-end': 'true' })
    } else if (from < this.#forgottenVersion) {
      // A watch that is too old is told so in an event, not by its status.
      write(watcher, 'ERROR', statusOf(410, `too old resource version: ${from} (${this.#forgottenVersion})`))
      response.end()
      return
    } else {
      for (const change of this.#history) {
        if (change.resource === resource && change.version > from) tell(watcher, change)
      }
    }
    this.#watchers.add(watcher)
    const seconds = Number(query.get('timeoutSeconds') ?? 0)
    const timer = seconds > 0 ? setTimeout(() => response.end(), seconds * 1000) : undefined
    timer?.unref()
    response.on('close', () => {
      clearTimeout(timer)
      this.#watchers.delete(watcher)
    })
  }
}

/** An object that began or ceased to match the selector is added or deleted to the watcher's eyes. */
function tell(watcher: Watcher, { type, object, former }: Change): void {
  const isSeen = type !== 'DELETED' && watcher.matches(object)
  const wasSeen = former !== undefined && watcher.matches(former)
  if (isSeen) write(watcher, wasSeen ? 'MODIFIED' : 'ADDED', object)
  else if (wasSeen) {
    const { resourceVersion } = object.metadata
    const metadata = { ...former.metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) }
    write(watcher, 'DELETED', { ...former, metadata })
  }
}

function write(watcher: Watcher, type: string, object: unknown): void {
  const isOurs = type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED'
  const shown = isOurs ? { ...(object as KubeObject), apiVersion: watcher.apiVersion } : object
  watcher.response.write(`${JSON.stringify({ type, object: shown })}\n`)
}

/** A label selector of existence and equality requirements. */
function matcherOf(namespace: string | undefined, selector: string | null): (object: KubeObject) => boolean {
  const wanted = (selector ?? '').split(',').filter((part) => part !== '')
  return ({ metadata }) => {
    if (namespace !== undefined && metadata.namespace !== namespace) return false
    return wanted.every((part) => {
      const [label, value] = part.split(/==?/) as [string, string?]
      const has = metadata.labels?.[label]
      return value === undefined ? has !== undefined : has === value
    })
  }
}

function resourceOf(object: KubeObject): string {
  return object.kind === 'ServiceImport' ? IMPORTS : SLICES
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace}/${metadata.name}`
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  504: 'Timeout',
}

function statusOf(code: number, message: string): object {
  const reason = REASONS[code] ?? 'InternalError'
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code }
}

function refuse(response: ServerResponse, code: number, message = 'refused by the test'): void {
  response.statusCode = code
  json(response, statusOf(code, message))
}

function json(response: ServerResponse, value: object): void {
  response.setHeader('Content-Type', 'application/json')
  response.end(`${JSON.stringify(value)}\n`)
}

function sendSlowly(response: ServerResponse, body: Buffer, chunkOctets: number): void {
  let at = 0
  const send = (): void => {
    if (at >= body.length) return void response.end()
    response.write(body.subarray(at, at + chunkOctets))
    at += chunkOctets
    setImmediate(send)
  }
  send()
}
