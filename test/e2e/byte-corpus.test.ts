/** The byte corpus through the agent as a process: over UDP and TCP on both sides, fresh and from both caches. */

import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { after, before, suite, test } from 'node:test'
import { type AgentProcess, startAgentProcess } from '../common/agent-process.ts'
import { askTcp } from '../common/ask.ts'
import { assemble, BYTE_CORPUS, type CorpusEntry, type CorpusRecord } from '../common/byte-corpus.ts'
import { expectedResponse } from '../common/byte-corpus-client.ts'
import { type AskedQuery, startUpstream, type TestUpstream } from '../common/upstream.ts'

const TTL_MAX = 604_800
const TRUNCATED = 0x0200
const UDP_OCTETS_MAX = 1_232
const UDP_OCTETS_WITHOUT_EDNS = 512
const OCTETS_MAX = 65_535
const SERVFAIL = 2
/** Of one question, on a machine so busy that an answer is late; without a cache it would be eight questions. */
const TRIES_MAX = 3
const REFUSED = 5
const ANSWER_MS = 5_000

type Labels = readonly [string, string, string]

/** The first label numbers the entry, behind a letter that keeps the names of one test from those of another. */
const labelsOf = (letter: string, index: number, over: string): Labels => [`${letter}${index}`, over, 'example']

/** The same name as a client spells it that has its own way. */
const spelled = (labels: Labels): Labels => labels.map((label) => label.toUpperCase()) as unknown as Labels

function queryFor(type: number, labels: Labels, id: number, hasOpt: boolean): Buffer {
  const { bytes } = assemble({ what: 'a query', asks: type, ...(hasOpt ? { options: '' } : {}) }, labels, true)
  bytes.writeUInt16BE(id, 0)
  bytes.writeUInt16BE(0x0100, 2)
  return bytes
}

/** What the upstream says to a query of ours. */
function answer(query: AskedQuery): void {
  const [first, over] = query.name.split('.') as [string, string | undefined]
  const index = Number(first.slice(1))
  if (over === undefined || Number.isNaN(index)) {
    // A probe of an upstream that looked dead: anything will do.
    query.answer({ rcode: REFUSED })
    return
  }
  const labels = labelsOf(first[0]!, index, over)
  const whole = (bytes: Buffer): Buffer => {
    bytes.writeUInt16BE(query.id, 0)
    return bytes
  }
  if (first.startsWith('m')) {
    query.send(whole(MALFORMED[index]!.bytes(labels)))
    // Over UDP anybody could have sent that.
    if (query.transport === 'udp') query.send(whole(assemble(PLAIN, labels, true).bytes))
  } else query.send(whole(assemble(BYTE_CORPUS[index]!, labels, true).bytes))
}

const PLAIN: CorpusEntry = {
  what: 'a good answer',
  asks: 1,
  answer: [{ owner: '^q', type: 1, rdata: 'c0000207' }],
  options: '',
}
const OPT: CorpusRecord = { owner: '.', type: 41, class: 4096, ttl: 0, rdata: '' }

function entry(parts: Partial<CorpusEntry>, withOpt = true): (labels: Labels) => Buffer {
  return (labels) => assemble({ ...PLAIN, ...parts }, labels, withOpt).bytes
}

const MALFORMED: readonly { readonly what: string; bytes(labels: Labels): Buffer }[] = [
  { what: 'two OPTs', bytes: entry({ additional: [OPT] }) },
  { what: 'five OPTs', bytes: entry({ additional: [OPT, OPT, OPT, OPT], optBehind: 2 }) },
  { what: 'an OPT in the answer section', bytes: entry({ answer: [OPT] }) },
  { what: 'an OPT in the authority section', bytes: entry({ authority: [OPT] }) },
  { what: 'an OPT with an owner', bytes: entry({ additional: [{ ...OPT, owner: '^q' }] }, false) },
  { what: 'an option that overruns its OPT', bytes: entry({ options: '000a 0009 0102030405060708' }) },
  { what: 'half an option', bytes: entry({ options: '000a 00' }) },
  {
    what: 'an owner that leads into the OPT',
    bytes: entry({
      options: 'fde8 0004 @in 0161 00 00',
      additional: [{ owner: '^in', type: 1, rdata: '' }],
      optBehind: 0,
    }),
  },
  { what: 'an owner that leads to itself', bytes: entry({ additional: [{ owner: '@me ^me', type: 1, rdata: '' }] }) },
  {
    what: 'one record less than its counts',
    bytes: (labels) => {
      const { bytes } = assemble(PLAIN, labels, true)
      bytes.writeUInt16BE(2, 10)
      return bytes
    },
  },
  {
    what: 'an octet less than its last record',
    bytes: (labels) => assemble(PLAIN, labels, true).bytes.subarray(0, -1),
  },
]

/** What may not be kept, and is asked for every time. */
const NOT_KEPT: ReadonlySet<string> = new Set(['TTLs with the top bit set'])

