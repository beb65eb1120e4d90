import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nameFromText } from '../../../src/dns/wire/name.ts'
import { until } from '../../common/until.ts'
import { SILENT } from '../../common/upstream.ts'
import { gist, group, question, upstream } from './fixtures.ts'

suite('a group of upstreams', () => {
  for (const transport of ['udp', 'tcp'] as const) {
    test(`asks over ${transport} and gives the response`, async (t) => {
      const server = await upstream(t)
      const asked = group(t, { upstreams: [server], transport })
      const result = await asked.forward(question('www.example.com'))
      assert.equal(gist(result), 'rcode 0')
      assert.equal(result.kind === 'response' && result.upstream, `127.0.0.1:${server.port}`)
      assert.equal(server.queries[0]?.transport, transport)
      assert.equal(server.queries.length, 1)
    })

    test(`asks an upstream once over ${transport} for a thousand identical questions`, async (t) => {
      const server = await upstream(t)
      const asked = group(t, { upstreams: [server], transport })
      const results = await Promise.all(Array.from({ length: 1_000 }, () => asked.forward(question('one.example'))))
      assert.ok(results.every((result) => gist(result) === 'rcode 0'))
      assert.equal(server.queries.length, 1)
      assert.equal(asked.status().coalesced, 999)
    })

    test(`asks the next upstream over ${transport} when the first is silent, well before the client gives up`, async (t) => {
      const silent = await upstream(t, { script: SILENT })
      const other = await upstream(t)
      const asked = group(t, { upstreams: [silent, other], transport })
      for (let i = 0; i < 12; i++) assert.equal(gist(await asked.forward(question(`q${i}.example`))), 'rcode 0')
      assert.ok(other.queries.length >= 12)
    })
  }

  const poor = [
    { rcode: 2, name: 'SERVFAIL' },
    { rcode: 4, name: 'NOTIMP' },
    { rcode: 5, name: 'REFUSED' },
  ]
  for (const { rcode, name } of poor) {
    test(`asks the next upstream after ${name}, and gives ${name} when all say so`, async (t) => {
      const first = await upstream(t, { script: (query) => query.answer({ rcode }) })
      const second = await upstream(t, { script: (query) => query.answer({ rcode }) })
      const asked = group(t, { upstreams: [first, second] })
      assert.equal(gist(await asked.forward(question('a.example'))), `rcode ${rcode}`)
      assert.equal(first.queries.length, 1)
      assert.equal(second.queries.length, 1)
      second.script = (query) => query.answer()
      assert.equal(gist(await asked.forward(question('b.example'))), 'rcode 0')
    })
  }

  for (const transport of ['udp', 'tcp'] as const) {
    test(`leaves nobody waiting over ${transport} when it stops while an upstream is silent`, async (t) => {
      const silent = await upstream(t, { script: SILENT })
      const asked = group(t, { upstreams: [silent], transport })
      const result = asked.forward(question('www.example.com'))
      await until(() => silent.queries.length > 0)
      await asked.stop(0)
      assert.equal(gist(await result), 'unreachable')
      assert.equal(asked.status().inFlight, 0)
    })
  }

  test('takes a name error for an answer', async (t) => {
    const first = await upstream(t, { script: (query) => query.answer({ rcode: 3 }) })
    const second = await upstream(t, { script: (query) => query.answer({ rcode: 3 }) })
    const asked = group(t, { upstreams: [first, second] })
    assert.equal(gist(await asked.forward(question('a.example'))), 'rcode 3')
    assert.equal(first.queries.length + second.queries.length, 1)
  })

  test('fails at the deadline when nobody answers', async (t) => {
    const silent = await upstream(t, { script: SILENT })
    const asked = group(t, { upstreams: [silent], deadlineMs: 300 })
    assert.equal(gist(await asked.forward(question('a.example'))), 'timeout')
    assert.equal(asked.status().timeouts, 1)
  })

  test('fails at once when nobody listens', async (t) => {
    for (const transport of ['udp', 'tcp'] as const) {
      const gone = await upstream(t)
      await gone.stop()
      const asked = group(t, { upstreams: [gone], transport })
      assert.equal(gist(await asked.forward(question('a.example'))), 'unreachable')
    }
  })

  test('has no upstreams when its list is empty', async (t) => {
    assert.equal(gist(await group(t, { upstreams: [] }).forward(question('a.example'))), 'no-upstreams')
  })

  test('refuses more questions at once than its limit, and counts them', async (t) => {
    const silent = await upstream(t, { script: SILENT })
    const asked = group(t, { upstreams: [silent], deadlineMs: 300, maxInFlight: 2, maxWaiters: 2 })
    const results = await Promise.all(['a', 'a', 'a', 'b', 'c'].map((name) => asked.forward(question(name))))
    assert.deepEqual(results.map(gist), ['timeout', 'timeout', 'overloaded', 'timeout', 'overloaded'])
    assert.equal(asked.status().rejected, 2)
  })

  for (const transport of ['udp', 'tcp'] as const) {
    test(`takes a dead upstream back over ${transport} soon after its recovery, without a client asking it`, async (t) => {
      const server = await upstream(t, { script: SILENT })
      const asked = group(t, { upstreams: [server], transport, deadlineMs: 450 })
      const isHealthy = (): boolean => asked.status().upstreams[0]!.isHealthy
      await Promise.all(['a', 'b', 'c'].map((name) => asked.forward(question(name))))
      assert.equal(isHealthy(), false)
      await until(() => asked.status().upstreams[0]!.healthcheckFailures > 0)
      server.script = (query) => query.answer()
      await until(isHealthy)
      assert.deepEqual(
        asked.lines.map(({ event }) => event),
        ['upstream-dead', 'upstream-alive'],
      )
    })
  }

  test('recognises an upstream that asks us, reports it and asks the others alone', async (t) => {
    const loop = await upstream(t)
    const other = await upstream(t)
    const asked = group(t, { upstreams: [loop, other], loopZone: nameFromText('example')!, random: () => 0.5 })
    loop.script = (query) => {
      const again = asked.forward(question(query.name))
      // Until it is found out, its questions wait for themselves.
      again.then((result) => query.answer({ rcode: result.kind === 'response' ? result.response.rcode : 2 }))
    }
    other.script = SILENT
    const isLooping = (): boolean => asked.status().upstreams[0]!.isLooping
    const first = ['a', 'b', 'c', 'd'].map((name) => asked.forward(question(`${name}.example`)))
    await until(isLooping)
    other.script = (query) => query.answer()
    await Promise.all(first)
    const before = loop.queries.length
    for (let i = 0; i < 10; i++) assert.equal(gist(await asked.forward(question(`q${i}.example`))), 'rcode 0')
    assert.equal(loop.queries.length, before)
    assert.equal(asked.lines.filter(({ event }) => event === 'upstream-loops').length, 1)
  })

  test('prefers the faster upstream', async (t) => {
    const slow = await upstream(t, { script: (query) => setTimeout(() => query.answer(), 60) })
    const fast = await upstream(t)
    const asked = group(t, { upstreams: [slow, fast], random: () => 0.5 })
    for (let i = 0; i < 20; i++) await asked.forward(question(`q${i}.example`))
    assert.ok(slow.queries.length <= 2, `${slow.queries.length}`)
  })

  test('keeps the connections of upstreams that stay when the list changes, and closes the others', async (t) => {
    const [stays, goes, comes] = [await upstream(t), await upstream(t), await upstream(t)]
    const asked = group(t, { upstreams: [stays, goes], transport: 'tcp' })
    for (let i = 0; stays.connectionsOpen + goes.connectionsOpen < 2; i++)
      await asked.forward(question(`q${i}.example`))
    asked.use([comes, stays])
    await until(() => goes.connectionsOpen === 0)
    assert.equal(stays.connectionsOpen, 1)
    for (let i = 0; comes.queries.length === 0; i++) await asked.forward(question(`r${i}.example`))
    assert.equal(stays.connectionsAccepted, 1)
  })
})

