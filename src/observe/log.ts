/**
 * pino's door: one JSON object a line on standard output, where node agents' logs are collected from.
 *
 * An event's name is a stable kebab-case word that an operator can search for in the logs and in `docs/operations.md`;
 * what differs from line to line stands in fields.
 */

import { type DestinationStream, destination, pino, stdTimeFunctions } from 'pino'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export type LogFields = Readonly<Record<string, unknown>>

export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** From now on only this level and what is above it. */
  setLevel(level: LogLevel): void
  /** Lines lost because nobody reads standard output: a log must not stop the answering of queries. */
  linesDropped(): number
  /**
   * Writes what is still held, and nothing after it. false when standard output did not take it all in that time: then a write
   * is under way that may never end, and Node's way out of the process would wait for it.
   */
  end(withinMs: number): Promise<boolean>
}

/** Octets of lines that wait for standard output to take them; what comes then is dropped and counted. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024

/**
 * A log of `level` and above. Lines are `{"level":"warn","time":"2026-01-02T03:04:05.678Z","event":"...",...}`.
 * Errors in fields are told with type, message, stack, code and causes. `stream`: elsewhere than standard output.
 */
export function createLog(level: LogLevel, stream?: DestinationStream): Log {
  let linesDropped = 0
  // Not synchronous: a full pipe would stop the event loop, and with it all answers.
  const stdout = stream === undefined ? destination({ dest: 1, sync: false, maxLength: WAITING_BYTES_MAX }) : undefined
  stdout?.on('drop', () => linesDropped++)
  const logger = pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream ?? stdout!,
  )
  let isEnded = false
  const write = (level: LogLevel) => (event: string, fields?: LogFields) => {
    if (!isEnded && logger.isLevelEnabled(level)) logger[level]({ event, ...tellable(fields) })
  }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    setLevel(level) {
      logger.level = level
    },
    linesDropped: () => linesDropped,
    async end(withinMs) {
      isEnded = true
      if (stdout === undefined) return true
      const ended = Promise.withResolvers<boolean>()
      // A reader that is gone takes nothing, and nothing waits for it.
      stdout.once('close', () => ended.resolve(true)).once('error', () => ended.resolve(true))
      const timer = setTimeout(ended.resolve, withinMs, false)
      stdout.end()
      const isWritten = await ended.promise
      clearTimeout(timer)
      return isWritten
    },
  }
}

function tellable(fields: LogFields | undefined): LogFields | undefined {
  if (fields === undefined) return undefined
  const told: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) told[name] = value instanceof Error ? errorFields(value) : value
  return told
}

/** Causes of causes that are told; more is a loop. */
const CAUSES_MAX = 5

function errorFields(error: Error, depth = 0): LogFields {
  return {
    type: error.name,
    message: error.message,
    ...('code' in error ? { code: error.code } : {}),
    stack: error.stack,
    ...(error.cause instanceof Error && depth < CAUSES_MAX ? { cause: errorFields(error.cause, depth + 1) } : {}),
  }
}

/** Keys whose last line is remembered; a new one puts the oldest out. */
export const RATE_KEYS_MAX = 1024

/** Decides which lines are too many: one per key and interval, and the next one tells how many were not written. */
export class LogRate {
  readonly #intervalSeconds: number
  readonly #nowSeconds: () => number
  readonly #keys = new Map<string, { since: number; suppressed: number }>()

  /** `nowSeconds` is monotonic. */
  constructor(intervalSeconds: number, nowSeconds: () => number) {
    this.#intervalSeconds = intervalSeconds
    this.#nowSeconds = nowSeconds
  }

  /** Calls `write` unless it did for this key within the interval; `suppressed` is how often it did not since then. */
  once(key: string, write: (suppressed: number) => void): void {
    const now = this.#nowSeconds()
    const last = this.#keys.get(key)
    if (last !== undefined && now - last.since < this.#intervalSeconds) {
      last.suppressed++
      return
    }
    // Deleted first so that the map stays in the order of the last lines.
    this.#keys.delete(key)
    if (this.#keys.size >= RATE_KEYS_MAX) {
      const [oldest] = this.#keys.keys()
      this.#keys.delete(oldest!)
    }
    this.#keys.set(key, { since: now, suppressed: 0 })
    write(last?.suppressed ?? 0)
  }
}
