import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { UPSTREAM_LOG_SECONDS, upstreamLog } from '../../src/agent/upstream-log.ts'

suite('the log of the upstreams', () => {
  test('tells of an upstream that comes and goes all the time now and then, and how often it did not', () => {
    let now = 0
    const lines: string[] = []
    const write = (event: string, fields?: object): void => void lines.push(`${now} ${event} ${JSON.stringify(fields)}`)
    const log = upstreamLog({ info: write, warn: write, error: write }, () => now)
    for (let i = 0; i < 1_000; i++) {
      log.warn('upstream-dead', { upstream: '192.0.2.1:53' })
      log.info('upstream-alive', { upstream: '192.0.2.1:53' })
    }
    log.warn('upstream-dead', { upstream: '192.0.2.2:53' })
    now = UPSTREAM_LOG_SECONDS
    log.warn('upstream-dead', { upstream: '192.0.2.1:53' })
    assert.deepEqual(lines, [
      '0 upstream-dead {"upstream":"192.0.2.1:53"}',
      '0 upstream-alive {"upstream":"192.0.2.1:53"}',
      '0 upstream-dead {"upstream":"192.0.2.2:53"}',
      '10 upstream-dead {"upstream":"192.0.2.1:53","notLogged":999}',
    ])
  })
})
