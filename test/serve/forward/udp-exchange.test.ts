import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { PORT_QUERIES_MAX, PORTS_MAX, UdpExchanger } from '../../../src/serve/forward/udp-exchange.ts'
import { type OpenUdpSocket, openNodeSocket, openUdpSocket } from '../../../src/serve/forward/udp-socket.ts'
import { until } from '../../common/until.ts'
import { type AskedQuery, OPT, responseTo, SILENT } from '../../common/upstream.ts'
import { group as anyGroup, gist, question, upstream } from './fixtures.ts'

const TRUNCATED = 0x0200

/** Last octet of the address that came back. */
function lastOctet(result: Awaited<ReturnType<ReturnType<typeof anyGroup>['forward']>>): number | undefined {
  return result.kind === 'response' ? result.response.answer.message.at(-1) : undefined
}

const A_RECORD = { answers: [{ type: 'A' as const, name: 'www.example', ttl: 30, data: '203.0.113.66' }] }

const ways: readonly { readonly by: string; readonly openUdpSocket: OpenUdpSocket }[] = [
  { by: 'system calls', openUdpSocket },
  { by: "Node's sockets", openUdpSocket: openNodeSocket },
]
for (const { by, openUdpSocket } of ways) {
  behave(by, (t, choices) => anyGroup(t, { ...choices, openUdpSocket }))
}

function behave(by: string, group: typeof anyGroup): void {
  suite(`queries over UDP by ${by}`, () => {
    test('have a source port and an id of their own', async (t) => {
      const server = await upstream(t)
      const asked = group(t, { upstreams: [server] })
      for (let i = 0; i < 40; i++) await asked.forward(question(`q${i}.example`))
      // Chance may repeat itself now and then, but not as a habit.
      assert.ok(new Set(server.queries.map(({ clientPort }) => clientPort)).size > 30)
      assert.ok(new Set(server.queries.map(({ id }) => id)).size > 35)
    })

    test('count a response that comes when nobody waits any more as late, not as forged', async (t) => {
      const server = await upstream(t, { script: SILENT })
      const asked = group(t, { upstreams: [server], deadlineMs: 100 })
      assert.equal(gist(await asked.forward(question('www.example'))), 'timeout')
      await until(() => server.queries.length > 0)
      server.queries[0]!.answer()
      await until(() => asked.status().late === 1)
      assert.equal(asked.status().mismatched, 0)
    })

    test('carry an OPT of ours with 1232 octets and nothing of the client but DO and CD', async (t) => {
      const server = await upstream(t)
      const asked = group(t, { upstreams: [server] })
      await asked.forward(question('www.example', { dnssecOk: true, checkingDisabled: true }))
      const { bytes } = server.queries[0]!
      assert.equal(bytes.subarray(-11).toString('hex'), '00002904d0000080000000')
      assert.equal(bytes.readUInt16BE(2), 0x0130)
    })

    const lies: { promise: string; counted: 'mismatched' | 'malformed'; lie(query: AskedQuery): Buffer }[] = [
      { promise: 'another id', counted: 'mismatched', lie: (query) => responseTo({ ...query, id: query.id ^ 1 }) },
      {
        promise: 'another name',
        counted: 'mismatched',
        lie: (query) => responseTo({ ...query, name: 'evil.example' }),
      },
      { promise: 'another type', counted: 'mismatched', lie: (query) => responseTo({ ...query, type: 'AAAA' }) },
      {
        promise: 'another class',
        counted: 'mismatched',
        lie: (query) => responseTo(query, { questions: [{ name: query.name, type: 'A', class: 'CH' }] }),
      },
      { promise: 'no question', counted: 'mismatched', lie: (query) => responseTo(query, { questions: [] }) },
      { promise: 'the query itself', counted: 'malformed', lie: (query) => query.bytes },
      { promise: 'half a response', counted: 'malformed', lie: (query) => responseTo(query).subarray(0, 40) },
      { promise: 'no DNS at all', counted: 'malformed', lie: () => Buffer.from('hello') },
    ]
    for (const { promise, counted, lie } of lies) {
      test(`ignore and count a datagram with ${promise}`, async (t) => {
        const server = await upstream(t, {
          script: (query) => {
            query.send(lie(query))
            query.answer()
          },
        })
        const asked = group(t, { upstreams: [server] })
        const result = await asked.forward(question('www.example'))
        assert.equal(gist(result), 'rcode 0')
        assert.equal(server.queries.length, 1)
        assert.equal(asked.status()[counted], 1)
      })
    }

    test('never hear a datagram from another address or port', async (t) => {
      const forger = await upstream(t, { script: SILENT })
      const server = await upstream(t, { script: SILENT })
      server.script = (query) => {
        // The forger knows everything but where to send from.
        forger.sendTo(query.clientPort, responseTo(query, A_RECORD))
        forger.sendTo(query.clientPort, responseTo(query, A_RECORD), () => query.answer())
      }
      const asked = group(t, { upstreams: [server] })
      assert.equal(lastOctet(await asked.forward(question('www.example'))), 7)
    })

    test('end at once where nobody listens', async (t) => {
      const gone = await upstream(t)
      await gone.stop()
      const asked = group(t, { upstreams: [gone], deadlineMs: 400 })
      const result = await asked.forward(question('www.example'))
      assert.ok(result.kind === 'failure' && result.reason === 'unreachable' && result.detail.endsWith('ECONNREFUSED'))
    })

    test('go over TCP when the response is truncated', async (t) => {
      const server = await upstream(t, {
        script: (query) => query.answer(query.transport === 'udp' ? { flagBits: TRUNCATED, answers: [] } : {}),
      })
      const result = await group(t, { upstreams: [server] }).forward(question('www.example'))
      assert.ok(result.kind === 'response' && !result.response.isTruncated && result.response.facts.hasAnswer)
      assert.deepEqual(
        server.queries.map(({ transport }) => transport),
        ['udp', 'tcp'],
      )
    })

    test('give the truncated response when the upstream has no TCP', async (t) => {
      const server = await upstream(t, {
        withTcp: false,
        script: (query) => query.answer({ flagBits: TRUNCATED, answers: [] }),
      })
      const result = await group(t, { upstreams: [server] }).forward(question('www.example'))
      assert.ok(result.kind === 'response' && result.response.isTruncated)
    })

    test('go over TCP when a flood of forged responses comes first', async (t) => {
      const server = await upstream(t, {
        script: (query) => {
          if (query.transport === 'tcp') query.answer()
          else for (let id = 1; id <= 100; id++) query.send(responseTo({ ...query, id: query.id ^ id }, A_RECORD))
        },
      })
      const asked = group(t, { upstreams: [server] })
      assert.equal(lastOctet(await asked.forward(question('www.example'))), 7)
      assert.ok(asked.status().mismatched >= 32)
    })

    for (const { name, rcode } of [
      { name: 'FORMERR', rcode: 1 },
      { name: 'NOTIMP', rcode: 4 },
    ]) {
      test(`go without OPT to an upstream that says ${name} to it, and stay so`, async (t) => {
        const server = await upstream(t, {
          script: (query) => query.answer(query.withEdns ? { rcode, additionals: [], questions: [] } : {}),
        })
        const asked = group(t, { upstreams: [server] })
        assert.equal(gist(await asked.forward(question('a.example'))), 'rcode 0')
        assert.equal(gist(await asked.forward(question('b.example'))), 'rcode 0')
        assert.deepEqual(
          server.queries.map(({ withEdns }) => withEdns),
          [true, false, false],
        )
      })
    }

    test('believe a FORMERR from an upstream that knows EDNS', async (t) => {
      const server = await upstream(t, { script: (query) => query.answer({ rcode: 1, additionals: [OPT] }) })
      assert.equal(gist(await group(t, { upstreams: [server] }).forward(question('a.example'))), 'rcode 1')
      assert.equal(server.queries.length, 1)
    })

    test('hand on a FORMERR without question as a response with one', async (t) => {
      const server = await upstream(t, {
        script: (query) => query.answer({ rcode: 1, additionals: [], questions: [] }),
      })
      const asked = question('a.example')
      const result = await group(t, { upstreams: [server] }).forward(asked)
      assert.ok(result.kind === 'response' && result.response.rcode === 1)
      assert.deepEqual(result.response.question?.name, asked.name)
      assert.equal(Buffer.from(result.response.answer.message).readUInt16BE(4), 1)
    })

    test('spell names in random case where that is asked for, and demand it back', async (t) => {
      const server = await upstream(t, {
        script: (query) => {
          query.send(responseTo({ ...query, name: query.name.toLowerCase() }, A_RECORD))
          query.answer()
        },
      })
      const asked = group(t, { upstreams: [server], randomCase: true })
      const name = 'a-name-of-many-letters-that-chance-will-not-leave-alone.example'
      assert.equal(gist(await asked.forward(question(name))), 'rcode 0')
      assert.notEqual(server.queries[0]!.name, name)
      assert.equal(server.queries[0]!.name.toLowerCase(), name)
      assert.equal(asked.status().mismatched, 1)
    })

    test('take a response that is late but before the deadline', async (t) => {
      const waiting: AskedQuery[] = []
      const server = await upstream(t, {
        // Only the first query is answered, and only when the second has come.
        script: (query) => {
          if (waiting.push(query) === 2) waiting[0]!.answer()
        },
      })
      const result = await group(t, { upstreams: [server] }).forward(question('slow.example'))
      assert.equal(gist(result), 'rcode 0')
    })
  })
}

