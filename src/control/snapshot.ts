/**
 * The last known objects in a file, for a node that starts while the API server is away.
 *
 * One JSON document a line: a header, the facts of every object, and an end with their number and checksum, so that
 * half a file, a foreign file and a damaged one are told from a good one. It is written aside and renamed, a turn of
 * the event loop at a time, and seldom: flash wears out, and a node's disk is not ours.
 */

import { createHash, type Hash } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
import type { ObjectStore } from './object-store.ts'
import type { ServiceImportFacts, SliceFacts } from './records/facts.ts'

/** Changes of the facts' shape raise it; files of another version are ignored. */
const FORMAT = 'nodelocal-mcs-snapshot-1'

/** Octets of a file that is read or written: several times a clusterset of 10,000 services. */
export const SNAPSHOT_OCTETS_MAX = 128 * 1024 * 1024

/** Milliseconds between two snapshots, at least; one more is written at the stop. */
export const SNAPSHOT_EVERY_MS = 10 * 60_000

/** Octets gathered before they are written. */
const WRITE_OCTETS = 256 * 1024

export type SnapshotReading =
  | { readonly kind: 'read'; readonly objects: number; readonly writtenAt: number }
  | { readonly kind: 'none' }
  /** Why the file is of no use; nothing of it was taken. */
  | { readonly kind: 'corrupt'; readonly why: string }

export interface SnapshotClock {
  nowSeconds(): number
  /** Between two objects: undefined, or resolves in a later turn of the event loop. */
  breathe(): Promise<void> | undefined
}

type Entry = { readonly import: ServiceImportFacts } | { readonly slice: SliceFacts }

/** Writes what the store holds; resolves when it is safe on the disk. Rejects as files do. */
export async function writeSnapshot(path: string, store: ObjectStore, clock: SnapshotClock): Promise<void> {
  const aside = `${path}.new`
  const hash = createHash('sha256')
  const file = await open(aside, 'w', 0o600)
  try {
    let lines = [JSON.stringify({ format: FORMAT, writtenAt: clock.nowSeconds() })]
    let gathered = 0
    let written = 0
    let objects = 0
    const flush = async (): Promise<void> => {
      const text = `${lines.join('\n')}\n`
      written += text.length
      if (written > SNAPSHOT_OCTETS_MAX) throw new Error(`a snapshot of more than ${SNAPSHOT_OCTETS_MAX} octets`)
      lines = []
      gathered = 0
      await file.write(text)
    }
    for (const entry of entriesOf(store)) {
      const line = JSON.stringify(entry)
      addTo(hash, line)
      lines.push(line)
      gathered += line.length
      objects++
      if (gathered >= WRITE_OCTETS) await flush()
      const pause = clock.breathe()
      if (pause !== undefined) await pause
    }
    lines.push(JSON.stringify({ end: true, objects, sha256: hash.digest('hex') }))
    await flush()
    await file.sync()
  } catch (failure) {
    await rm(aside, { force: true })
    throw failure
  } finally {
    await file.close()
  }
  await rename(aside, path)
}

/** Reads a snapshot into the store: all of it or nothing. `namespaces` are those of interest; none: all. Never throws. */
export async function readSnapshot(
  path: string,
  store: ObjectStore,
  namespaces: readonly string[],
  clock: SnapshotClock,
): Promise<SnapshotReading> {
  try {
    const { size } = await stat(path)
    if (size > SNAPSHOT_OCTETS_MAX) return { kind: 'corrupt', why: `${size} octets` }
    const entries: Entry[] = []
    const hash = createHash('sha256')
    let header: { format?: unknown; writtenAt?: unknown } | undefined
    let end: { end?: unknown; objects?: unknown; sha256?: unknown } | undefined
    const file = await open(path, 'r')
    for await (const line of file.readLines()) {
      const value = JSON.parse(line) as Entry & typeof header & typeof end
      if (header === undefined) header = value
      else if (value.end === true) end = value
      else {
        addTo(hash, line)
        entries.push(value)
      }
      const pause = clock.breathe()
      if (pause !== undefined) await pause
    }
    if (header?.format !== FORMAT) return { kind: 'corrupt', why: 'not a snapshot of this version' }
    if (end === undefined) return { kind: 'corrupt', why: 'it ends early' }
    const isWhole = end.objects === entries.length && end.sha256 === hash.digest('hex')
    if (!isWhole) return { kind: 'corrupt', why: 'its checksum differs' }
    for (const entry of entries) {
      take(entry, store, namespaces)
      const pause = clock.breathe()
      if (pause !== undefined) await pause
    }
    return { kind: 'read', objects: entries.length, writtenAt: Number(header.writtenAt) }
  } catch (failure) {
    const { code, message } = failure as NodeJS.ErrnoException
    return code === 'ENOENT' ? { kind: 'none' } : { kind: 'corrupt', why: message }
  }
}

function* entriesOf(store: ObjectStore): Iterable<Entry> {
  for (const [, facts] of store.imports()) yield { import: facts }
  for (const [, , facts] of store.slices()) yield { slice: facts }
}

function take(entry: Entry, store: ObjectStore, namespaces: readonly string[]): void {
  const facts = 'import' in entry ? entry.import : entry.slice
  if (namespaces.length > 0 && !namespaces.includes(facts.namespace)) return
  const key = `${facts.namespace}/${facts.name}`
  if ('import' in entry) store.putImport(key, entry.import)
  else store.putSlice(key, `${facts.namespace}/${entry.slice.service}`, entry.slice)
}

function addTo(hash: Hash, line: string): void {
  hash.update(line)
  hash.update('\n')
}
