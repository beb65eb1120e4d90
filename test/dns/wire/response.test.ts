import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { accept } from '../../../src/dns/policy/accept.ts'
import { decodeMessage } from '../../../src/dns/wire/message.ts'
import { responseTo, TTLS_AS_THEY_ARE, udpOctetsMax } from '../../../src/dns/wire/response.ts'
import { hex, upstreamResponse } from '../../common/wire.ts'

const MIXED_CASE = '03 577757 07 4578416d506c65 00 0001 0001'

function queryOf(bytes: string) {
  const acceptance = accept(hex(bytes))
  assert.ok(acceptance.kind === 'take')
  return acceptance.query
}
const PLAIN = queryOf(`abcd 0100 0001 0000 0000 0000 ${MIXED_CASE}`)
const WITH_OPT = queryOf(`abcd 0100 0001 0000 0000 0001 ${MIXED_CASE} 00 0029 0200 00 00 8000 0000`)
const many = (count: number) =>
  upstreamResponse({
    name: 'www.example',
    answers: Array.from({ length: count }, (_, i) => ({
      type: 'A' as const,
      name: 'www.example',
      ttl: 300,
      data: `192.0.2.${i}`,
    })),
    additionals: [{ type: 'A', name: 'ns.example', ttl: 300, data: '192.0.2.255' }],
  }).answer
const udp = (query: typeof PLAIN) => ({ octetsMax: udpOctetsMax(query.edns), keepaliveDeciseconds: undefined })

suite('response', () => {
  test('says the question as it was spelled, with the id of the query and RA', () => {
    const response = responseTo(PLAIN, many(1), TTLS_AS_THEY_ARE, udp(PLAIN))
    assert.equal(response.subarray(0, 12).toString('hex'), 'abcd81800001000100000001')
    assert.equal(response.subarray(12, 12 + PLAIN.questionWire.length).toString('hex'), hex(MIXED_CASE).toString('hex'))
  })

  test('counts the age off every ttl within the limits, never below zero', () => {
    const ttls = (ageSeconds: number) =>
      decodeMessage(responseTo(PLAIN, many(2), { ageSeconds, minSeconds: 0, maxSeconds: 30 }, udp(PLAIN))).answers?.map(
        (record) => (record as { ttl?: number }).ttl,
      )
    assert.deepEqual(ttls(10), [20, 20])
    assert.deepEqual(ttls(40), [0, 0])
  })

  test('carries an OPT exactly when the query had one, with its DO bit', () => {
    assert.equal(decodeMessage(responseTo(PLAIN, many(1), TTLS_AS_THEY_ARE, udp(PLAIN))).additionals?.length, 1)
    const opt = decodeMessage(responseTo(WITH_OPT, many(1), TTLS_AS_THEY_ARE, udp(WITH_OPT))).additionals?.at(-1)
    assert.ok(opt?.type === 'OPT')
    assert.equal(opt.udpPayloadSize, 1232)
    assert.equal((opt.flags & 0x8000) !== 0, true)
  })

  test('leaves additional records out without TC when only they do not fit', () => {
    const base = responseTo(PLAIN, many(10), TTLS_AS_THEY_ARE, { octetsMax: 65_535, keepaliveDeciseconds: undefined })
    const response = responseTo(PLAIN, many(10), TTLS_AS_THEY_ARE, {
      octetsMax: base.length - 1,
      keepaliveDeciseconds: undefined,
    })
    const message = decodeMessage(response)
    assert.deepEqual([message.answers?.length, message.additionals?.length, message.flag_tc], [10, 0, false])
  })

  for (const query of [PLAIN, WITH_OPT]) {
    test(`truncates at whole records within 512 octets ${query.edns === undefined ? 'without' : 'with'} OPT`, () => {
      const response = responseTo(query, many(100), TTLS_AS_THEY_ARE, udp(query))
      assert.ok(response.length <= 512)
      const message = decodeMessage(response)
      assert.equal(message.flag_tc, true)
      assert.ok((message.answers?.length ?? 0) > 10)
      assert.equal(message.additionals?.length, query.edns === undefined ? 0 : 1)
    })
  }

  const withErrors = (texts: readonly string[]) => ({
    ...many(5),
    extendedErrors: texts.map((text, code) => ({ code, text })),
  })

  test('keeps the records and leaves extended errors out when not both fit', () => {
    const long = responseTo(WITH_OPT, withErrors(['x'.repeat(400), 'y'.repeat(400)]), TTLS_AS_THEY_ARE, udp(WITH_OPT))
    assert.ok(long.length <= 512)
    const message = decodeMessage(long)
    assert.deepEqual([message.flag_tc, message.answers?.length], [false, 5])
    assert.ok(long.includes(Buffer.from('000f00020001', 'hex')), 'the codes stay where the texts do not fit')
    const full = { ...many(100), extendedErrors: [{ code: 3, text: '' }] }
    const cut = responseTo(WITH_OPT, full, TTLS_AS_THEY_ARE, udp(WITH_OPT))
    assert.ok(cut.length <= 512)
    assert.ok(!cut.includes(Buffer.from('000f00020003', 'hex')), 'no error takes the room of a record')
  })

  test('says SERVFAIL for an rcode above 15 to a client that cannot read it, never its lower bits', () => {
    const badVersion = { ...many(0), rcode: 16 }
    assert.equal(responseTo(PLAIN, badVersion, TTLS_AS_THEY_ARE, udp(PLAIN))[3]! & 0x0f, 2)
    assert.equal(responseTo(WITH_OPT, badVersion, TTLS_AS_THEY_ARE, udp(WITH_OPT))[3]! & 0x0f, 0)
  })

  test('tells a ttl with the top bit set as zero (RFC 2181 section 8)', () => {
    const answer = many(1)
    const message = Buffer.from(answer.message)
    message.writeUInt32BE(0x8000_0010, answer.ttlOffsets[0])
    const view = { ageSeconds: 0, minSeconds: 0, maxSeconds: 30 }
    const response = responseTo(PLAIN, { ...answer, message }, view, udp(PLAIN))
    assert.equal(response.readUInt32BE(answer.ttlOffsets[0]), 0)
  })
})
