/** `nodelocal-mcs healthcheck` and `/healthz`: both ask real queries. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { stringify } from 'yaml'
import { liveness } from '../../src/agent/liveness.ts'
import { type AgentProcess, startAgentProcess } from '../common/agent-process.ts'
import { ANSWERS, type Script, SILENT, startUpstream } from '../common/upstream.ts'

const MAIN = new URL('../../cmd/nodelocal-mcs/main.ts', import.meta.url).pathname

interface Ended {
  readonly code: number | string | null
  readonly output: string
}

suite('healthcheck', () => {
  let directory: string
  let agent: AgentProcess

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-healthcheck-'))
    agent = await startAgentProcess({ clusterset: { source: 'none' }, forward: [] })
  })
  after(async () => {
    await agent?.stop()
    await rm(directory, { recursive: true })
  })

  async function check(listen: object): Promise<Ended> {
    const path = join(directory, 'config.yaml')
    await writeFile(path, stringify({ listen, clusterset: { source: 'none' } }))
    return await new Promise((resolve) => {
      execFile(process.execPath, [MAIN, 'healthcheck', '--config', path], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : (error.code ?? null), output: stdout + stderr }),
      )
    })
  }

  test('ends with 0 where an agent answers over both transports', async () => {
    assert.deepEqual(await check({ port: agent.port }), {
      code: 0,
      output: 'answers-over-udp: yes\nanswers-over-tcp: yes\n',
    })
  })

  test('asks a wildcard address by loopback', async () => {
    assert.equal((await check({ addresses: ['0.0.0.0'], port: agent.port })).code, 0)
  })

  test('ends with 1 where one of the addresses is not answered', async () => {
    const { code, output } = await check({ addresses: ['127.0.0.1', '127.0.0.9'], port: agent.port })
    assert.equal(code, 1)
    assert.match(output, /answers-over-udp: no \(127\.0\.0\.9:\d+: .+\)\nanswers-over-tcp: no \(.*ECONNREFUSED/)
  })

  for (const [promise, script, says] of [
    ['ends with 1 where nobody says anything, and does not wait for ever', SILENT, /no answer within 1000 ms/],
    ['ends with 1 where a name server answers that is no agent', ANSWERS, /somebody answered who is no agent/],
  ] as const satisfies readonly (readonly [string, Script, RegExp])[]) {
    test(promise, async (t) => {
      const other = await startUpstream({ script })
      t.after(() => other.stop())
      const { code, output } = await check({ port: other.port })
      assert.equal(code, 1)
      assert.match(output, says)
    })
  }

  test('ends with 2 where it cannot know whom to ask', async () => {
    assert.equal((await check({ port: 0 })).code, 2)
    assert.equal((await check({ prot: 53 })).code, 2)
  })

  test('/healthz says the same of the agent', async () => {
    const { status, body } = await agent.health('/healthz')
    assert.equal(status, 200)
    assert.deepEqual(JSON.parse(body), {
      status: 'ok',
      conditions: [
        { name: 'answers-over-udp', status: 'ok' },
        { name: 'answers-over-tcp', status: 'ok' },
      ],
    })
  })
})

suite('liveness', () => {
  test('fails for a silent address, and with rules only when it is the last one', async (t) => {
    const agent = await startAgentProcess({ clusterset: { source: 'none' }, forward: [] })
    t.after(() => agent.stop())
    const silent = createSocket('udp4').bind(0, '127.0.0.1')
    await once(silent, 'listening')
    t.after(() => silent.close())
    const good = { transport: 'udp', address: '127.0.0.1', port: agent.port } as const
    const bad = { transport: 'udp', address: '127.0.0.1', port: silent.address().port } as const
    const isWell = async (targets: (typeof good)[], areLedHere: boolean): Promise<boolean> =>
      (await liveness(targets, areLedHere)).every(({ isMet }) => isMet)
    assert.deepEqual(
      await Promise.all([
        isWell([good, bad], false),
        isWell([good, bad], true),
        isWell([bad], true),
        isWell([good], false),
      ]),
      [false, true, false, true],
    )
  })
})
