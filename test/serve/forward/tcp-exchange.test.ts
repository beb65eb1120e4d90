import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { until } from '../../common/until.ts'
import { type AskedQuery, responseTo, SILENT } from '../../common/upstream.ts'
import { gist, group, question, upstream } from './fixtures.ts'

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `q${i}.example`)

suite('queries over TCP', () => {
  test('share a connection, and their responses come in any order', async (t) => {
    const waiting: AskedQuery[] = []
    const server = await upstream(t, {
      script: (query) => {
        if (waiting.push(query) < 20) return
        for (const each of waiting.toReversed()) each.answer()
      },
    })
    const asked = group(t, { upstreams: [server], transport: 'tcp' })
    const results = await Promise.all(names(20).map((name) => asked.forward(question(name))))
    assert.ok(results.every((result) => gist(result) === 'rcode 0'))
    for (const [i, result] of results.entries()) {
      assert.ok(result.kind === 'response')
      assert.equal(result.response.question!.name, question(`q${i}.example`).name)
    }
    assert.equal(server.connectionsAccepted, 1)
  })

  test('open another connection when one has much under way, up to a limit', async (t) => {
    const server = await upstream(t, { script: SILENT })
    const asked = group(t, {
      upstreams: [server],
      transport: 'tcp',
      deadlineMs: 150,
      connections: { connectionsMax: 3, queriesBeforeAnother: 4 },
    })
    await Promise.all(names(40).map((name) => asked.forward(question(name))))
    assert.equal(server.connectionsAccepted, 3)
    assert.equal(server.queries.length, 40)
  })

  test('read responses that come in pieces, one octet at a time', async (t) => {
    const server = await upstream(t, {
      script: (query) => {
        const message = responseTo(query)
        const frame = Buffer.alloc(2 + message.length)
        frame.writeUInt16BE(message.length)
        frame.set(message, 2)
        query.sendPieces([...frame].map((octet) => Buffer.from([octet])))
      },
    })
    const asked = group(t, { upstreams: [server], transport: 'tcp' })
    for (const name of names(3)) assert.equal(gist(await asked.forward(question(name))), 'rcode 0')
    assert.equal(server.connectionsAccepted, 1)
  })

  test('read a response of 65,535 octets', async (t) => {
    const server = await upstream(t, {
      script: (query) => {
        const small = responseTo(query, { additionals: [] })
        const big = Buffer.alloc(65_535)
        big.set(small)
        query.send(big)
      },
    })
    const asked = group(t, { upstreams: [server], transport: 'tcp' })
    assert.equal(gist(await asked.forward(question('big.example'))), 'rcode 0')
  })

  const endings: { promise: string; end(query: AskedQuery): void }[] = [
    { promise: 'is reset', end: (query) => query.reset() },
    { promise: 'is half-closed', end: (query) => query.end() },
    {
      promise: 'breaks off in the middle of a response',
      end: (query) => {
        query.sendPieces([Buffer.from([0, 99, 1, 2, 3])])
        query.end()
      },
    },
    { promise: 'stalls', end: () => {} },
  ]
  for (const { promise, end } of endings) {
    test(`go over another connection when theirs ${promise}`, async (t) => {
      const server = await upstream(t)
      const asked = group(t, { upstreams: [server], transport: 'tcp' })
      assert.equal(gist(await asked.forward(question('first.example'))), 'rcode 0')
      server.script = (query) => (query.connection === 1 ? end(query) : query.answer())
      const results = await Promise.all(names(5).map((name) => asked.forward(question(name))))
      assert.deepEqual([...new Set(results.map(gist))], ['rcode 0'])
      assert.equal(asked.status().upstreams[0]!.isHealthy, true)
    })
  }

  for (const perConnection of [1, 3]) {
    test(`learn that a server takes ${perConnection} a connection and hangs up on the rest`, async (t) => {
      const answered = new Map<number, number>()
      const server = await upstream(t, {
        script: (query) => {
          const count = (answered.get(query.connection) ?? 0) + 1
          answered.set(query.connection, count)
          if (count <= perConnection) query.answer()
          if (count === perConnection) query.end()
        },
      })
      const asked = group(t, { upstreams: [server], transport: 'tcp' })
      for (let round = 0; round < 3; round++) {
        const results = await Promise.all(names(30).map((name) => asked.forward(question(name))))
        assert.deepEqual([...new Set(results.map(gist))], ['rcode 0'])
      }
    })
  }

  test('ignore and count what was not asked, on a connection that goes on', async (t) => {
    const server = await upstream(t, {
      script: (query) => {
        query.send(responseTo({ ...query, id: query.id ^ 1 }))
        query.send(Buffer.from('no'))
        query.send(Buffer.alloc(0))
        query.answer()
        query.answer()
      },
    })
    const asked = group(t, { upstreams: [server], transport: 'tcp' })
    for (const name of names(3)) assert.equal(gist(await asked.forward(question(name))), 'rcode 0')
    assert.equal(server.connectionsAccepted, 1)
    assert.ok(asked.status().mismatched >= 6)
  })

  const broken: { promise: string; send(query: AskedQuery): void; counted: 'malformed' | 'mismatched' }[] = [
    {
      promise: 'breaks off',
      send: (query) => query.send(responseTo(query).subarray(0, -1)),
      counted: 'malformed',
    },
    {
      promise: 'is no response',
      send: (query) => query.send(Buffer.concat([query.bytes.subarray(0, 2), Buffer.alloc(10)])),
      counted: 'malformed',
    },
    {
      promise: 'is about another name',
      send: (query) => query.send(responseTo({ ...query, name: 'other.example' })),
      counted: 'mismatched',
    },
  ]
  for (const { promise, send, counted } of broken) {
    test(`go over another connection, long before they would be late, when what comes for their id ${promise}`, async (t) => {
      const server = await upstream(t)
      // Nothing is late here before the test itself is.
      const asked = group(t, { upstreams: [server], transport: 'tcp', deadlineMs: 600_000 })
      assert.equal(gist(await asked.forward(question('first.example'))), 'rcode 0')
      const held: AskedQuery[] = []
      server.script = (query) => {
        if (query.connection > 1) query.answer()
        else if (query.name === 'waits.example') held.push(query)
        else send(query)
      }
      const waits = asked.forward(question('waits.example'))
      await until(() => held.length > 0)
      assert.equal(gist(await asked.forward(question('broken.example'))), 'rcode 0')
      assert.equal(asked.status()[counted], 1)
      assert.equal(asked.status().upstreams[0]!.timeouts, 0)
      // What else is under way on the first connection is still answered there, and then it is closed.
      held[0]!.answer()
      assert.equal(gist(await waits), 'rcode 0')
      await until(() => server.connectionsOpen === 1)
      assert.equal(server.connectionsAccepted, 2)
    })
  }

  test('ask another upstream, and fail without waiting, when all that comes for them is broken', async (t) => {
    const breaks: AskedQuery[] = []
    const script = (query: AskedQuery): void => {
      breaks.push(query)
      query.send(responseTo(query).subarray(0, -1))
    }
    const [first, second] = [await upstream(t, { script }), await upstream(t, { script })]
    const asked = group(t, { upstreams: [first, second], transport: 'tcp', deadlineMs: 600_000 })
    assert.equal(gist(await asked.forward(question('broken.example'))), 'unreachable')
    assert.equal(breaks.length, 6)
    assert.ok(asked.status().upstreams.every(({ isHealthy }) => !isHealthy))
    second.script = (query) => query.answer()
    assert.equal(gist(await asked.forward(question('good.example'))), 'rcode 0')
  })

  test('change to a new connection after a number of queries, without losing one', async (t) => {
    const server = await upstream(t)
    const asked = group(t, { upstreams: [server], transport: 'tcp', connections: { queries: 10 } })
    for (const name of names(100)) assert.equal(gist(await asked.forward(question(name))), 'rcode 0')
    assert.ok(server.connectionsAccepted >= 7 && server.connectionsAccepted <= 20, `${server.connectionsAccepted}`)
    await until(() => server.connectionsOpen <= 1)
    assert.equal(server.queries.length, 100)
  })

  test('change to a new connection after a time, and close those that are idle', async (t) => {
    const server = await upstream(t)
    const asked = group(t, { upstreams: [server], transport: 'tcp', connections: { ageMs: 100, idleMs: 700 } })
    for (let i = 0; server.connectionsAccepted < 3; i++) await asked.forward(question(`q${i}.example`))
    await until(() => server.connectionsOpen === 0)
    assert.equal(asked.status().upstreams[0]!.openConnections, 0)
  })

  test('end with the group, at the latest after its time to drain', async (t) => {
    const server = await upstream(t, { script: SILENT })
    const asked = group(t, { upstreams: [server], transport: 'tcp' })
    const result = asked.forward(question('a.example'))
    await until(() => server.queries.length === 1)
    const stopped = asked.stop(5_000)
    server.queries[0]!.answer()
    await stopped
    assert.equal(gist(await result), 'rcode 0')
    await until(() => server.connectionsOpen === 0)
    assert.equal(gist(await asked.forward(question('b.example'))), 'no-upstreams')
  })
})
