import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { suite, type TestContext, test } from 'node:test'
import type { UpstreamTransport } from '../../../src/serve/forward/exchange.ts'
import { createUpstreamGroup } from '../../../src/serve/forward/forwarder.ts'
import { answerTo, type ScriptedUpstream, startScriptedUpstream } from '../../common/scripted-upstream.ts'
import { questionFor } from '../../common/wire.ts'

const QUESTION = questionFor('www.example')
const OBSERVER = { exchangeEnded() {}, healthcheckFailed() {}, connectionReused() {}, connectionOpened() {} }

async function upstreamFor(t: TestContext): Promise<ScriptedUpstream> {
  const upstream = await startScriptedUpstream()
  t.after(() => upstream.close())
  return upstream
}

function groupFor(
  t: TestContext,
  transport: UpstreamTransport,
  upstreams: readonly ScriptedUpstream[],
  maxInFlight = 100,
) {
  const group = createUpstreamGroup(
    { upstreams: upstreams.map(({ port }) => ({ address: '127.0.0.1', port })), transport, maxInFlight },
    { observer: OBSERVER, random: () => 0.5, randomId: () => randomInt(65_536), nowMs: () => performance.now() },
  )
  t.after(() => group.stop(0))
  return group
}

suite('forwarder', () => {
  for (const transport of ['udp', 'tcp'] as const) {
    test(`asks over ${transport} and hands back the answer`, async (t) => {
      const upstream = await upstreamFor(t)
      upstream.script((query) => query.reply(answerTo(query.message, { address: '192.0.2.7' })))
      const result = await groupFor(t, transport, [upstream]).forward(QUESTION)
      assert.ok(result.kind === 'response')
      assert.equal(result.response.facts.hasAnswer, true)
      assert.equal(upstream.queries[0]!.transport, transport)
    })

    test(`asks once over ${transport} for a thousand clients with one question`, async (t) => {
      const upstream = await upstreamFor(t)
      const group = groupFor(t, transport, [upstream])
      upstream.script((query) => setImmediate(() => query.reply(answerTo(query.message, { address: '192.0.2.7' }))))
      const results = await Promise.all(Array.from({ length: 1000 }, () => group.forward(QUESTION)))
      assert.ok(results.every((result) => result.kind === 'response'))
      assert.equal(upstream.queries.length, 1)
      assert.equal(group.status().coalesced, 999)
    })

    test(`turns to the next upstream over ${transport} when one is refused, and to the last answer when all are`, async (t) => {
      const [one, two] = [await upstreamFor(t), await upstreamFor(t)]
      one.script((query) => query.reply(answerTo(query.message, { rcode: 5 })))
      two.script((query) => query.reply(answerTo(query.message, { address: '192.0.2.8' })))
      const group = groupFor(t, transport, [one, two])
      const good = await group.forward(QUESTION)
      assert.ok(good.kind === 'response' && good.response.rcode === 0)
      two.script((query) => query.reply(answerTo(query.message, { rcode: 2 })))
      const bad = await group.forward(QUESTION)
      assert.ok(bad.kind === 'response' && bad.response.rcode !== 0)
    })

    test(`turns to the next upstream over ${transport} when one is silent`, async (t) => {
      const [one, two] = [await upstreamFor(t), await upstreamFor(t)]
      two.script((query) => query.reply(answerTo(query.message, { address: '192.0.2.8' })))
      const result = await groupFor(t, transport, [one, two]).forward(QUESTION)
      assert.ok(result.kind === 'response')
      assert.equal(one.queries.length, 1)
    })
  }

  test('asks again over TCP when the answer over UDP is truncated', async (t) => {
    const upstream = await upstreamFor(t)
    upstream.script((query) => {
      const isUdp = query.transport === 'udp'
      query.reply(answerTo(query.message, isUdp ? { truncated: true } : { address: '192.0.2.7' }))
    })
    const result = await groupFor(t, 'udp', [upstream]).forward(QUESTION)
    assert.ok(result.kind === 'response' && result.response.facts.hasAnswer && !result.response.isTruncated)
  })

  test('waits past datagrams with another id or another question, and counts them', async (t) => {
    const upstream = await upstreamFor(t)
    upstream.script((query) => {
      query.reply(answerTo(query.message, { address: '203.0.113.1', id: (query.message.readUInt16BE(0) + 1) & 0xffff }))
      const other = Buffer.from(query.message)
      other[13] = 0x78
      query.reply(answerTo(other, { address: '203.0.113.2' }))
      query.reply(Buffer.from('garbage'))
      query.reply(answerTo(query.message, { address: '192.0.2.7' }))
    })
    const group = groupFor(t, 'udp', [upstream])
    const result = await group.forward(QUESTION)
    assert.ok(result.kind === 'response')
    assert.deepEqual([...result.response.answer.message.subarray(-4)], [192, 0, 2, 7])
    assert.deepEqual([group.status().mismatched, group.status().malformed], [2, 1])
  })

  test('asks without EDNS an upstream that does not know it', async (t) => {
    const upstream = await upstreamFor(t)
    upstream.script((query) => {
      const hasOpt = query.message.readUInt16BE(10) === 1
      query.reply(answerTo(query.message, hasOpt ? { rcode: 1 } : { address: '192.0.2.7' }))
    })
    const result = await groupFor(t, 'udp', [upstream]).forward(QUESTION)
    assert.ok(result.kind === 'response' && result.response.rcode === 0)
  })

  test('takes answers over TCP in any order', async (t) => {
    const upstream = await upstreamFor(t)
    const group = groupFor(t, 'tcp', [upstream])
    upstream.script(() => {
      if (upstream.queries.length < 8) return
      for (const query of upstream.queries.toReversed()) query.reply(answerTo(query.message, { address: '192.0.2.7' }))
    })
    const names = Array.from({ length: 8 }, (_, i) => `n${i}.example`)
    const results = await Promise.all(names.map((name) => group.forward(questionFor(name))))
    for (const [i, result] of results.entries()) {
      assert.ok(result.kind === 'response')
      assert.equal(result.response.question?.name, questionFor(names[i]!).name)
    }
    assert.equal(group.status().upstreams[0]!.openConnections, 1)
  })

  test('tries another connection when one is reset', async (t) => {
    const upstream = await upstreamFor(t)
    upstream.script((query) => {
      if (upstream.queries.length === 1) query.reset()
      else query.reply(answerTo(query.message, { address: '192.0.2.7' }))
    })
    const result = await groupFor(t, 'tcp', [upstream]).forward(QUESTION)
    assert.ok(result.kind === 'response')
    assert.equal(upstream.queries.length, 2)
  })

  test('turns queries away beyond its limit and counts them', async (t) => {
    const upstream = await upstreamFor(t)
    const group = groupFor(t, 'udp', [upstream], 1)
    const first = group.forward(QUESTION)
    const second = await group.forward(questionFor('other.example'))
    assert.ok(second.kind === 'failure' && second.reason === 'overloaded')
    assert.equal(group.status().rejected, 1)
    upstream.queries.at(0)?.reply(answerTo(upstream.queries[0]!.message, { address: '192.0.2.7' }))
    upstream.script((query) => query.reply(answerTo(query.message, { address: '192.0.2.7' })))
    assert.equal((await first).kind, 'response')
  })

  test('says unreachable when nobody listens', async (t) => {
    const upstream = await startScriptedUpstream()
    upstream.close()
    const result = await groupFor(t, 'udp', [upstream]).forward(QUESTION)
    assert.ok(result.kind === 'failure')
    assert.equal(result.reason, 'unreachable')
  })
})
