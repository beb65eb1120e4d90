import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { ALERTS } from '../../monitoring/alerts.ts'
import { metricsDocs } from '../../scripts/generate-metrics-docs.ts'
import { describeMetrics } from '../../src/observe/metrics.ts'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')
const operations = read('docs/operations.md')

/** Events by the way they are logged: the first argument of a method of a log. */
const LOGGED = /\b(?:log|#log)\??\.(?:debug|info|warn|error)\(\s*(?:\w+ \? )?'([a-z-]+)'(?: : '([a-z-]+)')?/g

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

  for (const event of events) {
    test(`the event ${event} is explained`, () => assert.ok(operations.includes(`\`${event}\``)))
  }

  for (const { name } of ALERTS) {
    test(`the alert ${name} has a section`, () => assert.match(operations, new RegExp(`^### ${name}$`, 'm')))
  }

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
