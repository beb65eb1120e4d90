/** Bytes in, bytes out: what an upstream says reaches a client octet by octet, but for what is ours to change. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { accept } from '../../../src/dns/policy/accept.ts'
import type { Query } from '../../../src/dns/wire/query.ts'
import { responseTo, TCP_OCTETS_MAX, TTLS_AS_THEY_ARE } from '../../../src/dns/wire/response.ts'
import { readUpstreamResponse } from '../../../src/dns/wire/upstream-response.ts'
import { assemble, BYTE_CORPUS } from '../../common/byte-corpus.ts'
import { expectedResponse } from '../../common/byte-corpus-client.ts'

const LABELS = ['i1', 'corpus', 'example'] as const
const SPELLED = ['I1', 'cORPUS', 'EXAMPLE'] as const
const LIMITS = { octetsMax: TCP_OCTETS_MAX, keepaliveDeciseconds: undefined }

function queryFor(type: number, hasOpt: boolean): Query {
  const { bytes } = assemble({ what: 'a query', asks: type, ...(hasOpt ? { options: '' } : {}) }, SPELLED, true)
  bytes.writeUInt16BE(0x4242, 0)
  bytes.writeUInt16BE(0x0100, 2)
  const acceptance = accept(bytes)
  assert.ok(acceptance.kind === 'take')
  return acceptance.query
}

suite('bytes in, bytes out', () => {
  for (const entry of BYTE_CORPUS) {
    test(entry.what, () => {
      const response = readUpstreamResponse(assemble(entry, LABELS, true).bytes)
      assert.ok(response !== undefined, 'a well-formed response')
      const bare = assemble(entry, LABELS, false)
      assert.equal(Buffer.from(response.answer.message).toString('hex'), bare.bytes.toString('hex'))
      assert.deepEqual([...response.answer.ttlOffsets], bare.ttlOffsets)
      for (const hasOpt of [true, false]) {
        for (const ageSeconds of [0, 100, 5_000]) {
          const ttls = { ageSeconds, minSeconds: 0, maxSeconds: 0x7fff_ffff }
          const told = responseTo(queryFor(entry.asks, hasOpt), response.answer, ttls, LIMITS)
          const expected = expectedResponse(entry, { labels: SPELLED, id: 0x4242, hasOpt, ageSeconds })
          assert.equal(told.toString('hex'), expected.toString('hex'))
        }
      }
    })
  }

  test('what does not fit is cut off between records, and nothing before that is touched', () => {
    let cuts = 0
    for (const entry of BYTE_CORPUS) {
      const response = readUpstreamResponse(assemble(entry, LABELS, true).bytes)
      assert.ok(response !== undefined)
      for (const octetsMax of [512, 1_232]) {
        const limits = { octetsMax, keepaliveDeciseconds: undefined }
        const told = responseTo(queryFor(entry.asks, false), response.answer, TTLS_AS_THEY_ARE, limits)
        const whole = expectedResponse(entry, { labels: SPELLED, id: 0x4242, hasOpt: false, ageSeconds: 0 })
        assert.ok(told.length <= octetsMax)
        // TTLs as they are: only here the top bit stays.
        if (entry.what === 'TTLs with the top bit set') continue
        assert.equal(told.subarray(12).toString('hex'), whole.subarray(12, told.length).toString('hex'), entry.what)
        if (told.length === whole.length) continue
        cuts++
        const counts = [6, 8, 10].map((at) => [told.readUInt16BE(at), whole.readUInt16BE(at)] as const)
        const isNeeded = counts[0]![0] < counts[0]![1] || counts[1]![0] < counts[1]![1]
        assert.equal((told.readUInt16BE(2) & 0x0200) !== 0, isNeeded, entry.what)
        const records = counts.reduce((sum, [kept]) => sum + kept, 0)
        const { ttlOffsets } = assemble(entry, SPELLED, false)
        const last = ttlOffsets[records - 1]
        const end = last === undefined ? 12 + SPELLED.join('').length + 4 + 4 : last + 6 + whole.readUInt16BE(last + 4)
        assert.equal(told.length, end, entry.what)
      }
    }
    assert.ok(cuts >= 8, `${cuts} responses were cut`)
  })

  test('holds every type that IANA has named, and some that nobody has', () => {
    const types = new Set(
      BYTE_CORPUS.flatMap(({ answer = [], additional = [] }) => [...answer, ...additional].map(({ type }) => type)),
    )
    const named = Array.from({ length: 66 }, (_, i) => i + 1).filter((type) => type !== 41 && type !== 54)
    named.push(99, 100, 104, 105, 106, 107, 108, 109, 128, 249, 250, 256, 257, 258, 259, 260, 261, 262, 32_768, 32_769)
    assert.deepEqual(
      named.filter((type) => !types.has(type)),
      [],
    )
    assert.ok(BYTE_CORPUS.length > 400, `${BYTE_CORPUS.length} responses`)
  })
})
