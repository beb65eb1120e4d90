import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { suite, test } from 'node:test'
import { createLog, LogRate, RATE_KEYS_MAX } from '../../src/observe/log.ts'

interface Line {
  level: string
  time: string
  event: string
  [field: string]: unknown
}

function memoryStream(): { lines: () => Line[]; write(text: string): void } {
  const texts: string[] = []
  return { write: (text) => texts.push(text), lines: () => texts.map((text) => JSON.parse(text) as Line) }
}

suite('log', () => {
  test('writes one JSON object a line with level, time, event and fields', () => {
    const stream = memoryStream()
    createLog('info', stream).warn('upstream-down', { upstream: '192.0.2.1:53', failures: 3 })
    const [line] = stream.lines()
    assert.ok(line !== undefined)
    const { time, ...rest } = line
    assert.deepEqual(rest, { level: 'warn', event: 'upstream-down', upstream: '192.0.2.1:53', failures: 3 })
    assert.equal(new Date(time).toISOString(), time)
  })

  test('writes nothing below its level, and the level can change', () => {
    const stream = memoryStream()
    const log = createLog('warn', stream)
    log.debug('a')
    log.info('b')
    log.error('c')
    log.setLevel('debug')
    log.debug('d')
    assert.deepEqual(
      stream.lines().map(({ event }) => event),
      ['c', 'd'],
    )
  })

  test('tells an error with code, stack and cause', () => {
    const stream = memoryStream()
    const cause = Object.assign(new Error('bind EADDRINUSE'), { code: 'EADDRINUSE' })
    createLog('info', stream).error('start-failed', { error: new Error('cannot listen', { cause }) })
    const error = stream.lines()[0]!['error'] as { message: string; stack: string; cause: { code: string } }
    assert.equal(error.message, 'cannot listen')
    assert.match(error.stack, /log\.test\.ts/)
    assert.equal(error.cause.code, 'EADDRINUSE')
  })
})

suite('log on standard output', () => {
  const run = (script: string) => {
    const module = new URL('../../src/observe/log.ts', import.meta.url).href
    const source = `import { createLog } from ${JSON.stringify(module)}; const log = createLog('info'); ${script}`
    return spawnSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8', maxBuffer: 2 ** 25 })
  }

  test('has all lines after a flush, even when the process ends at once', () => {
    const { stdout } = run(
      `for (let i = 0; i < 1000; i++) log.info('line', { i }); await log.end(10_000); process.exit(0)`,
    )
    assert.equal(stdout.trimEnd().split('\n').length, 1000)
  })

  test('drops and counts lines when nobody reads', () => {
    const { stdout, stderr } = run(
      `for (let i = 0; i < 9; i++) log.info('long', { text: 'x'.repeat(1e6) }); process.stderr.write(String(log.linesDropped()))`,
    )
    const written = stdout.trimEnd().split('\n').length
    assert.ok(Number(stderr) > 0)
    assert.equal(written + Number(stderr), 9)
  })
})

suite('log rate', () => {
  test('lets one through per key and interval and tells how many it held back', () => {
    let now = 100
    const rate = new LogRate(10, () => now)
    const written: string[] = []
    const log = (key: string) => rate.once(key, (suppressed) => written.push(`${key} ${suppressed}`))
    log('a')
    log('a')
    log('b')
    now = 109.9
    log('a')
    now = 110
    log('a')
    now = 130
    log('a')
    assert.deepEqual(written, ['a 0', 'b 0', 'a 2', 'a 0'])
  })

  test('forgets the oldest key when there are too many', () => {
    const rate = new LogRate(10, () => 0)
    let written = 0
    const log = (key: string) => rate.once(key, () => written++)
    for (let i = 0; i <= RATE_KEYS_MAX; i++) log(`key ${i}`)
    written = 0
    log(`key ${RATE_KEYS_MAX}`)
    assert.equal(written, 0)
    log('key 0')
    assert.equal(written, 1)
  })
})
