/**
 * What an operator sees and does of the record cache over HTTP, on the health address:
 * `GET /cache?name=NAME` prints what is kept for a name and why, `POST /cache/flush[?name=NAME|?zone=ZONE]` forgets.
 */

import { Freshness, freshnessOf } from '../dns/cache/freshness.ts'
import { partsOfKey } from '../dns/cache/key.ts'
import { rcodeName } from '../dns/wire/header.ts'
import { isAtOrBelow, type Name, nameFromText, textOfName } from '../dns/wire/name.ts'
import { typeName } from '../dns/wire/record-type.ts'
import type { HttpPages, HttpReply } from '../observe/http.ts'
import type { RecordCache } from '../serve/cache/record-cache.ts'
import type { CacheEntry } from '../serve/cache/record-cache-entry.ts'

export interface CachePagesParts {
  readonly recordCache: RecordCache
  /** Copies of what the record cache holds: forgotten with it. */
  readonly packets: { forgetIf(isWanted: (name: Name) => boolean): void; forgetAll(reason: 'operator'): unknown }
  maxStaleSeconds(): number
  nowSeconds(): number
  onFlush(what: string, entries: number): void
}

/** Entries of one name that are printed: every type and flag that a client can think of is one, and each has its bytes in the reply. */
const ENTRIES_TOLD_MAX = 1_000

const FRESHNESS_NAMES = { [Freshness.Fresh]: 'fresh', [Freshness.Stale]: 'stale', [Freshness.Gone]: 'gone' }

export function cachePages(parts: CachePagesParts): HttpPages {
  return {
    '/cache': async (query) => {
      const name = nameFromText(query.get('name') ?? '')
      if (name === undefined) return json(400, { error: 'say which name: /cache?name=www.example.com' })
      const entries = await parts.recordCache.entries((entry) => partsOfKey(entry.key).name === name, ENTRIES_TOLD_MAX)
      return json(200, { name: textOfName(name), entries: entries.map((entry) => told(entry, parts)) })
    },
    'POST /cache/flush': async (query) => {
      const [nameText, zoneText] = [query.get('name'), query.get('zone')]
      if (nameText !== null && zoneText !== null) return json(400, { error: 'name or zone, not both' })
      const text = nameText ?? zoneText
      if (text === null) return await flushed('all', parts, undefined)
      const wanted = nameFromText(text)
      if (wanted === undefined) return json(400, { error: `${text} is no domain name` })
      return nameText === null
        ? await flushed(`zone ${textOfName(wanted)}`, parts, (name) => isAtOrBelow(name, wanted))
        : await flushed(`name ${textOfName(wanted)}`, parts, (name) => name === wanted)
    },
  }
}

async function flushed(
  what: string,
  parts: CachePagesParts,
  isWanted: ((name: Name) => boolean) | undefined,
): Promise<HttpReply> {
  const { recordCache } = parts
  const entries =
    isWanted === undefined
      ? recordCache.flush()
      : await recordCache.flushIf((entry) => isWanted(partsOfKey(entry.key).name))
  if (isWanted === undefined) parts.packets.forgetAll('operator')
  else parts.packets.forgetIf(isWanted)
  parts.onFlush(what, entries)
  return json(200, { flushed: what, entries })
}

function told(entry: CacheEntry, parts: CachePagesParts): Record<string, unknown> {
  const { type, dnssecOk, checkingDisabled, recursionDesired } = partsOfKey(entry.key)
  const now = parts.nowSeconds()
  const age = now - entry.keptAtSeconds
  return {
    type: typeName(type),
    rcode: rcodeName(entry.rcode),
    kind: entry.kind,
    freshness: FRESHNESS_NAMES[freshnessOf(entry, now, parts.maxStaleSeconds())],
    ageSeconds: Math.floor(age),
    ttlLeftSeconds: Math.max(0, Math.floor(entry.lifetimeSeconds - age)),
    upstream: entry.upstream,
    route: entry.route,
    hits: entry.hits,
    dnssecOk,
    checkingDisabled,
    recursionDesired,
    octets: entry.octets,
  }
}

function json(status: number, body: unknown): HttpReply {
  return { status, contentType: 'application/json', body: `${JSON.stringify(body, null, 2)}\n` }
}
