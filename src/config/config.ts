/** A configuration file to a `Config`, or to everything that is wrong with it. */

import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { FILE_OCTETS_MAX, readYaml } from './file.ts'
import { type Config, parseConfig } from './schema.ts'

export type { Config } from './schema.ts'

export type LoadedConfig =
  /** `hash`: SHA-256 of the text, the first 16 hex digits; what the fleet compares. */
  | { readonly kind: 'config'; readonly config: Config; readonly hash: string }
  /** Ready to read, each with file, line and path where they are known. */
  | { readonly kind: 'problems'; readonly problems: readonly string[] }

/** The configuration in a text; `file` is how problems name it. */
export function configFromText(text: string, file: string): LoadedConfig {
  const reading = readYaml(text)
  if (reading.kind === 'problems') {
    return {
      kind: 'problems',
      problems: reading.problems.map(({ line, text: problem }) => `${place(file, line)}: ${problem}`),
    }
  }
  const parsed = parseConfig(reading.value)
  if (parsed.kind === 'config') return { kind: 'config', config: parsed.config, hash: hashOf(text) }
  return {
    kind: 'problems',
    problems: parsed.problems.map(({ path, text: problem }) => {
      const where = path.length === 0 ? 'the file' : pathText(path)
      return `${place(file, reading.lineOf(path))}: ${where} ${problem}`
    }),
  }
}

/** The configuration in a file; without a path the embedded defaults. */
export async function loadConfig(path: string | undefined): Promise<LoadedConfig> {
  if (path === undefined) return configFromText('', 'the embedded default')
  let text: string
  try {
    text = await readAtMost(path, FILE_OCTETS_MAX + 1)
  } catch (error) {
    return {
      kind: 'problems',
      problems: [`${path}: cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`],
    }
  }
  return configFromText(text, path)
}

/** The beginning of a file: one that is too large, or never ends, is not read to find out. */
async function readAtMost(path: string, octetsMax: number): Promise<string> {
  const file = await open(path)
  try {
    const buffer = Buffer.alloc(octetsMax)
    let length = 0
    while (length < octetsMax) {
      const { bytesRead } = await file.read(buffer, length, octetsMax - length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    return buffer.toString('utf8', 0, length)
  } finally {
    await file.close()
  }
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

function place(file: string, line: number | undefined): string {
  return line === undefined ? file : `${file}:${line}`
}

/** `forward[0].upstreams[1]` for the steps of a path. */
function pathText(path: readonly (string | number)[]): string {
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  )
}
