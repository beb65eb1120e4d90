/** One list, or one page of it. */

import type { BodyWriter } from './body-writer.ts'
import { itemJson, listFrame } from './encode.ts'
import type { Faults } from './faults.ts'
import type { ListOptions } from './list-options.ts'
import type { ObjectStore, Stored } from './object-store.ts'
import type { Resource } from './resources.ts'
import { badRequest, continueExpired, versionTooLarge } from './status.ts'

export interface ListRequest {
  readonly resource: Resource
  readonly version: string
  readonly namespace: string | undefined
  readonly options: ListOptions
}

export interface Page {
  readonly items: readonly Stored[]
  readonly metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }
}

/** Where the next page begins. Version -1: in whatever state there is then. */
interface ContinueToken {
  readonly rv: number
  readonly start: string
  readonly madeAtMs: number
}

/** Throws 400, 410 or 504. */
export function pageOf(store: ObjectStore, faults: Faults, request: ListRequest): Page {
  const { resource, namespace, options } = request
  const token = options.continueToken === undefined ? undefined : readToken(options.continueToken)
  const version = token === undefined ? versionOf(store, options) : versionOfToken(store, faults, token)
  const all = store
    .at(resource, version)
    .filter((stored) => namespace === undefined || stored.namespace === namespace)
    .filter((stored) => options.selector((stored.metadata['labels'] ?? {}) as Record<string, unknown>))
  const rest = token === undefined ? all : all.filter((stored) => stored.key >= token.start)
  const metadata: Page['metadata'] = { resourceVersion: String(version) }
  // The watch cache, which answers for version 0, knows no pages.
  const isPaged = options.limit > 0 && (token !== undefined || options.resourceVersion !== 0)
  if (!isPaged || rest.length <= options.limit) return { items: rest, metadata }
  metadata.continue = tokenText({ rv: version, start: rest[options.limit]!.key, madeAtMs: performance.now() })
  // With a selector the server would have to read everything to know.
  if (!options.isSelective) metadata.remainingItemCount = rest.length - options.limit
  return { items: rest.slice(0, options.limit), metadata }
}

function versionOf(store: ObjectStore, options: ListOptions): number {
  const asked = options.resourceVersion ?? 0
  if (asked > store.version) throw versionTooLarge(asked, store.version)
  // A page from a given version is that version's; without pages it is only a lower bound.
  const isExact = options.match === 'Exact' || (options.match === undefined && options.limit > 0 && asked > 0)
  return isExact ? asked : store.version
}

function versionOfToken(store: ObjectStore, faults: Faults, token: ContinueToken): number {
  if (token.rv === -1) return store.version
  if (token.rv < store.compactedTo || faults.isTokenExpired(token.madeAtMs)) {
    throw continueExpired(tokenText({ rv: -1, start: token.start, madeAtMs: performance.now() }))
  }
  return token.rv
}

function tokenText(token: ContinueToken): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', ...token })).toString('base64url')
}

function readToken(text: string): ContinueToken {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as Partial<ContinueToken>
    if (typeof token.rv === 'number' && typeof token.start === 'string')
      return { madeAtMs: 0, ...token } as ContinueToken
  } catch (cause) {
    throw badRequest(`invalid continue token: continue key is not valid: ${String(cause)}`)
  }
  throw badRequest('continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)')
}

/** Octets written at once: big lists leave in pieces, and nothing ever holds the text of a whole one. The API server packs lists above. */
const PIECE_OCTETS = 128 * 1024

export async function sendPage(page: Page, request: ListRequest, writer: BodyWriter, faults: Faults): Promise<void> {
  const cutAfter = faults.cutOf({ verb: 'list', resource: request.resource.name })
  const { head, tail } = listFrame(request.resource, request.version, page.metadata)
  let isBegun = false
  let text = head
  const begin = (isBig: boolean): void => {
    const isPacked = isBig && writer.acceptsGzip
    const encoding = isPacked ? { 'content-encoding': 'gzip' } : {}
    writer.head(200, { 'content-type': 'application/json', vary: 'Accept-Encoding', ...encoding })
    if (isPacked) writer.pack()
    isBegun = true
  }
  for (const [i, stored] of page.items.entries()) {
    const json = (i === 0 ? '' : ',') + itemJson(request.resource, request.version, stored)
    if (i === cutAfter) {
      if (!isBegun) begin(false)
      await writer.write(text + json.slice(0, json.length / 2))
      await writer.cut(false)
      return
    }
    text += json
    if (text.length < PIECE_OCTETS) continue
    if (!isBegun) begin(true)
    if (!(await writer.write(text))) return
    text = ''
  }
  if (!isBegun) begin(false)
  await writer.write(text + tail)
  await writer.end()
}
