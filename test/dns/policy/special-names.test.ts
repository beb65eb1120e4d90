import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type SpecialName, specialAnswer } from '../../../src/dns/policy/special-names.ts'
import { decodeMessage } from '../../../src/dns/wire/message.ts'
import { questionFor } from '../../common/wire.ts'

const cases: { name: string; type: number; special: SpecialName; rcode: number; answers: string[]; soa: string[] }[] = [
  { name: 'localhost', type: 1, special: 'localhost', rcode: 0, answers: ['127.0.0.1'], soa: [] },
  { name: 'www.localhost', type: 28, special: 'localhost', rcode: 0, answers: ['::1'], soa: [] },
  { name: 'www.localhost', type: 15, special: 'localhost', rcode: 0, answers: [], soa: ['localhost'] },
  { name: 'invalid', type: 1, special: 'nowhere', rcode: 3, answers: [], soa: ['invalid'] },
  { name: 'a.b.c.invalid', type: 1, special: 'nowhere', rcode: 3, answers: [], soa: ['invalid'] },
  { name: 'shop.onion', type: 28, special: 'nowhere', rcode: 3, answers: [], soa: ['onion'] },
  { name: 'resolver.arpa', type: 1, special: 'empty', rcode: 0, answers: [], soa: ['resolver.arpa'] },
  { name: '_dns.resolver.arpa', type: 64, special: 'empty', rcode: 0, answers: [], soa: ['resolver.arpa'] },
]

suite('special names', () => {
  for (const { name, type, special, rcode, answers, soa } of cases) {
    const promise = answers.length > 0 ? `is ${answers[0]}` : 'has nothing, and a SOA that says for how long'
    test(`${name} type ${type} ${promise}`, () => {
      const answer = specialAnswer({ ...questionFor(name), type }, special)
      const message = decodeMessage(answer.message)
      assert.equal(answer.rcode, rcode)
      assert.deepEqual(
        (message.answers ?? []).map((record) => 'data' in record && record.data),
        answers,
      )
      assert.deepEqual(
        (message.authorities ?? []).map((record) => record.name),
        soa,
      )
      for (const record of message.authorities ?? []) {
        // RFC 2308 section 5: the smaller of the two counts, so they had better be the same.
        assert.ok(record.type === 'SOA' && record.ttl === 10_800 && record.data.minimum === 10_800)
        assert.equal(answer.ttlOffsets.length, 1)
      }
    })
  }
})