suite('bytes in, bytes out, through the process', () => {
  let upstream: TestUpstream
  let agent: AgentProcess
  let client: Socket
  let ids = 0

  before(async () => {
    upstream = await startUpstream({ script: answer })
    const upstreams = [`127.0.0.1:${upstream.port}`]
    agent = await startAgentProcess({
      clusterset: { source: 'none' },
      forward: [
        { zones: ['udp.example'], upstreams, transport: 'udp' },
        { zones: ['tcp.example'], upstreams, transport: 'tcp' },
      ],
      cache: { maxTtlSeconds: TTL_MAX, maxNegativeTtlSeconds: 3_600, prefetch: { enabled: false } },
    })
    client = createSocket('udp4')
    client.connect(agent.port, '127.0.0.1')
    await once(client, 'connect')
  })
  after(async () => {
    client?.close()
    await agent?.stop()
    await upstream?.stop()
  })

  async function askUdp(query: Buffer): Promise<Buffer> {
    client.send(query)
    const [message] = (await once(client, 'message', { signal: AbortSignal.timeout(ANSWER_MS) })) as [Buffer]
    return message
  }

  /** The TTLs that `response` tells, put where the expected ones stand: they may have been counted down by some seconds. */
  function assertTold(response: Buffer, entry: CorpusEntry, labels: Labels, hasOpt: boolean, octetsMax: number): void {
    const id = response.readUInt16BE(0)
    const expected = expectedResponse(entry, { labels, id, hasOpt, ageSeconds: 0 })
    if (expected.length > octetsMax) {
      assert.ok(response.length <= octetsMax)
      const lacks = [6, 8].some((at) => response.readUInt16BE(at) < expected.readUInt16BE(at))
      assert.equal((response.readUInt16BE(2) & TRUNCATED) !== 0, lacks)
      return
    }
    assert.equal(response.length, expected.length)
    for (const at of assemble(entry, labels, false).ttlOffsets) {
      const whole = Math.min(expected.readUInt32BE(at), TTL_MAX)
      const told = response.readUInt32BE(at)
      assert.ok(told <= whole && told >= whole - 60, `a TTL of ${told} for ${whole}`)
      expected.writeUInt32BE(told, at)
    }
    assert.equal(response.toString('hex'), expected.toString('hex'))
  }

  async function ask(by: string, entry: CorpusEntry, labels: Labels, hasOpt: boolean): Promise<void> {
    const query = queryFor(entry.asks, labels, (ids = (ids + 1) & 0xffff), hasOpt)
    const response = await (by === 'udp' ? askUdp(query) : askTcp(agent.port, query))
    assert.equal(response.readUInt16BE(0), ids)
    const octetsMax = by === 'tcp' ? OCTETS_MAX : hasOpt ? UDP_OCTETS_MAX : UDP_OCTETS_WITHOUT_EDNS
    assertTold(response, entry, labels, hasOpt, octetsMax)
  }

  for (const over of ['udp', 'tcp']) {
    for (const by of ['udp', 'tcp']) {
      test(`from upstreams over ${over} to clients over ${by}: fresh, from the record cache, from the packet cache`, async () => {
        upstream.queries.length = 0
        for (const [index, entry] of BYTE_CORPUS.entries()) {
          const labels = labelsOf(by[0]!, index, over)
          for (const time of ['first', 'second', 'third', 'fourth']) {
            const isEven = time === 'second' || time === 'fourth'
            for (const hasOpt of isEven ? [false, true] : [true, false]) {
              try {
                await ask(by, entry, isEven ? spelled(labels) : labels, hasOpt)
              } catch (error) {
                throw new Error(`${entry.what}, asked for the ${time} time, ${hasOpt ? 'with' : 'without'} EDNS`, {
                  cause: error,
                })
              }
            }
          }
        }
        const ours = upstream.queries.filter(({ name }) => /^[ut]\d+\./.test(name))
        const times = Map.groupBy(ours, ({ name }) => name)
        const again = [...times].flatMap(([name, queries]) => {
          const { what } = BYTE_CORPUS[Number(name.split('.')[0]!.slice(1))]!
          return queries.length > TRIES_MAX && !NOT_KEPT.has(what) ? [what] : []
        })
        assert.deepEqual(again, [])
        assert.equal(times.size, BYTE_CORPUS.length)
        const entries = /^nodelocal_mcs_packet_cache_entries (\d+)/m.exec(await agent.metrics())?.[1]
        assert.ok(Number(entries) > BYTE_CORPUS.length / 2, `${entries} in the packet cache`)
      })
    }
  }

  for (const [index, { what }] of MALFORMED.entries()) {
    test(`refuses ${what}: over TCP the client hears so at once, over UDP it is passed over`, async () => {
      const [overTcp, overUdp] = [labelsOf('m', index, 'tcp'), labelsOf('m', index, 'udp')]
      const askedFor = (labels: Labels) => upstream.queries.filter(({ name }) => name === labels.join('.')).length
      const query = queryFor(1, overTcp, 7, true)
      assert.equal((await askUdp(query)).readUInt16BE(2) & 0x000f, SERVFAIL)
      // Neither more tries than there are, nor one that was waited for.
      assert.equal(askedFor(overTcp), 3)
      await ask('udp', PLAIN, overUdp, true)
      assert.equal(askedFor(overUdp), 1)
    })
  }
})
