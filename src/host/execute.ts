/** The one door to other programs (`ip`, `nft`, `iptables`): bounded in time and output, and never through a shell. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'

export type Execution =
  | { readonly kind: 'done'; readonly stdout: string }
  /** It ran and said no; `text` is what it wrote to standard error. */
  | { readonly kind: 'failed'; readonly code: number | null; readonly text: string }
  | { readonly kind: 'missing'; readonly text: string }
  | { readonly kind: 'timeout'; readonly text: string }

export interface ExecuteOptions {
  /** For standard input. */
  readonly input?: string
  readonly timeoutMs?: number
}

/** Runs a program to its end. Never throws: what goes wrong is a value. */
export type Execute = (program: string, args: readonly string[], options?: ExecuteOptions) => Promise<Execution>

/** Milliseconds that a program has; with the five seconds that iptables waits for its lock there is time left to say so. */
const EXECUTE_TIMEOUT_MS = 10_000

/** Octets of output that are kept; iptables-save of a large cluster is never asked for, only tables that stay small. */
const OUTPUT_OCTETS_MAX = 1024 * 1024

/** Octets of standard error that are kept. */
const ERROR_OCTETS_MAX = 4096

export const execute: Execute = (program, args, options = {}) => {
  const { promise, resolve } = Promise.withResolvers<Execution>()
  const child = spawn(program, args, { stdio: 'pipe', env: programEnvironment() })
  const timeoutMs = options.timeoutMs ?? EXECUTE_TIMEOUT_MS
  const stdout = collect(child.stdout, OUTPUT_OCTETS_MAX)
  const stderr = collect(child.stderr, ERROR_OCTETS_MAX)
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    resolve({ kind: 'timeout', text: `${program} took more than ${timeoutMs} ms` })
  }, timeoutMs)
  child.on('error', (error: NodeJS.ErrnoException) => {
    clearTimeout(timer)
    resolve(startFailure(program, error))
  })
  child.on('close', (code) => {
    clearTimeout(timer)
    if (stdout.isCut())
      resolve({ kind: 'failed', code, text: `${program} wrote more than ${OUTPUT_OCTETS_MAX} octets` })
    else if (code === 0) resolve({ kind: 'done', stdout: stdout.text() })
    else resolve({ kind: 'failed', code, text: stderr.text().trim() || stdout.text().trim() })
  })
  // A program that ends without reading its input is no failure of ours; its exit code says what it thinks.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  return promise
}

/** A program that stays and takes lines. */
export interface Conversation {
  /** Writes one line; false when the program is gone. */
  say(line: string): boolean
  /** What it said since the last time this was asked. */
  heard(): string
  readonly isOver: boolean
  /** Ends its input, and it by that; resolves when it is gone. */
  end(): Promise<void>
}

export type Converse = (program: string, args: readonly string[]) => Conversation

/** Milliseconds that a program has to end after its input did. */
const CONVERSATION_END_MS = 2_000

/** Starts a program that reads lines until its input ends, which it does at the latest when this process is gone. */
export const converse: Converse = (program, args) => {
  const child: ChildProcessWithoutNullStreams = spawn(program, args, { stdio: 'pipe', env: programEnvironment() })
  const gone = Promise.withResolvers<void>()
  let isOver = false
  let heard = ''
  const hear = (text: string): void => {
    heard = (heard + text).slice(-ERROR_OCTETS_MAX)
  }
  const finish = (): void => {
    isOver = true
    gone.resolve()
  }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => hear(chunk.toString()))
  child.on('error', (error: NodeJS.ErrnoException) => {
    hear(`Error: ${startFailure(program, error).text}`)
    finish()
  })
  child.on('exit', finish)
  child.stdin.on('error', finish)
  return {
    say(line) {
      if (isOver) return false
      child.stdin.write(`${line}\n`)
      return true
    },
    heard() {
      const text = heard
      heard = ''
      return text
    },
    get isOver() {
      return isOver
    },
    async end() {
      child.stdin.end()
      const killer = setTimeout(() => child.kill('SIGKILL'), CONVERSATION_END_MS)
      await gone.promise
      clearTimeout(killer)
    },
  }
}

/** Where programs are looked for when nobody says. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Messages are matched, so they must be in English; iptables may be told where its lock is. */
function programEnvironment(): NodeJS.ProcessEnv {
  const { PATH, XTABLES_LOCKFILE } = process.env
  const lock = XTABLES_LOCKFILE === undefined ? {} : { XTABLES_LOCKFILE }
  return { PATH: PATH ?? DEFAULT_PATH, LC_ALL: 'C', ...lock }
}

function startFailure(program: string, error: NodeJS.ErrnoException): Execution & { readonly text: string } {
  return error.code === 'ENOENT'
    ? { kind: 'missing', text: `${program} is not installed` }
    : { kind: 'failed', code: null, text: `${program} cannot be started: ${error.message}` }
}

function collect(stream: NodeJS.ReadableStream, octetsMax: number): { text(): string; isCut(): boolean } {
  const chunks: Buffer[] = []
  let octets = 0
  stream.on('data', (chunk: Buffer) => {
    octets += chunk.length
    if (octets <= octetsMax) chunks.push(chunk)
  })
  return { text: () => Buffer.concat(chunks).toString('utf8'), isCut: () => octets > octetsMax }
}
