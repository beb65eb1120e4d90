import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { IgnoredBook, LINES_MAX, LINES_PER_SECOND } from '../../src/control/ignored-book.ts'

const finding = (count: number) => [{ reason: 'port', detail: 'spec.ports[0].port: 0', count }] as const

function bookWithLog() {
  const clock = { ms: 0 }
  const lines: [string, Record<string, unknown>][] = []
  const write = (event: string, fields: Record<string, unknown>): void => void lines.push([event, fields])
  const book = new IgnoredBook({ info: write, warn: write, error: write }, () => clock.ms)
  return { book, clock, lines }
}

suite('the book of what is ignored', () => {
  test('tells a finding once and counts it once, however often it is seen', () => {
    const { book, lines } = bookWithLog()
    for (let i = 0; i < 3; i++) book.report('serviceImport demo/web', finding(2))
    assert.deepEqual(lines, [
      ['object-ignored', { subject: 'serviceImport demo/web', reason: 'port', detail: finding(2)[0].detail, count: 2 }],
    ])
    assert.deepEqual([...book.counts], [['port', 2]])
  })

  test('does not let an object that is broken and mended all the time fill the log', () => {
    const { book, clock, lines } = bookWithLog()
    const flap = (): void => {
      book.report('serviceImport demo/web', finding(1))
      book.report('serviceImport demo/web', [])
    }
    for (let i = 0; i < LINES_MAX + 500; i++) flap()
    assert.equal(lines.length, LINES_MAX)
    assert.equal(book.counts.get('port'), LINES_MAX + 500)
    clock.ms += 1_000
    for (let i = 0; i < 100; i++) flap()
    assert.equal(lines.length, LINES_MAX + 1 + LINES_PER_SECOND)
    assert.deepEqual(lines[LINES_MAX], ['objects-ignored-untold', { findings: 500 }])
  })

  test('knows what was not told', () => {
    const { book } = bookWithLog()
    for (let i = 0; i <= LINES_MAX; i++) book.report(`serviceImport demo/s${i}`, finding(1))
    assert.deepEqual(book.findingsOf(`serviceImport demo/s${LINES_MAX}`), finding(1))
  })

  test('keeps a detail of several lines as one', () => {
    const { book } = bookWithLog()
    book.report('file a', [{ reason: 'syntax', detail: 'one\r\ntwo\n', count: 1 }])
    assert.deepEqual(book.findingsOf('file a'), [{ reason: 'syntax', detail: 'one two ', count: 1 }])
  })
})
