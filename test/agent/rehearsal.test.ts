import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { rehearse } from '../../src/agent/rehearsal.ts'
import { until } from '../common/until.ts'

/** Long enough for a loaded machine. */
const PATIENCE_MS = 60_000

suite('rehearsal', () => {
  for (const transport of ['udp', 'tcp'] as const) {
    test(`goes the way of a miss over ${transport}, to the answer`, async () => {
      assert.equal(await rehearse(new Set([transport]), PATIENCE_MS), 80)
    })
  }

  test('goes no further than its time', async () => {
    assert.equal(await rehearse(new Set(['udp', 'tcp']), 0), 0)
  })

  test('leaves no socket and no timer behind', async () => {
    await rehearse(new Set(['udp', 'tcp']), PATIENCE_MS)
    await until(() => !process.getActiveResourcesInfo().some((kind) => /TCP|UDP|Timeout/.test(kind)))
  })
})
