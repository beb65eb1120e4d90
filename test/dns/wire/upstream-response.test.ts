import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { Flag } from '../../../src/dns/wire/header.ts'
import { nameFromText, readName, skipName } from '../../../src/dns/wire/name.ts'
import { readUpstreamResponse, type UpstreamResponse, withQuestion } from '../../../src/dns/wire/upstream-response.ts'
import { hex } from '../../common/wire.ts'

/** `x.example A IN`: the name at 12, `example` at 14, records from 27. */
const QUESTION = '0178 076578616d706c65 00 0001 0001'
const OPT = '00 0029 04d0 00000000 0000'
const OPT_WITH_OPTIONS = '00 0029 1000 00008000 0010 000a 0008 0102030405060708 000f 0000'

interface Counts {
  readonly flags?: string
  readonly answers?: number
  readonly authorities?: number
  readonly additionals?: number
}

function message(counts: Counts, ...records: readonly string[]): Buffer {
  const count = (value = 0): string => value.toString(16).padStart(4, '0')
  const header = `1234 ${counts.flags ?? '8180'} 0001 ${count(counts.answers)} ${count(counts.authorities)} ${count(counts.additionals)}`
  return hex([header, QUESTION, ...records].join(' '))
}

/** A record of any type owned by the question's name. */
function record(type: number, rdata: Uint8Array, owner = 'c00c', ttl = 300): string {
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(type)
  fixed.writeUInt16BE(1, 2)
  fixed.writeUInt32BE(ttl, 4)
  fixed.writeUInt16BE(rdata.length, 8)
  return owner + fixed.toString('hex') + Buffer.from(rdata).toString('hex')
}

function read(bytes: Uint8Array): UpstreamResponse {
  const response = readUpstreamResponse(bytes)
  assert.ok(response !== undefined, 'a well-formed response')
  return response
}

function octets(response: UpstreamResponse): string {
  return Buffer.from(response.answer.message).toString('hex')
}

const SOA_RDATA = hex('c00e c00c 00000001 00000002 00000003 00000004 0000003c')

