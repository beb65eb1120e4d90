/**
 * Tables of questions and answers in zone-file notation (`test/vectors/**.txt`), each beside the Kubernetes objects
 * that it is about (`.yaml` of the same name). They run against whatever can be asked: the zone, or an agent's socket.
 *
 *     # a comment
 *     set zone clusterset.local.             what the server is configured with; see `VectorSettings`
 *     let SOA clusterset.local. 5 IN SOA …   `$SOA` stands for the rest of this line; `*` matches any one word
 *
 *     promise a ClusterSetIP service has its address at its name
 *     query web.shop.svc.clusterset.local. A         type, and class if it is not IN
 *     rcode NOERROR aa                               the rcode, then flags in lower case; then the records, in any
 *     answer web.shop.svc.clusterset.local. 5 IN A 10.42.0.1            order: `answer`, `authority`, `additional`
 *
 * A promise may have several queries. Sections that are not written are empty.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { Answer, DecodedPacket } from 'dns-packet'
import { parseAllDocuments } from 'yaml'
import { decodeMessage } from '../../src/dns/wire/message.ts'
import { RecordType } from '../../src/dns/wire/record-type.ts'

export interface VectorQuestion {
  /** As it is spelled in the table, with its last dot. */
  readonly name: string
  readonly type: number
  readonly class: number
}

/** A response as the tables write it; records as lines. */
export interface VectorResponse {
  readonly rcode: string
  /** `aa`, `tc`; rd and ra are the transport's business. */
  readonly flags: readonly string[]
  readonly answer: readonly string[]
  readonly authority: readonly string[]
  readonly additional: readonly string[]
}

export interface VectorCase {
  readonly promise: string
  readonly line: number
  readonly question: VectorQuestion
  readonly expected: VectorResponse
}

/** What the server under test must be configured with. */
export interface VectorSettings {
  readonly zones: readonly string[]
  readonly ttlSeconds: number
  readonly submariner: boolean
  readonly localClusterId: string | undefined
  /** Other than `synced` only where the zone can be put in that state. */
  readonly state: 'synced' | 'unsynced' | 'absent'
  /** Namespaces that are watched by name, none for all, and those beside them that must not be listed: the zone is partial then. */
  readonly namespaces: readonly string[]
  readonly missing: readonly string[]
  /** What `ns.dns.<zone>` resolves to. */
  readonly serverAddresses: readonly string[]
}

export interface VectorTable {
  readonly settings: VectorSettings
  readonly cases: readonly VectorCase[]
  /** The objects in the YAML file of the same name, none if there is no such file. */
  readonly objects: readonly unknown[]
  readonly objectsFile: URL
}

/** Asks the server under test one question. */
export type Ask = (question: VectorQuestion) => VectorResponse | Promise<VectorResponse>

const CLASSES: Readonly<Record<string, number>> = { IN: 1, CH: 3, HS: 4, ANY: 255 }

/** Reads `<name>.txt` and `<name>.yaml`; `name` is relative to `test/vectors/`. */
export function readVectors(name: string): VectorTable {
  const table = new URL(`../vectors/${name}.txt`, import.meta.url)
  const objectsFile = new URL(`../vectors/${name}.yaml`, import.meta.url)
  const objects = parseAllDocuments(readFileSync(objectsFile, 'utf8')).map((document) => {
    assert.deepEqual(document.errors, [], objectsFile.href)
    return document.toJS() as unknown
  })
  return {
    ...parseVectors(readFileSync(table, 'utf8')),
    objects: objects.filter((object) => object !== null),
    objectsFile,
  }
}

/** The settings and cases of a table's text; throws with the line's number on what it does not understand. */
export function parseVectors(text: string): Pick<VectorTable, 'settings' | 'cases'> {
  const settings = {
    zones: [] as string[],
    ttlSeconds: 5,
    submariner: false,
    localClusterId: undefined as string | undefined,
    state: 'synced' as VectorSettings['state'],
    namespaces: [] as string[],
    missing: [] as string[],
    serverAddresses: [] as string[],
  }
  const cases: { promise: string; line: number; question: VectorQuestion; expected: DraftResponse }[] = []
  const macros = new Map<string, string>()
  let promise = ''
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/#.*$/, '').trim()
    if (line === '') continue
    const fail = (why: string): never => assert.fail(`line ${index + 1}: ${why}: ${raw}`)
    const [, verb = '', written = ''] = /^(\S+)\s*(.*)$/.exec(line) ?? []
    const rest = written.replace(/\$(\w+)/g, (_, macro: string) => macros.get(macro) ?? fail(`no macro ${macro}`))
    const words = rest.split(/\s+/)
    const expected = cases.at(-1)?.expected
    if (verb === 'promise') promise = rest
    else if (verb === 'let') macros.set(words[0]!, words.slice(1).join(' '))
    else if (verb === 'query') {
      const question = { name: words[0]!, type: typeOf(words[1] ?? fail('no type')), class: CLASSES[words[2] ?? 'IN']! }
      cases.push({ promise, line: index + 1, question, expected: draftResponse() })
    } else if (verb === 'rcode') {
      const response = expected ?? fail('no query yet')
      response.rcode = words[0]!
      response.flags = words.slice(1)
    } else if (verb === 'answer' || verb === 'authority' || verb === 'additional') {
      ;(expected ?? fail('no query yet'))[verb].push(words.join(' '))
    } else if (verb === 'set') {
      const [key, value = ''] = words
      if (key === 'zone') settings.zones.push(value)
      else if (key === 'ttl') settings.ttlSeconds = Number(value)
      else if (key === 'submariner') settings.submariner = value === 'on'
      else if (key === 'local-cluster') settings.localClusterId = value
      else if (key === 'state') settings.state = value as VectorSettings['state']
      else if (key === 'namespace') settings.namespaces.push(value)
      else if (key === 'missing') settings.missing.push(value)
      else if (key === 'server-address') settings.serverAddresses.push(value)
      else fail('no such setting')
    } else fail('no such verb')
  }
  for (const { expected, line } of cases) assert.notEqual(expected.rcode, '', `line ${line}: a query without an rcode`)
  if (settings.zones.length === 0) settings.zones.push('clusterset.local.')
  return { settings, cases }
}

