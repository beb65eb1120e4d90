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

  test('ignore and count responses with an id that was not asked, on a connection that goes on', async (t) => {
    const server = await upstream(t, {
      script: (query) => {
        query.send(responseTo({ ...query, id: query.id ^ 1 }))
        query.send(Buffer.alloc(40, query.id ^ 2))
        query.answer()
        query.answer()
      },
    })
    const asked = group(t, { upstreams: [server], transport: 'tcp' })
    for (const name of names(3)) assert.equal(gist(await asked.forward(question(name))), 'rcode 0')
    assert.equal(server.connectionsAccepted, 1)
    assert.equal(server.queries.length, 3)
    assert.ok(asked.status().mismatched >= 8)
  })

  // The clock stands still: whatever waited for a time-out would wait for ever.
  const nowMs = () => 1_000
  const framed = (octets: number, length = octets): Buffer => {
    const frame = Buffer.alloc(2 + octets, 0x5a)
    frame.writeUInt16BE(length)
    return frame
  }
  const nonsense: {
    what: string
    counted: 'malformed' | 'mismatched'
    send(query: AskedQuery): void
  }[] = [
    {
      what: 'a message that breaks off',
      counted: 'malformed',
      send: (query) => query.send(responseTo(query, { additionals: [] }).subarray(0, -3)),
    },
    { what: 'the query itself', counted: 'malformed', send: (query) => query.send(query.bytes) },
    {
      what: 'the answer to another name',
      counted: 'mismatched',
      send: (query) => query.send(responseTo({ ...query, name: 'bank.example' })),
    },
    {
      what: 'the answer to another type',
      counted: 'mismatched',
      send: (query) => query.send(responseTo({ ...query, type: 'AAAA' })),
    },
    {
      what: 'an answer without its question',
      counted: 'mismatched',
      send: (query) => query.send(responseTo(query, { questions: [] })),
    },
    { what: 'a length of 0', counted: 'malformed', send: (query) => query.sendPieces([framed(0)]) },
    { what: 'a length of 11', counted: 'malformed', send: (query) => query.sendPieces([framed(11)]) },
  ]
  for (const { what, counted, send } of nonsense) {
    test(`go at once over another connection when the answer is ${what}`, async (t) => {
      const server = await upstream(t)
      const asked = group(t, { upstreams: [server], transport: 'tcp', nowMs })
      assert.equal(gist(await asked.forward(question('first.example'))), 'rcode 0')
      server.script = (query) => (query.connection === 1 ? send(query) : query.answer())
      assert.equal(gist(await asked.forward(question('www.example'))), 'rcode 0')
      assert.deepEqual(
        server.queries.map(({ connection }) => connection),
        [1, 1, 2],
      )
      const status = asked.status()
      assert.equal(status[counted], 1)
      assert.equal(status.upstreams[0]!.unreachable, 1)
      assert.equal(status.upstreams[0]!.isHealthy, true)
      assert.equal(status.upstreams[0]!.openConnections, 1)
    })

    test(`go at once to another upstream when the answer is ${what}`, async (t) => {
      const liar = await upstream(t, { script: send })
      const honest = await upstream(t)
      const asked = group(t, { upstreams: [liar, honest], transport: 'tcp', nowMs, random: () => 0.999 })
      for (const name of names(5)) assert.equal(gist(await asked.forward(question(name))), 'rcode 0')
      // One nonsense after the other makes it an upstream to be asked last.
      assert.ok(liar.queries.length >= 1)
      assert.equal(asked.status()[counted], liar.queries.length)
    })
  }

  test('end without a time-out when every answer is nonsense, and the upstream counts as dead', async (t) => {
    let now = 0
    const server = await upstream(t, { script: (query) => query.send(query.bytes) })
    const asked = group(t, { upstreams: [server], transport: 'tcp', nowMs: () => now })
    let told: string | undefined
    void asked.forward(question('www.example')).then((result) => (told = gist(result)))
    // Only the pauses between tries take time.
    await until(() => {
      if (asked.status().inFlight === 1 && asked.status().upstreams[0]!.inFlight === 0) now += 1
      return told !== undefined
    })
    assert.equal(told, 'unreachable')
    assert.equal(server.queries.length, 3)
    assert.ok(now < 400, `${now} ms`)
    assert.equal(asked.status().upstreams[0]!.timeouts, 0)
    assert.equal(asked.status().upstreams[0]!.isHealthy, false)
    assert.ok(asked.lines.some(({ event, fields }) => event === 'upstream-dead' && fields['why'] === 'NO_RESPONSE'))
  })

  test('leave the others of a connection their answers when one is nonsense', async (t) => {
    const held: AskedQuery[] = []
    const server = await upstream(t)
    const asked = group(t, { upstreams: [server], transport: 'tcp', nowMs })
    assert.equal(gist(await asked.forward(question('first.example'))), 'rcode 0')
    server.script = (query) => {
      if (query.connection > 1) query.answer()
      else if (query.name === 'q0.example') query.send(query.bytes)
      else held.push(query)
    }
    const results = names(4).map((name) => asked.forward(question(name)))
    await until(() => held.length === 3)
    for (const query of held) query.answer()
    assert.deepEqual((await Promise.all(results)).map(gist), Array(4).fill('rcode 0'))
    assert.equal(server.queries.length, 6)
    // And then it is closed.
    await until(() => server.connectionsOpen === 1)
  })

  test('go over another connection once they are late, when a length is never filled', async (t) => {
    let now = 0
    const server = await upstream(t)
    const asked = group(t, { upstreams: [server], transport: 'tcp', nowMs: () => now })
    assert.equal(gist(await asked.forward(question('first.example'))), 'rcode 0')
    server.script = (query) => {
      if (query.connection > 1) query.answer()
      // Whatever follows drowns in a message of 65,535 octets.
      else if (query.name === 'q0.example') query.sendPieces([framed(20, 65_535)])
      else query.answer()
    }
    const results = names(4).map((name) => asked.forward(question(name)))
    await until(() => server.queries.length === 5)
    let isOver = false
    void Promise.all(results).then(() => (isOver = true))
    await until(() => {
      now += 10
      return isOver
    })
    assert.deepEqual((await Promise.all(results)).map(gist), Array(4).fill('rcode 0'))
    assert.deepEqual(new Set(server.queries.slice(5).map(({ connection }) => connection)), new Set([2]))
  })

  test('take another connection when the one they are on speaks of other things only', async (t) => {
    let now = 0
    const server = await upstream(t)
    const asked = group(t, { upstreams: [server], transport: 'tcp', nowMs: () => now })
    assert.equal(gist(await asked.forward(question('first.example'))), 'rcode 0')
    server.script = (query) =>
      query.connection > 1 ? query.answer() : query.send(responseTo({ ...query, id: query.id ^ 1 }))
    let told: string | undefined
    void asked.forward(question('www.example')).then((result) => (told = gist(result)))
    await until(() => asked.status().mismatched === 1)
    await until(() => {
      now += 10
      return told !== undefined
    })
    assert.equal(told, 'rcode 0')
    assert.deepEqual(
      server.queries.map(({ connection }) => connection),
      [1, 1, 2],
    )
  })

  for (const address of ['fe80::1%nosuch0', 'fe80::1%4294967295']) {
    test(`end at once when there is no such interface as in ${address}`, async (t) => {
      for (const transport of ['tcp', 'tls', 'udp'] as const) {
        const asked = group(t, { upstreams: [{ address, port: 53 }, await upstream(t)], transport, nowMs })
        const result = asked.forward(question('www.example'))
        // The other upstream speaks no TLS.
        if (transport !== 'tls') assert.equal(gist(await result), 'rcode 0')
        await until(() => asked.status().upstreams[0]!.unreachable > 0 || asked.status().upstreams[1]!.requests > 0)
      }
    })
  }

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