suite('upstream response', () => {
  test('passes every record type from 0 to 65,535 through octet by octet, the OPT alone left out', () => {
    const rdata = Buffer.from('c00c00ff41c0de00', 'hex')
    for (let type = 0; type <= 0xffff; type++) {
      if (type === 41) continue
      const bytes = message({ answers: 1, additionals: 1 }, record(type, rdata), OPT)
      const response = readUpstreamResponse(bytes)
      assert.ok(response !== undefined, `type ${type}`)
      const expected = Buffer.from(bytes.subarray(0, bytes.length - 11))
      expected.writeUInt16BE(0, 10)
      if (octets(response) !== expected.toString('hex')) assert.fail(`type ${type} was changed`)
    }
  })

  test('says where every TTL stands, whichever section and however the owner is spelled', () => {
    const bytes = message(
      { answers: 2, authorities: 1, additionals: 2 },
      record(1, hex('c0000207')),
      record(46, Buffer.alloc(40, 7), '0178c00e', 200),
      record(6, SOA_RDATA, 'c00e', 100),
      OPT_WITH_OPTIONS,
      record(28, Buffer.alloc(16), '00', 50),
    )
    const { answer } = read(bytes)
    const view = Buffer.from(answer.message)
    assert.deepEqual(
      [...answer.ttlOffsets].map((at) => view.readUInt32BE(at)),
      [300, 200, 100, 50],
    )
  })

  test('tells the OPT apart: payload size, DO, upper rcode bits, extended errors', () => {
    const bytes = message({ flags: '8183', additionals: 1 }, '00 0029 1000 01008000 000c 000f 0008 0016 6e6f626f6479')
    const response = read(bytes)
    assert.equal(response.rcode, 0x13)
    assert.deepEqual(response.answer.extendedErrors, [{ code: 22, text: 'nobody' }])
    assert.equal(response.edns?.dnssecOk, true)
    assert.equal(response.answer.message.length, 27)
  })

  test('keeps TC and AD, and neither AA nor RA', () => {
    const { answer, isTruncated } = read(message({ flags: '87b0' }))
    assert.equal(answer.flags, Flag.Truncated | Flag.AuthenticData)
    assert.equal(isTruncated, true)
  })

  test('leaves out what trails the last record, and owns its octets', () => {
    const bytes = Buffer.concat([message({ answers: 1 }, record(1, hex('c0000207'))), Buffer.from('tail')])
    const before = octets(read(bytes))
    const response = read(bytes)
    bytes.fill(0)
    assert.equal(octets(response), before)
    assert.equal(before.length / 2, bytes.length - 4)
  })

  suite('with records behind the OPT', () => {
    // An owner and names behind the OPT, some pointing before it, some behind it.
    const behind = [
      { what: 'an owner and no more', type: 1, rdata: 'c0000201' },
      { what: 'NS', type: 2, rdata: '016e <into>' },
      { what: 'CNAME', type: 5, rdata: '<into>' },
      { what: 'SOA, both names', type: 6, rdata: '016d <into> 0172 <into> 0000000100000002000000030000000400000005' },
      { what: 'PTR', type: 12, rdata: '0170 <into>' },
      { what: 'MINFO', type: 14, rdata: '<into> <into>' },
      { what: 'MX', type: 15, rdata: '000a <into>' },
      { what: 'RP', type: 17, rdata: '<into> 0172 <into>' },
      { what: 'AFSDB', type: 18, rdata: '0001 <into>' },
      { what: 'SIG', type: 24, rdata: `${'00'.repeat(18)} <into> aabb` },
      { what: 'SRV', type: 33, rdata: '000100020003 <into>' },
      { what: 'NAPTR', type: 35, rdata: '00010002 0141 0142 00 <into>' },
      { what: 'DNAME', type: 39, rdata: '<into>' },
    ]
    // A name of its own behind the OPT at 27: `far.example`, owner of the first record there.
    const farFor = (opt: string): string => `c0${(27 + hex(opt).length).toString(16)}`
    const first = record(1, hex('c0000202'), '03666172c00e')
    for (const { what, type, rdata } of behind) {
      for (const opt of [OPT, OPT_WITH_OPTIONS]) {
        test(`corrects the pointers of ${what} (an OPT of ${hex(opt).length} octets)`, () => {
          const withOpt = message(
            { additionals: 4 },
            opt,
            first,
            record(type, hex(rdata.replaceAll('<into>', farFor(opt))), farFor(opt)),
            record(type, hex(rdata.replaceAll('<into>', 'c00c'))),
          )
          const without = message(
            { additionals: 3 },
            first,
            record(type, hex(rdata.replaceAll('<into>', 'c01b')), 'c01b'),
            record(type, hex(rdata.replaceAll('<into>', 'c00c'))),
          )
          assert.equal(octets(read(withOpt)), without.toString('hex'))
        })
      }
    }

    test('leaves octets alone that only look like pointers, in types that hold no compressed names', () => {
      const looksLike = hex('c026 c030 c0ff')
      for (const type of [16, 43, 46, 47, 48, 50, 64, 65, 257, 65_280]) {
        const response = read(message({ additionals: 2 }, OPT, record(type, looksLike)))
        assert.ok(octets(response).endsWith(looksLike.toString('hex')), `type ${type}`)
      }
    })

    test('is refused when a name leads into the OPT, for it would be lost', () => {
      assert.equal(
        readUpstreamResponse(message({ additionals: 2 }, OPT, record(1, hex('c0000201'), '0161c01b'))),
        undefined,
      )
    })
  })

  const facts = [
    {
      promise: 'an address answers',
      bytes: message({ answers: 1 }, record(1, hex('c0000207'))),
      is: { hasAnswer: true, hasAlias: false, ttlSecondsMin: 300, negativeTtlSeconds: undefined },
    },
    {
      promise: 'an alias with its target answers',
      bytes: message({ answers: 2 }, record(5, hex('0179c00e')), record(1, hex('c0000207'), '0179c00e', 20)),
      is: { hasAnswer: true, hasAlias: true, ttlSecondsMin: 20, negativeTtlSeconds: undefined },
    },
    {
      promise: 'an alias into the void does not, and its SOA tells the lifetime: the smaller of TTL and MINIMUM',
      bytes: message({ answers: 1, authorities: 1 }, record(5, hex('0179c00e')), record(6, SOA_RDATA, 'c00e', 900)),
      is: { hasAnswer: false, hasAlias: true, ttlSecondsMin: 300, negativeTtlSeconds: 60 },
    },
    {
      promise: 'the SOA of the zone that the alias leads to tells the lifetime',
      bytes: message(
        { answers: 1, authorities: 1 },
        record(5, hex('0179 036e6574 00')),
        record(6, SOA_RDATA, '036e6574 00'),
      ),
      is: { hasAnswer: false, hasAlias: true, ttlSecondsMin: 300, negativeTtlSeconds: 60 },
    },
    {
      promise: 'the SOA of the root tells the lifetime of everything',
      bytes: message({ authorities: 1 }, record(6, SOA_RDATA, '00')),
      is: { hasAnswer: false, hasAlias: false, ttlSecondsMin: 300, negativeTtlSeconds: 60 },
    },
    {
      promise: 'the SOA of another zone tells none',
      bytes: message({ authorities: 1 }, record(6, SOA_RDATA, '036e6574 00')),
      is: { hasAnswer: false, hasAlias: false, ttlSecondsMin: 300, negativeTtlSeconds: undefined },
    },
    {
      promise: 'the SOA of a zone below the asked name tells none',
      bytes: message({ authorities: 1 }, record(6, SOA_RDATA, '0179c00c')),
      is: { hasAnswer: false, hasAlias: false, ttlSecondsMin: 300, negativeTtlSeconds: undefined },
    },
    {
      promise: 'the SOA of a zone that only ends in the same letters tells none',
      bytes: message({ authorities: 1 }, record(6, SOA_RDATA, '05616d706c65 00')),
      is: { hasAnswer: false, hasAlias: false, ttlSecondsMin: 300, negativeTtlSeconds: undefined },
    },
    {
      promise: 'aliases in a ring do not answer and do not hang',
      bytes: message({ answers: 2 }, record(5, hex('0179c00e')), record(5, hex('c00c'), '0179c00e')),
      is: { hasAnswer: false, hasAlias: true, ttlSecondsMin: 300, negativeTtlSeconds: undefined },
    },
    {
      promise: 'another owner does not answer',
      bytes: message({ answers: 1 }, record(1, hex('c0000207'), 'c00e')),
      is: { hasAnswer: false, hasAlias: false, ttlSecondsMin: 300, negativeTtlSeconds: undefined },
    },
    {
      promise: 'a TTL with its top bit set counts as 0 (RFC 2181 section 8)',
      bytes: message({ answers: 1 }, record(1, hex('c0000207'), 'c00c', 0x8000_0001)),
      is: { hasAnswer: true, hasAlias: false, ttlSecondsMin: 0, negativeTtlSeconds: undefined },
    },
  ]
  for (const { promise, bytes, is } of facts) test(promise, () => assert.deepEqual(read(bytes).facts, is))

  const malformed = [
    { what: 'nothing', bytes: Buffer.alloc(0) },
    { what: 'half a header', bytes: message({}).subarray(0, 11) },
    { what: 'a query', bytes: message({ flags: '0100' }) },
    { what: 'another opcode', bytes: message({ flags: 'a980' }) },
    { what: 'two questions', bytes: hex(`1234 8180 0002 0000 0000 0000 ${QUESTION} ${QUESTION}`) },
    { what: 'a question that breaks off', bytes: message({}).subarray(0, 25) },
    { what: 'a count without a record', bytes: message({ answers: 1 }) },
    { what: 'a record that breaks off', bytes: message({ answers: 1 }, 'c00c 0001 0001 0000') },
    { what: 'rdata beyond the end', bytes: message({ answers: 1 }, 'c00c 0001 0001 00000001 0005 c0000207') },
    { what: 'an owner that points at itself', bytes: message({ answers: 1 }, record(1, hex('c0000207'), 'c01b')) },
    { what: 'an owner that points forwards', bytes: message({ answers: 1 }, record(1, hex('c0000207'), 'c0ff')) },
    {
      what: 'an owner whose labels run from the question through itself into the OPT',
      bytes: message({ answers: 1, additionals: 1 }, record(1, hex('c0000207'), 'c018'), OPT),
    },
    {
      what: 'an owner behind the OPT whose labels run through it',
      bytes: message(
        { answers: 1, additionals: 2 },
        // The answer's last octet says that a label of 10 octets follows: the OPT but for its last.
        record(1, hex('c000020a')),
        OPT,
        record(1, hex('c0000207'), 'c02a'),
      ),
    },
    { what: 'two OPTs', bytes: message({ additionals: 2 }, OPT, OPT) },
    { what: 'an OPT among the answers', bytes: message({ answers: 1 }, OPT) },
    { what: 'an OPT with an owner', bytes: message({ additionals: 1 }, `0161${OPT}`) },
    {
      what: 'an OPT whose option overruns it',
      bytes: message({ additionals: 1 }, '00 0029 04d0 00000000 0004 000a0008'),
    },
    { what: 'more records than fit', bytes: message({ answers: 0xffff }, record(1, hex('c0000207'))) },
  ]
  for (const { what, bytes } of malformed) {
    test(`refuses ${what}`, () => assert.equal(readUpstreamResponse(bytes), undefined))
  }

  test('gets its question when the upstream left it out', () => {
    const question = { name: nameFromText('x.example')!, type: 1, class: 1 }
    const bare = read(hex('1234 8181 0000 0000 0000 0000'))
    assert.equal(bare.question, undefined)
    const whole = withQuestion(bare, question)
    assert.deepEqual(whole.question, question)
    assert.equal(octets(whole), hex(`1234 8181 0001 0000 0000 0000 ${QUESTION}`).toString('hex'))
  })

  test('never throws and never writes outside of its own copy, whatever comes', () => {
    const corpus = [
      message({ answers: 1, additionals: 1 }, record(1, hex('c0000207')), OPT),
      message(
        { answers: 1, authorities: 1, additionals: 3 },
        record(5, hex('0179c00e')),
        record(6, SOA_RDATA),
        OPT_WITH_OPTIONS,
        record(15, hex('000ac00c')),
        record(35, hex('00010002014101420 0c00c'.replace(' ', ''))),
      ),
    ]
    const edits = fc.array(fc.tuple(fc.nat(400), fc.integer({ min: 0, max: 255 })), { maxLength: 8 })
    const edited = fc.tuple(fc.constantFrom(...corpus), edits, fc.nat(400)).map(([base, changes, cut]) => {
      const bytes = Buffer.from(base.subarray(0, cut > base.length ? base.length : Math.max(cut, 12)))
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
      return bytes
    })
    const noise = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
    fc.assert(
      fc.property(fc.oneof(edited, noise), (bytes) => {
        const before = Buffer.from(bytes)
        const response = readUpstreamResponse(bytes)
        assert.deepEqual(bytes, before)
        if (response === undefined) return
        const { message, ttlOffsets } = response.answer
        assert.ok(message.length <= bytes.length)
        for (const at of ttlOffsets) assert.ok(at >= 12 && at + 4 <= message.length)
        // What was taken apart reads again, and says the same.
        const again = readUpstreamResponse(message)
        assert.ok(again !== undefined)
        assert.equal(octets(again), octets(response))
        assert.deepEqual(again.facts, response.facts)
      }),
      { numRuns: 5_000 },
    )
  })

  test('keeps every owner name the same when the OPT is taken out from anywhere', () => {
    const owner = fc.constantFrom('c00c', 'c00e', '0161c00c', '0162c00e', '00', '036c6f6e0167c00e')
    const rdata = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes))
    const records = fc.array(fc.tuple(fc.integer({ min: 43, max: 65_535 }), rdata, owner), { maxLength: 6 })
    fc.assert(
      fc.property(records, fc.nat(6), fc.constantFrom(OPT, OPT_WITH_OPTIONS), (parts, place, opt) => {
        const wire = parts.map(([type, data, name]) => record(type === 249 ? 48 : type, data, name))
        const withOpt = wire.toSpliced(Math.min(place, wire.length), 0, opt)
        const response = read(message({ additionals: withOpt.length }, ...withOpt))
        assert.equal(octets(response), message({ additionals: wire.length }, ...wire).toString('hex'))
        let at = 27
        const taken = response.answer.message
        while (at < taken.length) {
          assert.ok(readName(taken, at, taken.length) !== undefined)
          const fixed = skipName(taken, at, taken.length)
          at = fixed + 10 + ((taken[fixed + 8]! << 8) | taken[fixed + 9]!)
        }
        assert.equal(at, taken.length)
      }),
    )
  })
})
