/**
 * Parses manifests without keeping the event loop from the queries: a usual file at once, what is large or nested on a thread of
 * its own. A megabyte of YAML takes a second, and a few kilobytes of brackets may take as long.
 */

import { Worker } from 'node:worker_threads'
import { type ManifestObject, type ParsedManifests, parseManifests } from './manifest-text.ts'

/** Characters of a file that are parsed on the event loop, if nothing in them is deep. */
const SMALL_CHARACTERS_MAX = 8 * 1024

/** Brackets that are open at once, and dashes in a row, of a file that is parsed on the event loop. */
const SHALLOW_DEPTH_MAX = 32

/** Milliseconds that a file may take, and as many for each further megabyte; one that takes longer is broken. */
export const PARSE_MS_MAX = 10_000

/** Milliseconds without work after which the thread ends; files come in groups. */
const IDLE_MS = 1_000

/** MiB of heap for the thread: the largest file takes 300. */
const HEAP_MIB_MAX = 512

/** The build puts the thread beside the bundle. */
const THREAD = new URL(
  import.meta.url.endsWith('.ts') ? './manifest-parser-thread.ts' : './nodelocal-mcs-manifests.js',
  import.meta.url,
)

/** What the thread says: objects, a part at a time, and then the rest. */
export type FromParserThread =
  | { readonly kind: 'objects'; readonly objects: readonly ManifestObject[] }
  | { readonly kind: 'done'; readonly findings: ParsedManifests['findings']; readonly isBroken: boolean }

export class ManifestParser {
  readonly #parseMsMax: number
  #thread: Worker | undefined
  #idleTimer: NodeJS.Timeout | undefined
  #isStopped = false

  constructor(parseMsMax = PARSE_MS_MAX) {
    this.#parseMsMax = parseMsMax
  }

  /** The objects in a text. One text at a time. Never rejects. */
  parse(text: string): Promise<ParsedManifests> {
    return isSmall(text) ? Promise.resolve(parseManifests(text)) : this.#parseOnThread(text)
  }

  /** What is being parsed counts as broken. */
  stop(): void {
    this.#isStopped = true
    this.#end()
  }

  #parseOnThread(text: string): Promise<ParsedManifests> {
    if (this.#isStopped) return Promise.resolve(broken('stopped'))
    clearTimeout(this.#idleTimer)
    const thread = (this.#thread ??= newThread())
    const withinMs = this.#parseMsMax * (1 + Math.floor(text.length / 1_000_000))
    return new Promise<ParsedManifests>((resolve) => {
      const objects: ManifestObject[] = []
      const settle = (parsed: ParsedManifests): void => {
        clearTimeout(timer)
        thread.removeAllListeners('message')
        resolve(parsed)
      }
      const fail = (why: string): void => {
        settle(broken(why))
        if (this.#thread === thread) this.#end()
      }
      const timer = setTimeout(() => fail(`not parsed within ${withinMs} ms`), withinMs)
      thread.removeAllListeners('error')
      thread.removeAllListeners('exit')
      thread.on('error', (error) => fail(error.message))
      thread.on('exit', () => fail('the parser ended'))
      thread.on('message', (said: FromParserThread) => {
        if (said.kind === 'objects') {
          for (const object of said.objects) objects.push(object)
          return
        }
        settle({ objects, findings: said.findings, isBroken: said.isBroken })
        this.#idleTimer = setTimeout(() => this.#end(), IDLE_MS)
        this.#idleTimer.unref()
      })
      thread.postMessage(text)
    })
  }

  #end(): void {
    clearTimeout(this.#idleTimer)
    void this.#thread?.terminate()
    this.#thread = undefined
  }
}

function newThread(): Worker {
  const thread = new Worker(THREAD, { resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX } })
  // The timer of a parse keeps the process while there is one.
  thread.unref()
  return thread
}

function broken(why: string): ParsedManifests {
  return { objects: [], findings: [{ reason: 'syntax', detail: why, count: 1 }], isBroken: true }
}

/** Whether the text is parsed in a moment. Brackets in quotes count too: at worst a thread is started for nothing. */
function isSmall(text: string): boolean {
  if (text.length > SMALL_CHARACTERS_MAX) return false
  let open = 0
  let dashes = 0
  for (const character of text) {
    if (character === '[' || character === '{') open++
    else if (character === ']' || character === '}') open--
    if (character === '-' || character === '?') dashes++
    else if (character !== ' ') dashes = 0
    if (open > SHALLOW_DEPTH_MAX || dashes > SHALLOW_DEPTH_MAX) return false
  }
  return true
}