/** Asks a case's question and fails where the response differs from the table. */
export async function checkVector(vector: VectorCase, ask: Ask): Promise<void> {
  const actual = await ask(vector.question)
  const { expected } = vector
  const sections = (response: VectorResponse, like: VectorResponse) => ({
    rcode: [response.rcode, ...response.flags.toSorted()].join(' '),
    answer: alike(response.answer, like.answer),
    authority: alike(response.authority, like.authority),
    additional: alike(response.additional, like.additional),
  })
  assert.deepEqual(sections(actual, expected), sections(expected, expected), `line ${vector.line}`)
}

/** A response from its bytes, OPT left out. */
export function responseFromBytes(bytes: Uint8Array): VectorResponse {
  const packet = decodeMessage(bytes) as DecodedPacket & { rcode: string; flag_aa: boolean; flag_tc: boolean }
  const flags: string[] = []
  if (packet.flag_aa) flags.push('aa')
  if (packet.flag_tc) flags.push('tc')
  const lines = (records: readonly Answer[] | undefined) =>
    (records ?? []).filter((record) => record.type !== 'OPT').map(lineOf)
  return {
    rcode: packet.rcode,
    flags,
    answer: lines(packet.answers),
    authority: lines(packet.authorities),
    additional: lines(packet.additionals),
  }
}

interface DraftResponse {
  rcode: string
  flags: string[]
  readonly answer: string[]
  readonly authority: string[]
  readonly additional: string[]
}

function draftResponse(): DraftResponse {
  return { rcode: '', flags: [], answer: [], authority: [], additional: [] }
}

/** Sorted lines; those that match a line with `*` in it are written as that line. */
function alike(lines: readonly string[], patterns: readonly string[]): string[] {
  const wild = patterns.filter((pattern) => pattern.includes('*'))
  return lines.map((line) => wild.find((pattern) => matches(line, pattern)) ?? line).toSorted()
}

function matches(line: string, pattern: string): boolean {
  const words = line.split(' ')
  const wanted = pattern.split(' ')
  return words.length === wanted.length && wanted.every((word, i) => word === '*' || word === words[i])
}

function typeOf(text: string): number {
  const known = Object.entries(RecordType).find(([name]) => name === text)?.[1]
  const number = known ?? Number(/^TYPE(\d+)$/.exec(text)?.[1])
  assert.ok(Number.isInteger(number), `no such type: ${text}`)
  return number
}

/** A record in zone-file notation. */
function lineOf(record: Answer): string {
  assert.ok(record.type !== 'OPT' && 'ttl' in record && 'data' in record)
  return `${dotted(record.name)} ${record.ttl} IN ${record.type} ${dataOf(record)}`
}

function dataOf(record: Exclude<Answer, { type: 'OPT' }>): string {
  if (record.type === 'A' || record.type === 'AAAA') return record.data
  if (record.type === 'NS' || record.type === 'CNAME' || record.type === 'PTR') return dotted(record.data)
  if (record.type === 'SRV') {
    const { priority, weight, port, target } = record.data
    return `${priority} ${weight} ${port} ${dotted(target)}`
  }
  if (record.type === 'SOA') {
    const { mname, rname, serial, refresh, retry, expire, minimum } = record.data
    return `${dotted(mname)} ${dotted(rname)} ${serial} ${refresh} ${retry} ${expire} ${minimum}`
  }
  if (record.type === 'TXT') return [record.data].flat().map(quoted).join(' ')
  if (record.type === 'HINFO') return `${quoted(record.data.cpu)} ${quoted(record.data.os)}`
  return JSON.stringify('data' in record ? record.data : null)
}

function quoted(text: string | Buffer): string {
  return `"${typeof text === 'string' ? text : text.toString('latin1')}"`
}

function dotted(name: string): string {
  return name.endsWith('.') ? name : `${name}.`
}
