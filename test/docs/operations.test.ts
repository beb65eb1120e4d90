import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { ALERTS } from '../../monitoring/alerts.ts'
import { metricsDocs } from '../../scripts/generate-metrics-docs.ts'
import { ExitCode } from '../../src/config/command-line.ts'
import { describeMetrics } from '../../src/observe/metrics.ts'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')
const operations = read('docs/operations.md')

/** Events by the way they are logged: the first argument of a method of a log. */
const LOGGED = /\b(?:log|#log)\??\.(?:debug|info|warn|error)\(\s*(?:\w+ \? )?'([a-z-]+)'(?: : '([a-z-]+)')?/g

/** Those that are put together: the text in the source, and what becomes of it. */
const PUT_TOGETHER: Readonly<Record<string, readonly string[]>> = {
  '${thing}-repaired': ['interface-repaired', 'rules-repaired'],
  '${thing}-set-up': ['interface-set-up', 'rules-set-up'],
}
const CALLED = /\b(?:log|#log)\??\.(?:debug|info|warn|error)\(\s*(?:`([^`]*)`)?/g

suite('documentation of operations', () => {
  const sources = readdirSync(new URL('src', ROOT), { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  )
  const events = new Set(
    sources.flatMap((path) =>
      [...read(`src/${path}`).matchAll(LOGGED)].flatMap(([, ...names]) => names.filter((name) => name !== undefined)),
    ),
  )

  test('events are found in the sources', () => assert.ok(events.size > 40, `${events.size}`))

  test('no event escapes: each is a literal, or put together in a way that is known', () => {
    const texts = sources.map((path) => read(`src/${path}`))
    const calls = texts.flatMap((text) => [...text.matchAll(CALLED)])
    const together = calls.flatMap(([, template]) => template ?? [])
    assert.deepEqual(together.sort(), Object.keys(PUT_TOGETHER).sort())
    const literals = texts.reduce((sum, text) => sum + Array.from(text.matchAll(LOGGED)).length, 0)
    assert.equal(literals + together.length, calls.length)
    for (const event of Object.values(PUT_TOGETHER).flat()) assert.ok(operations.includes(`\`${event}\``), event)
  })

  for (const event of events) {
    test(`the event ${event} is explained`, () => assert.ok(operations.includes(`\`${event}\``)))
  }

  for (const { name } of ALERTS) {
    test(`the alert ${name} has a section`, () => assert.match(operations, new RegExp(`^### ${name}$`, 'm')))
  }

  const counters = /^## Every counter\n(.*?)^## /ms.exec(operations)![1]!
  for (const { name, type } of describeMetrics()) {
    if (type !== 'counter' || !/^(?:coredns|nodelocal_mcs)_/.test(name)) continue
    test(`the counter ${name} is explained`, () => assert.ok(counters.includes(`\`${name}\``)))
  }

  for (const [what, code] of Object.entries(ExitCode)) {
    test(`the exit code ${code} (${what}) is explained`, () =>
      assert.match(operations, new RegExp(`^\\| ${code} \\| .+ \\| .+ \\|$`, 'm')))
  }

  test('links within the page lead to a heading', () => {
    const anchors = new Set(
      Array.from(operations.matchAll(/^#+ (.+)$/gm), ([, title]) => title!.toLowerCase().replaceAll(' ', '-')),
    )
    for (const [, anchor] of operations.matchAll(/\]\(#([^)]+)\)/g)) assert.ok(anchors.has(anchor!), anchor)
  })

  test('docs/metrics.md is what `npm run docs` writes', () => {
    for (const [path, text] of metricsDocs()) assert.equal(read(path), text)
  })

  test('every metric named in the documentation is registered', () => {
    const known = new Set(describeMetrics().map(({ name }) => name))
    for (const page of ['docs/operations.md', 'docs/configuration.md']) {
      for (const [name] of read(page).matchAll(/\b(?:coredns|nodelocal_mcs)_[a-z_]+[a-z]\b/g)) {
        assert.ok(known.has(name), `${page} names ${name}`)
      }
    }
  })
})