suite('a look at a group of upstreams', () => {
  test('tells who would be asked, in order, and asks nobody', async (t) => {
    const dead = await upstream(t)
    const alive = await upstream(t)
    const asked = group(t, { upstreams: [dead, alive], deadlineMs: 2_000 })
    dead.script = SILENT
    const first = asked.lookAt(question('www.example.com'))
    assert.deepEqual(
      first.order.map(({ isAmongFirst }) => isAmongFirst),
      [true, true],
    )
    assert.deepEqual([dead.queries.length, alive.queries.length], [0, 0])
    const isDead = () => asked.lookAt(question('www.example.com')).order.at(-1)?.status.isHealthy === false
    for (let i = 0; i < 100 && !isDead(); i++) await asked.forward(question(`q${i}.example`))
    const { order, waiters, isFull } = asked.lookAt(question('www.example.com'))
    assert.deepEqual(
      order.map(({ status }) => status.to),
      [`127.0.0.1:${alive.port}`, `127.0.0.1:${dead.port}`],
    )
    assert.deepEqual([order[0]!.isAmongFirst, order[1]!.isAmongFirst, waiters, isFull], [true, false, 0, false])
    assert.ok(order[0]!.status.answeredMsAgo! >= 0)
    assert.equal(order[1]!.status.answeredMsAgo, undefined)
  })

  test('tells how many wait for the same answer, and that no more would be taken', async (t) => {
    const silent = await upstream(t, { script: SILENT })
    const asked = group(t, { upstreams: [silent], maxInFlight: 1, maxWaiters: 2 })
    const one = asked.forward(question('one.example'))
    assert.deepEqual(
      [asked.lookAt(question('one.example')).waiters, asked.lookAt(question('one.example')).isFull],
      [1, false],
    )
    assert.deepEqual(
      [asked.lookAt(question('two.example')).waiters, asked.lookAt(question('two.example')).isFull],
      [0, true],
    )
    const other = asked.forward(question('one.example'))
    assert.deepEqual(
      [asked.lookAt(question('one.example')).waiters, asked.lookAt(question('one.example')).isFull],
      [2, true],
    )
    await asked.stop(0)
    await Promise.all([one, other])
  })
})
