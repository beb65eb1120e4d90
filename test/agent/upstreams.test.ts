import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { type OwnAddress, openGroup } from '../../src/agent/upstreams.ts'
import type { Log } from '../../src/observe/log.ts'
import { until } from '../common/until.ts'

/** A group that follows a resolv.conf of the test's own. */
function following(t: TestContext, text: string, own: readonly OwnAddress[] = []) {
  const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-resolv-'))
  const path = join(directory, 'resolv.conf')
  /** As resolvconf and kubelet do it: a new file takes the old one's place. */
  const write = (next: string): void => {
    writeFileSync(`${path}.new`, next)
    renameSync(`${path}.new`, path)
  }
  write(text)
  const events: string[] = []
  const note = (event: string): void => void events.push(event)
  const log = { debug: note, info: note, warn: note, error: note } as unknown as Log
  const { group, stop } = openGroup(
    { zones: ['.'], upstreams: [path], transport: 'udp', caFile: null, randomizeCase: false, maxInFlight: 10 },
    own,
    {
      observer: { exchangeEnded() {}, healthcheckFailed() {}, connectionReused() {}, connectionOpened() {} },
      random: Math.random,
      randomId: () => randomInt(65_536),
      nowMs: () => performance.now(),
    },
    log,
  )
  t.after(async () => {
    await stop(0)
    rmSync(directory, { recursive: true })
  })
  return { write, events, upstreams: () => group.status().upstreams.map(({ to }) => to) }
}

suite('upstreams of a resolv.conf', () => {
  test('are read, IPv6 and scopes included, and what is no address is reported', (t) => {
    const { events, upstreams } = following(
      t,
      'search example\nnameserver 192.0.2.1 # one\nnameserver fe80::1%lo\nnameserver dns.example\noptions ndots:5\n',
    )
    assert.deepEqual(upstreams(), ['192.0.2.1:53', '[fe80::1%lo]:53'])
    assert.deepEqual(events, ['resolv-conf-problem'])
  })

  test('follow the file, and stay when it becomes empty', async (t) => {
    const { write, events, upstreams } = following(t, 'nameserver 192.0.2.1\n')
    write('nameserver 192.0.2.2\nnameserver 192.0.2.1\n')
    await until(() => upstreams().length === 2)
    assert.deepEqual(upstreams(), ['192.0.2.2:53', '192.0.2.1:53'])
    write('# being written\n')
    await until(() => events.includes('resolv-conf-empty'))
    assert.equal(upstreams().length, 2)
  })

  test('are never ourselves, however we listen', (t) => {
    const text = 'nameserver 127.0.0.1\nnameserver 192.0.2.1\n'
    for (const address of ['127.0.0.1', '0.0.0.0', '::']) {
      const { events, upstreams } = following(t, text, [{ address, port: 53 }])
      assert.deepEqual(upstreams(), ['192.0.2.1:53'])
      assert.deepEqual(events, ['upstream-is-ourselves'])
    }
    const { upstreams } = following(t, text, [{ address: '127.0.0.1', port: 5353 }])
    assert.equal(upstreams().length, 2)
  })
})
