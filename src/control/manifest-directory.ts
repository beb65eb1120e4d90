/**
 * A directory of Kubernetes YAML as a source of objects.
 *
 * It reads the files of one directory (no subdirectories; names ending in .yaml, .yml or .json, none beginning with a
 * dot), as a mounted ConfigMap has them: files are symlinks into `..data`, which is swapped as a whole. Changes are
 * noticed by the kernel's word and, where that fails, by looking every `POLL_MS`.
 *
 * A file that cannot be read or parsed as a whole keeps the objects it last had, because an editor halfway through a
 * save must not deny names; a document that is no usable object is ignored alone. An object without a namespace is in
 * `default`. Of two objects with one identity the first counts, files in the order of their names.
 */

import { constants, type FSWatcher, watch } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Finding, IgnoredBook } from './ignored-book.ts'
import type { ControlLog } from './log.ts'
import type { ManifestParser } from './manifest-parser.ts'
import type { ManifestObject } from './manifest-text.ts'
import type { ObjectIntake } from './object-intake.ts'
import { OBJECT_KINDS, type ObjectKey, type ObjectKind } from './object-store.ts'
import type { Turns } from './turns.ts'

/** Milliseconds between two looks at the directory: within a second even where the kernel tells nothing. */
export const POLL_MS = 500

/** Milliseconds from the kernel's word to the look: a save is several events. */
export const SETTLE_MS = 20

/** Milliseconds that a file may be empty before that is taken at its word. */
const EMPTY_MS = 1_000

/** Octets of one file; what is larger is ignored. */
export const FILE_OCTETS_MAX = 16 * 1024 * 1024

/** Files read; further ones, in the order of their names, are ignored. */
export const FILES_MAX = 1_000

/** Any character may be in it, a newline too. */
const FILE_NAME = /^[^.].*\.(ya?ml|json)$/is

/** What stands in the place of octets that are no UTF-8: a file of that name cannot be found by it. */
const NO_CHARACTER = '\ufffd'

interface ManifestFile {
  /** What tells that the file changed: identity, size and time of change. */
  readonly fingerprint: string
  readonly objects: readonly ManifestObject[]
}

export interface ManifestParts {
  readonly intake: ObjectIntake
  readonly parser: Pick<ManifestParser, 'parse' | 'stop'>
  readonly ignored: IgnoredBook
  readonly turns: Turns
  readonly log: ControlLog
  /** The time of day, as files have it. */
  nowSeconds(): number
  /** The directory was read for the first time, everything in it is taken in. */
  onListed(): void
  /** Objects changed. */
  onChanged(): void
  /** The directory could or could not be read. */
  onReachable(isReachable: boolean): void
}

export class ManifestDirectory {
  readonly #directory: string
  readonly #parts: ManifestParts
  #files = new Map<string, ManifestFile>()
  readonly #current = new Map<ObjectKind, Map<ObjectKey, unknown>>(OBJECT_KINDS.map((kind) => [kind, new Map()]))
  /** What is reported as duplicates. */
  #duplicates: ReadonlySet<string> = new Set()
  #watcher: FSWatcher | undefined
  #timer: NodeJS.Timeout | undefined
  #scan: Promise<void> | undefined
  #isScanWanted = false
  #isListed = false
  #isStopped = false
  #lastError = ''

  constructor(directory: string, parts: ManifestParts) {
    this.#directory = directory
    this.#parts = parts
  }