suite('ports of queries over UDP', () => {
  test('are new while queries are few, then picked by chance, and given up after a number of queries', () => {
    const uses: number[] = []
    let chance = 0
    let isClosed = 0
    const exchanger = new UdpExchanger(
      { upstream: { address: '192.0.2.53', port: 53 }, randomCase: false },
      {
        counts: { mismatched: 0, malformed: 0, late: 0 },
        nowMs: () => 0,
        randomId: () => (chance = (Math.imul(chance, 1_103_515_245) + 12_345) >>> 0) >>> 16,
        openSocket: () => {
          const port = uses.push(0) - 1
          return { send: () => void uses[port]!++, close: () => void isClosed++ }
        },
      },
    )
    const ask = (number: number) => {
      for (let i = 0; i < number; i++) exchanger.open(question('www.example'), true, { exchangeEnded() {} }).abandon()
    }
    ask(PORTS_MAX)
    assert.deepEqual(new Set(uses), new Set([1]))
    ask(PORTS_MAX)
    assert.equal(uses.length, PORTS_MAX)
    assert.ok(new Set(uses).size > 2, 'in turn, each would have been used twice')
    ask(100 * PORTS_MAX)
    assert.equal(Math.max(...uses), PORT_QUERIES_MAX)
    assert.ok(uses.length - isClosed <= PORTS_MAX)
    exchanger.close(false)
    assert.equal(isClosed, uses.length)
  })
})
