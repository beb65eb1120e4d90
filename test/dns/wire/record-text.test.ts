import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type * as dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { DATA_CHARACTERS_MAX, dataText, messageText } from '../../../src/dns/wire/record-text.ts'
import { RecordType, typeFromText } from '../../../src/dns/wire/record-type.ts'
import { hex, responseBytes, soa } from '../../common/wire.ts'

const name = 'a.example'

const written: { record: dnsPacket.Answer; text: string }[] = [
  { record: { type: 'A', name, data: '192.0.2.7' }, text: '192.0.2.7' },
  { record: { type: 'AAAA', name, data: '2001:db8:0:1::2' }, text: '2001:db8:0:1::2' },
  { record: { type: 'CNAME', name, data: 'b.example' }, text: 'b.example.' },
  { record: { type: 'PTR', name, data: 'c.example' }, text: 'c.example.' },
  { record: { type: 'MX', name, data: { preference: 10, exchange: 'mx.example' } }, text: '10 mx.example.' },
  {
    record: { type: 'SRV', name, data: { priority: 1, weight: 2, port: 3, target: 'd.example' } },
    text: '1 2 3 d.example.',
  },
  { record: { type: 'TXT', name, data: ['one "two"', 'three'] }, text: '"one \\"two\\"" "three"' },
  { record: soa('example', 5, 9), text: 'ns.example. admin.example. 1 2 3 4 9' },
]

suite('records as text', () => {
  for (const { record, text } of written) {
    test(`${record.type} is written as ${text}, its names decompressed`, () => {
      const { answer } = messageText(responseBytes({ name, answers: [{ ttl: 60, ...record } as dnsPacket.Answer] }), 10)
      assert.deepEqual(answer, {
        count: 1,
        records: [
          { name: `${record.name}.`, ttlSeconds: record.type === 'SOA' ? 5 : 60, type: record.type, data: text },
        ],
      })
    })
  }

  const addresses = [
    { octets: '20010db8000000000000000000000001', text: '2001:db8::1' },
    { octets: '00000000000000000000000000000000', text: '::' },
    { octets: '00000000000000000000000000000001', text: '::1' },
    { octets: 'fe800000000000000000000000000000', text: 'fe80::' },
    { octets: '20010db8000000010001000100010001', text: '2001:db8:0:1:1:1:1:1' },
    { octets: '20010000000000010000000000000001', text: '2001:0:0:1::1' },
  ]
  for (const { octets, text } of addresses) {
    test(`${octets} is ${text} (RFC 5952)`, () => assert.equal(dataText(RecordType.AAAA, hex(octets), 0, 16), text))
  }

  const generic = [
    { promise: 'a type without a notation', type: 65_280, octets: 'abcdef', text: '\\# 3 abcdef' },
    { promise: 'no octets', type: 65_280, octets: '', text: '\\# 0' },
    { promise: 'an address of three octets', type: RecordType.A, octets: 'c00002', text: '\\# 3 c00002' },
    {
      promise: 'an SRV record without its target',
      type: RecordType.SRV,
      octets: '000000000000',
      text: '\\# 6 000000000000',
    },
    { promise: 'a text longer than its data', type: RecordType.TXT, octets: '05616263', text: '\\# 4 05616263' },
  ]
  for (const { promise, type, octets, text } of generic) {
    test(`${promise} is octets (RFC 3597)`, () => {
      const bytes = hex(octets)
      assert.equal(dataText(type, bytes, 0, bytes.length), text)
    })
  }

  test('tells no more records of a section than wanted, and how many there are', () => {
    const answers = Array.from(
      { length: 5 },
      (_, i): dnsPacket.Answer => ({ type: 'A', name, ttl: 1, data: `192.0.2.${i}` }),
    )
    const { answer } = messageText(responseBytes({ name, answers }), 2)
    assert.equal(answer.count, 5)
    assert.deepEqual(
      answer.records.map(({ data }) => data),
      ['192.0.2.0', '192.0.2.1'],
    )
  })

  test('bounds the data of one record', () => {
    const data = Array.from({ length: 20 }, () => 'x'.repeat(255))
    const { answer } = messageText(responseBytes({ name, type: 'TXT', answers: [{ type: 'TXT', name, data }] }), 2)
    assert.ok(answer.records[0]!.data.length <= DATA_CHARACTERS_MAX + 1)
  })

  test('reads whatever bytes without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (message) => {
        messageText(message, 10)
      }),
    )
    const whole = responseBytes({
      name,
      answers: written.map(({ record }) => record),
    })
    for (let end = 0; end < whole.length; end++) messageText(whole.subarray(0, end), 10)
  })
})

suite('record types by name', () => {
  const types = [
    { text: 'A', type: 1 },
    { text: 'aaaa', type: 28 },
    { text: 'CAA', type: 257 },
    { text: 'TYPE65280', type: 65_280 },
    { text: 'type1', type: 1 },
    { text: 'TYPE65536', type: undefined },
    { text: 'TYPE', type: undefined },
    { text: 'AA', type: undefined },
    { text: '', type: undefined },
  ]
  for (const { text, type } of types) {
    test(`"${text}" is ${type ?? 'no type'}`, () => assert.equal(typeFromText(text), type))
  }
})