  /** Reads the directory, and goes on doing so until `stop`. Resolves after the first look, whatever it found. */
  async start(): Promise<void> {
    this.#watch()
    await this.#look()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    this.#watcher?.close()
    this.#parts.parser.stop()
    await this.#scan
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#directory, { persistent: false }, () => this.#lookAfter(SETTLE_MS))
      this.#watcher.on('error', (failure) => {
        this.#parts.log.warn('manifest-watch-failed', { directory: this.#directory, error: failure.message })
        this.#unwatch()
      })
    } catch (failure) {
      // Looking every POLL_MS sees the changes too, and later on whether the directory can be watched after all.
      if (this.#lastError === '') this.#tell(failure)
    }
  }

  #unwatch(): void {
    this.#watcher?.close()
    this.#watcher = undefined
  }

  #lookAfter(delayMs: number): void {
    if (this.#isStopped) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#look(), delayMs)
    this.#timer.unref()
  }

  /** One look at a time; a change during a look causes another one. */
  async #look(): Promise<void> {
    this.#isScanWanted = true
    this.#scan ??= this.#scanWhileWanted().finally(() => {
      this.#scan = undefined
      this.#lookAfter(POLL_MS)
    })
    await this.#scan
  }

  async #scanWhileWanted(): Promise<void> {
    while (this.#isScanWanted && !this.#isStopped) {
      this.#isScanWanted = false
      try {
        await this.#scanOnce()
        this.#lastError = ''
        this.#parts.onReachable(true)
      } catch (failure) {
        // The last objects stay: an unreadable directory says nothing about services.
        this.#tell(failure)
        this.#unwatch()
        this.#parts.onReachable(false)
      }
    }
  }

  #tell(failure: unknown): void {
    const error = failure instanceof Error ? failure.message : String(failure)
    if (error === this.#lastError) return
    this.#lastError = error
    this.#parts.log.error('manifest-directory-unreadable', { directory: this.#directory, error })
  }

  async #scanOnce(): Promise<void> {
    const names = (await readdir(this.#directory)).filter((name) => FILE_NAME.test(name)).sort()
    if (this.#watcher === undefined) this.#watch()
    this.#parts.ignored.report(
      `directory ${this.#directory}`,
      names.length <= FILES_MAX ? [] : [{ reason: 'too-many', detail: `files beyond ${FILES_MAX}`, count: 1 }],
    )
    const files = new Map<string, ManifestFile>()
    for (const name of names.slice(0, FILES_MAX)) {
      const file = await this.#read(name)
      if (file !== undefined) files.set(name, file)
      if (this.#isStopped) return
    }
    const hasChanged = this.#hasChanged(files)
    for (const name of this.#files.keys()) if (!files.has(name)) this.#parts.ignored.report(`file ${name}`, [])
    this.#files = files
    if (hasChanged) {
      await this.#takeIn(files)
      this.#parts.onChanged()
    }
    if (!this.#isListed) {
      this.#isListed = true
      this.#parts.onListed()
    }
  }

  #hasChanged(files: ReadonlyMap<string, ManifestFile>): boolean {
    if (files.size !== this.#files.size) return true
    for (const [name, file] of files) if (this.#files.get(name) !== file) return true
    return false
  }

  /** The file as it is now; the former one when it did not change, or when what it says now cannot be read. */
  async #read(name: string): Promise<ManifestFile | undefined> {
    const former = this.#files.get(name)
    const failed = (reason: Finding['reason'], detail: string): void =>
      this.#parts.ignored.report(`file ${name}`, [{ reason, detail, count: 1 }])
    try {
      // Nobody may ever write to a pipe that lies here: opening it must not wait for him.
      const handle = await open(join(this.#directory, name), constants.O_RDONLY | constants.O_NONBLOCK)
      try {
        const status = await handle.stat()
        if (!status.isFile()) {
          failed('syntax', 'is no regular file')
          return former
        }
        const { dev, ino, size, mtimeMs, ctimeMs } = status
        const fingerprint = [dev, ino, size, mtimeMs, ctimeMs].join(' ')
        if (fingerprint === former?.fingerprint) return former
        if (size > FILE_OCTETS_MAX) {
          failed('too-large', `${size} octets are more than ${FILE_OCTETS_MAX}`)
          return former
        }
        // Whoever writes a file in place empties it first: names must not be denied in between.
        if (size === 0 && former !== undefined && this.#parts.nowSeconds() * 1e3 - mtimeMs < EMPTY_MS) return former
        const { objects, findings, isBroken } = await this.#parts.parser.parse(await handle.readFile('utf8'))
        if (this.#isStopped) return former
        this.#parts.ignored.report(`file ${name}`, findings)
        return { fingerprint, objects: isBroken && former !== undefined ? former.objects : objects }
      } finally {
        await handle.close()
      }
    } catch (failure) {
      if ((failure as NodeJS.ErrnoException).code === 'ENOENT') {
        // Gone between the directory's listing and now: the next look will not list it.
        if (!name.includes(NO_CHARACTER)) return undefined
        failed('syntax', "the file's name is no UTF-8")
        return undefined
      }
      failed('syntax', failure instanceof Error ? failure.message : String(failure))
      return former
    }
  }

  async #takeIn(files: ReadonlyMap<string, ManifestFile>): Promise<void> {
    const breathe = (): Promise<void> | undefined => this.#parts.turns.breathe()
    const seen = new Map<ObjectKind, Set<ObjectKey>>(OBJECT_KINDS.map((kind) => [kind, new Set()]))
    const duplicates = new Map<string, string>()
    for (const [name, file] of files) {
      for (const { kind, key, object } of file.objects) {
        if (seen.get(kind)!.has(key)) {
          duplicates.set(`duplicate of ${kind} ${key} in ${name}`, name)
          continue
        }
        seen.get(kind)!.add(key)
        const current = this.#current.get(kind)!
        if (current.get(key) === object) continue
        current.set(key, object)
        this.#parts.intake.put(kind, object)
        const pause = breathe()
        if (pause !== undefined) await pause
      }
    }
    for (const subject of this.#duplicates) if (!duplicates.has(subject)) this.#parts.ignored.report(subject, [])
    for (const [subject, name] of duplicates) {
      this.#parts.ignored.report(subject, [{ reason: 'duplicate', detail: name, count: 1 }])
    }
    this.#duplicates = new Set(duplicates.keys())
    for (const kind of OBJECT_KINDS) {
      const current = this.#current.get(kind)!
      for (const key of current.keys()) if (!seen.get(kind)!.has(key)) current.delete(key)
      await this.#parts.intake.retain(kind, undefined, seen.get(kind)!, breathe)
    }
  }
}
