/** The agent as a process before an upstream of our own that does everything an upstream should not. */

import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import * as dnsPacket from 'dns-packet'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import {
  ANSWERS,
  type AskedQuery,
  responseTo,
  type Script,
  startUpstream,
  type TestUpstream,
} from '../common/upstream.ts'

let ids = 0

function queryFor(name: string): Buffer {
  ids = (ids + 1) & 0xffff
  const questions = [{ type: 'A' as const, name }]
  return dnsPacket.encode({ type: 'query', id: ids, flags: dnsPacket.RECURSION_DESIRED, questions })
}

/** `NOERROR 192.0.2.7`, or the rcode alone. */
function told(response: Buffer): string {
  const { rcode, answers } = dnsPacket.decode(response) as dnsPacket.DecodedPacket & { rcode: string }
  return [rcode, ...(answers ?? []).map((record) => (record.type === 'A' ? record.data : record.type))].join(' ')
}

const GOOD = 'NOERROR 192.0.2.7'

/** A lie with the address that a forger wants to plant. */
function lie(query: AskedQuery, parts: { id?: number; name?: string; type?: string }): Buffer {
  const name = parts.name ?? query.name
  return responseTo(query, {
    id: parts.id ?? query.id,
    questions: [{ name, type: (parts.type ?? 'A') as dnsPacket.RecordType }],
    answers: [{ type: 'A', name, ttl: 300, data: '203.0.113.66' }],
  })
}

/** What the upstream does; whatever that is, every client gets the good answer. */
const misbehaviours: { promise: string; over: ('udp' | 'tcp')[]; script: () => Script }[] = [
  {
    promise: 'delays its answers by half a second',
    over: ['udp', 'tcp'],
    script: () => (query) => void setTimeout(() => query.answer(), 500),
  },
  {
    promise: 'drops every first query',
    over: ['udp', 'tcp'],
    script: () => {
      const seen = new Set<string>()
      return (query) => {
        if (seen.has(query.name)) query.answer()
        seen.add(query.name)
      }
    },
  },
  {
    promise: 'truncates all answers over UDP',
    over: ['udp'],
    script: () => (query) =>
      query.answer(query.transport === 'udp' ? { flagBits: dnsPacket.TRUNCATED_RESPONSE, answers: [] } : {}),
  },
  {
    promise: 'lies about id, name and type before it tells the truth',
    over: ['udp'],
    script: () => (query) => {
      query.send(lie(query, { id: query.id ^ 1 }))
      query.send(lie(query, { name: 'bank.example' }))
      query.send(lie(query, { type: 'AAAA' }))
      query.answer()
    },
  },
  {
    promise: 'answers queries with ids that nobody used before it answers ours',
    over: ['tcp'],
    script: () => (query) => {
      for (let other = 1; other < 100; other++) query.send(lie(query, { id: query.id ^ (0x4000 | other) }))
      query.answer()
    },
  },
  {
    promise: 'floods with forged responses, and answers over TCP',
    over: ['udp'],
    script: () => (query) => {
      if (query.transport === 'tcp') query.answer()
      else for (let forged = 1; forged < 200; forged++) query.send(lie(query, { id: query.id ^ forged }))
    },
  },
  {
    promise: 'answers with octets that are no message, then properly',
    over: ['udp', 'tcp'],
    script: () => (query) => {
      query.send(Buffer.alloc(40, 0xc0))
      query.answer()
    },
  },
  {
    promise: 'answers four queries in reverse order',
    over: ['tcp'],
    script: () => {
      const held: AskedQuery[] = []
      return (query) => {
        held.push(query)
        if (held.length === 4) for (const one of held.splice(0).reverse()) one.answer()
      }
    },
  },
  {
    promise: 'resets every first connection under its queries',
    over: ['tcp'],
    script: () => onFirstConnection((query) => query.reset()),
  },
  {
    promise: 'half-closes every first connection under its queries',
    over: ['tcp'],
    script: () => onFirstConnection((query) => query.end()),
  },
  {
    promise: 'sends its answers an octet at a time',
    over: ['tcp'],
    script: () => (query) => {
      const message = responseTo(query)
      const framed = Buffer.concat([Buffer.of(message.length >> 8, message.length & 0xff), message])
      query.sendPieces(Array.from(framed, (octet) => Buffer.of(octet)))
    },
  },
]

function onFirstConnection(harm: (query: AskedQuery) => void): Script {
  let harmed: number | undefined
  return (query) => {
    harmed ??= query.connection
    if (query.connection === harmed) harm(query)
    else query.answer()
  }
}

