import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { decodeMessage } from '../../../src/dns/wire/message.ts'
import { requireProgram } from '../../common/requires.ts'
import { startUnbound } from '../../common/unbound.ts'
import { gist, group, question } from './fixtures.ts'

const BIG = Array.from({ length: 60 }, (_, i) => `big.example. 60 IN TXT "${i} ${'x'.repeat(60)}"`)

suite('with a real unbound', () => {
  for (const transport of ['udp', 'tcp'] as const) {
    test(`forwards over ${transport}: answers, name errors, no data, and what does not fit a datagram`, async (t) => {
      if (requireProgram(t, 'unbound', 'unbound') === undefined) return
      const unbound = await startUnbound(['www.example. 60 IN A 192.0.2.1', ...BIG])
      t.after(() => unbound.stop())
      const asked = group(t, { upstreams: [{ address: '127.0.0.1', port: unbound.port }], transport })

      const found = await asked.forward(question('www.example', { dnssecOk: true }))
      assert.ok(found.kind === 'response')
      assert.deepEqual(
        decodeMessage(found.response.answer.message).answers?.map((answer) => 'data' in answer && answer.data),
        ['192.0.2.1'],
      )
      assert.equal(gist(await asked.forward(question('nobody.example'))), 'rcode 3')
      const noData = await asked.forward(question('www.example', { type: 28 }))
      assert.ok(noData.kind === 'response' && noData.response.rcode === 0 && !noData.response.facts.hasAnswer)
      const big = await asked.forward(question('big.example', { type: 16 }))
      assert.ok(big.kind === 'response' && !big.response.isTruncated)
      assert.equal(decodeMessage(big.response.answer.message).answers?.length, BIG.length)
    })
  }

  test('pipelines a thousand questions over TCP and loses none', async (t) => {
    if (requireProgram(t, 'unbound', 'unbound') === undefined) return
    const names = Array.from({ length: 1_000 }, (_, i) => `n${i}.example`)
    const unbound = await startUnbound(names.map((name, i) => `${name}. 60 IN A 10.0.${i >> 8}.${i & 255}`))
    t.after(() => unbound.stop())
    const asked = group(t, { upstreams: [{ address: '127.0.0.1', port: unbound.port }], transport: 'tcp' })
    const results = await Promise.all(names.map((name) => asked.forward(question(name))))
    for (const [i, result] of results.entries()) {
      assert.ok(result.kind === 'response')
      assert.deepEqual([...result.response.answer.message.subarray(-4)], [10, 0, i >> 8, i & 255])
    }
    assert.ok(asked.status().upstreams[0]!.openConnections <= 6)
  })

  test('goes on when unbound is restarted, without an error for a client', async (t) => {
    if (requireProgram(t, 'unbound', 'unbound') === undefined) return
    const record = 'www.example. 60 IN A 192.0.2.1'
    const [first, second] = [await startUnbound([record]), await startUnbound([record])]
    t.after(() => Promise.all([first.stop(), second.stop()]))
    const asked = group(t, {
      upstreams: [first, second].map(({ port }) => ({ address: '127.0.0.1', port })),
      transport: 'tcp',
    })
    const results: string[] = []
    for (let i = 0; i < 60; i++) {
      if (i === 20) await first.stop()
      results.push(gist(await asked.forward(question('www.example'))))
    }
    assert.deepEqual([...new Set(results)], ['rcode 0'])
  })
})
