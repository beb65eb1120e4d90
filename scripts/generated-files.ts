/** Files in the repository that a program writes: written by `npm run docs`, compared by `npm run check`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'

const root = new URL('../', import.meta.url)

/** By their path in the repository: writes them, or with `--check` writes nothing and fails when one is not as it should be. */
export function writeOrCheck(files: ReadonlyMap<string, string>, source: string): void {
  const isCheck = process.argv.includes('--check')
  for (const [path, text] of files) {
    const url = new URL(path, root)
    if (!isCheck) {
      mkdirSync(new URL('.', url), { recursive: true })
      writeFileSync(url, text)
    } else if (textOf(url) !== text) {
      process.stderr.write(`${path} is not what ${source} says: run npm run docs\n`)
      process.exitCode = 1
    }
  }
}

function textOf(url: URL): string | undefined {
  try {
    return readFileSync(url, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
