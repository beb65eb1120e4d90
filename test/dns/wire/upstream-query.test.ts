import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nameFromText } from '../../../src/dns/wire/name.ts'
import { upstreamQuery, upstreamQueryOctets, writeUpstreamQuery } from '../../../src/dns/wire/upstream-query.ts'
import { hex } from '../../common/wire.ts'

const QUESTION = {
  name: nameFromText('www.Example.')!,
  type: 28,
  class: 1,
  recursionDesired: true,
  checkingDisabled: false,
  dnssecOk: false,
}

const cases = [
  {
    promise: 'a question with recursion: RD and AD, an OPT of 1232 octets',
    question: QUESTION,
    withEdns: true,
    wire: `abcd 0120 0001 0000 0000 0001
           03777777 076578616d706c65 00 001c 0001
           00 0029 04d0 00000000 0000`,
  },
  {
    promise: 'DO and CD as the client set them',
    question: { ...QUESTION, dnssecOk: true, checkingDisabled: true },
    withEdns: true,
    wire: `abcd 0130 0001 0000 0000 0001
           03777777 076578616d706c65 00 001c 0001
           00 0029 04d0 00008000 0000`,
  },
  {
    promise: 'no OPT where the upstream does not know EDNS',
    question: { ...QUESTION, recursionDesired: false },
    withEdns: false,
    wire: `abcd 0020 0001 0000 0000 0000
           03777777 076578616d706c65 00 001c 0001`,
  },
]

suite('upstream query', () => {
  for (const { promise, question, withEdns, wire } of cases) {
    test(`is ${promise}`, () => {
      const query = upstreamQuery(question, 0xabcd, withEdns)
      assert.equal(query.toString('hex'), hex(wire).toString('hex'))
      assert.equal(upstreamQueryOctets(question, withEdns), query.length)
    })
  }

  test('is written at an offset, whatever stood there before', () => {
    const buffer = Buffer.alloc(100, 0xff)
    const end = writeUpstreamQuery(buffer, 7, QUESTION, 0xabcd, true)
    assert.deepEqual(buffer.subarray(7, end), upstreamQuery(QUESTION, 0xabcd, true))
    assert.ok(buffer.subarray(end).every((octet) => octet === 0xff))
  })
})
