/** What a change of the configuration file does to a running agent, and what waits for a restart. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { startAgentProcess, until } from '../common/agent-process.ts'

const DEADLINE_MS = 10_000
const CACHE_BYTES = 2_000_000

suite('reload', () => {
  test('leaves what waits for a restart as it is in every part, and says so each time', async (t) => {
    const config = { clusterset: { source: 'none' }, forward: [], cache: { maxBytes: CACHE_BYTES } }
    const agent = await startAgentProcess(config)
    t.after(() => agent.stop())
    const lines = (event: string) => agent.output().split(`"event":"${event}"`).length - 1
    const applied = async (times: number) =>
      await until(
        () => lines('config-applied') === times,
        DEADLINE_MS,
        () => agent.output(),
      )
    const wanted = { ...config, cache: { maxBytes: CACHE_BYTES * 2 }, listen: { addresses: ['127.0.0.9'], port: 0 } }
    await agent.writeConfig(wanted)
    await applied(1)
    assert.match(await agent.metrics(), new RegExp(`cache_max_bytes\\S* ${CACHE_BYTES}\\n`))
    await agent.writeConfig({ ...wanted, log: { level: 'debug' } })
    await applied(2)
    assert.equal(lines('config-needs-restart'), 2)
    await agent.writeConfig(config)
    await applied(3)
    assert.equal(lines('config-needs-restart'), 2, 'what is in force again waits for nothing')
  })
})