suite('agent before a hostile upstream', () => {
  const upstreams: { udp?: TestUpstream; tcp?: TestUpstream; liar?: TestUpstream; fool?: TestUpstream } = {}
  let agent: AgentProcess
  let part = 0

  before(async () => {
    upstreams.udp = await startUpstream()
    upstreams.tcp = await startUpstream()
    upstreams.liar = await startUpstream()
    upstreams.fool = await startUpstream()
    const [tcp, liar] = [`127.0.0.1:${upstreams.tcp.port}`, `127.0.0.1:${upstreams.liar.port}`]
    agent = await startAgentProcess({
      clusterset: { source: 'none' },
      forward: [
        { zones: ['udp.example'], upstreams: [`127.0.0.1:${upstreams.udp.port}`], transport: 'udp' },
        { zones: ['tcp.example'], upstreams: [tcp], transport: 'tcp' },
        { zones: ['pair.example'], upstreams: [liar, tcp], transport: 'tcp' },
        { zones: ['fool.example'], upstreams: [`127.0.0.1:${upstreams.fool.port}`], transport: 'tcp' },
      ],
    })
  })
  after(async () => {
    await agent?.stop()
    await upstreams.udp?.stop()
    await upstreams.tcp?.stop()
    await upstreams.liar?.stop()
    await upstreams.fool?.stop()
  })

  const names = (over: 'udp' | 'tcp' | 'pair' | 'fool', count: number) => {
    part++
    return Array.from({ length: count }, (_, i) => `q${part}x${i}.${over}.example`)
  }
  const metric = async (pattern: RegExp) =>
    [...(await agent.metrics()).matchAll(new RegExp(pattern, 'gm'))].reduce((sum, match) => sum + Number(match[1]), 0)

  for (const { promise, over, script } of misbehaviours) {
    for (const transport of over) {
      test(`answers its clients when an upstream over ${transport} ${promise}`, async () => {
        upstreams[transport]!.script = script()
        const asked = names(transport, 4).map(async (name, i) =>
          told(await (i % 2 === 0 ? askUdp : askTcp)(agent.port, queryFor(name))),
        )
        assert.deepEqual(await Promise.all(asked), Array(4).fill(GOOD))
      })
    }
  }

  const nonsense: { what: string; send(query: AskedQuery): void }[] = [
    { what: 'the name of a bank', send: (query) => query.send(lie(query, { name: 'bank.example' })) },
    { what: 'another type', send: (query) => query.send(lie(query, { type: 'AAAA' })) },
    {
      what: 'messages that break off',
      send: (query) => query.send(responseTo(query, { additionals: [] }).subarray(0, -2)),
    },
    { what: 'our own query', send: (query) => query.send(query.bytes) },
    { what: 'lengths that no message has', send: (query) => query.sendPieces([Buffer.of(0, 3, 1, 2, 3)]) },
    { what: 'a length that is never filled', send: (query) => query.sendPieces([Buffer.alloc(40, 0xff)]) },
  ]
  for (const { what, send } of nonsense) {
    test(`answers its clients when a connection of an upstream brings ${what}`, async () => {
      upstreams.tcp!.script = onFirstConnection(send)
      const asked = names('tcp', 6).map(async (name, i) =>
        told(await (i % 2 === 0 ? askUdp : askTcp)(agent.port, queryFor(name))),
      )
      assert.deepEqual(await Promise.all(asked), Array(6).fill(GOOD))
    })

    test(`leaves an upstream that brings ${what} for one that does not`, async () => {
      upstreams.liar!.script = send
      upstreams.tcp!.script = ANSWERS
      const asked = names('pair', 6).map(async (name) => told(await askUdp(agent.port, queryFor(name))))
      assert.deepEqual(await Promise.all(asked), Array(6).fill(GOOD))
    })
  }

  test('does not keep its clients waiting for an upstream that answers nonsense only', async () => {
    upstreams.fool!.script = (query) => query.send(lie(query, { name: 'bank.example' }))
    const [name] = names('fool', 1)
    const response = await askUdp(agent.port, queryFor(name!))
    assert.equal(told(response), 'SERVFAIL')
    assert.equal(upstreams.fool!.queries.filter((query) => query.name === name).length, 3)
    // Had it been waited for, the tries would have ended by time-outs, and that would be why it is dead.
    const dead = () =>
      agent
        .output()
        .split('\n')
        .find((line) => line.includes('upstream-dead') && line.includes(`:${upstreams.fool!.port}`))
    await until(
      () => dead() !== undefined,
      4_000,
      () => agent.output(),
    )
    assert.match(dead()!, /NO_RESPONSE/)
  })

  test('has counted what was forged and what was no message', async () => {
    assert.ok((await metric(/^nodelocal_mcs_upstream_ignored_responses_total\{[^}]*mismatch[^}]*\} (\d+)/)) >= 3)
    assert.ok((await metric(/^nodelocal_mcs_upstream_ignored_responses_total\{[^}]*malformed[^}]*\} (\d+)/)) >= 1)
    const { body } = await agent.health('/cache?name=bank.example')
    assert.deepEqual((JSON.parse(body) as { entries: unknown[] }).entries, [])
  })

  for (const transport of ['udp', 'tcp'] as const) {
    test(`asks once over ${transport} what a hundred clients ask at once by both transports`, async () => {
      const upstream = upstreams[transport]!
      const held: AskedQuery[] = []
      upstream.script = (query) => void held.push(query)
      const [name] = names(transport, 1)
      const coalesced = /^nodelocal_mcs_coalesced_queries_total (\d+)/
      const before = await metric(coalesced)
      const asked = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? askUdp : askTcp)(agent.port, queryFor(name!)))
      await until(
        async () => (await metric(coalesced)) - before === 99,
        4_000,
        () => agent.output(),
      )
      upstream.script = ANSWERS
      for (const query of held) query.answer()
      assert.deepEqual(new Set((await Promise.all(asked)).map(told)), new Set([GOOD]))
      // One question; what is more is the same flight trying again while the upstream was silent.
      assert.ok(held.length <= 3, `${held.length} tries`)
    })
  }

  test('says SERVFAIL with an extended error when the upstream is silent, and lives', async () => {
    upstreams.udp!.script = () => {}
    const [name] = names('udp', 1)
    assert.equal(told(await askUdp(agent.port, queryFor(name!))), 'SERVFAIL')
    upstreams.udp!.script = ANSWERS
    const [other] = names('udp', 1)
    assert.equal(told(await askUdp(agent.port, queryFor(other!))), GOOD)
    assert.equal(agent.process.exitCode, null)
  })
})
