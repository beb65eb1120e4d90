/** The small benches: one for each HOT file, of the same name (STYLE of the hot path), and each of them runs. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'

const ROOT = new URL('..', import.meta.url).pathname
const run = promisify(execFile)

const hotFiles = globSync('src/**/*.ts', { cwd: ROOT })
  .filter((file) => /\bHOT[.:]/.test(readFileSync(join(ROOT, file), 'utf8')))
  .map((file) => basename(file))
const benches = new Set(globSync('bench/micro/*.ts', { cwd: ROOT }).map((file) => basename(file)))

suite('small benches', () => {
  test('each HOT file has one of its name', () => {
    assert.ok(hotFiles.includes('fast-path.ts'))
    assert.deepEqual(
      hotFiles.filter((file) => !benches.has(file)),
      [],
    )
  })

  for (const file of hotFiles) {
    test(`${file} runs and prints its figures`, async () => {
      const env = { ...process.env, BENCH_QUICK: '1' }
      const { stdout } = await run(process.execPath, [join('bench/micro', file)], { cwd: ROOT, env })
      assert.match(stdout, /^\| [^|]+ \| \d+ \| \d+ \| \d+ to \d+ \|$/m)
    })
  }
})
