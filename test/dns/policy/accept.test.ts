import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { accept } from '../../../src/dns/policy/accept.ts'
import { emptyResponse } from '../../../src/dns/wire/response.ts'
import { hex } from '../../common/wire.ts'

const QUESTION = '03 777777 07 6578616d706c65 00 0001 0001 ; www.example. A IN\n'
const OPT = '00 0029 04d0 00 00 0000 0000 ; OPT, 1232 octets\n'

function header(fields: { flags?: string; qd?: string; an?: string; ns?: string; ar?: string }): string {
  const { flags = '0100', qd = '0001', an = '0000', ns = '0000', ar = '0000' } = fields
  return `abcd ${flags} ${qd} ${an} ${ns} ${ar} `
}

const cases = [
  { promise: 'takes a plain query', bytes: header({}) + QUESTION, verdict: 'take' },
  { promise: 'takes a query with an OPT', bytes: `${header({ ar: '0001' })}${QUESTION}${OPT}`, verdict: 'take' },
  {
    promise: 'takes a query with octets behind its last record',
    bytes: `${header({})}${QUESTION} ffff`,
    verdict: 'take',
  },
  {
    promise: 'takes a query whose Z, AD and CD bits are set',
    bytes: header({ flags: '0170' }) + QUESTION,
    verdict: 'take',
  },
  { promise: 'drops what is shorter than a header', bytes: 'abcd 0100 0001', verdict: 'drop short' },
  {
    promise: 'drops a response, or loops would begin',
    bytes: header({ flags: '8100' }) + QUESTION,
    verdict: 'drop response',
  },
  { promise: 'says NOTIMP to another opcode', bytes: header({ flags: '2000' }) + QUESTION, verdict: 'refuse 4' },
  {
    promise: 'says NOTIMP to another opcode without a question',
    bytes: header({ flags: '7800', qd: '0000' }),
    verdict: 'refuse 4',
  },
  { promise: 'says FORMERR without a question (RFC 9619)', bytes: header({ qd: '0000' }), verdict: 'refuse 1' },
  {
    promise: 'says FORMERR to two questions (RFC 9619)',
    bytes: header({ qd: '0002' }) + QUESTION + QUESTION,
    verdict: 'refuse 1',
  },
  { promise: 'says FORMERR to a cut question', bytes: `${header({})}03 7777`, verdict: 'refuse 1' },
  { promise: 'says FORMERR to a compressed question', bytes: `${header({})}c004 0001 0001`, verdict: 'refuse 1' },
  { promise: 'says FORMERR to answers in a query', bytes: header({ an: '0001' }) + QUESTION, verdict: 'refuse 1' },
  {
    promise: 'says FORMERR to missing additional records',
    bytes: header({ ar: '0001' }) + QUESTION,
    verdict: 'refuse 1',
  },
  {
    promise: 'says FORMERR to two OPTs (RFC 6891, 6.1.1)',
    bytes: `${header({ ar: '0002' })}${QUESTION}${OPT}${OPT}`,
    verdict: 'refuse 1',
  },
  {
    promise: 'says FORMERR to an OPT that is not at the root',
    bytes: `${header({ ar: '0001' })}${QUESTION}01 61 ${OPT}`,
    verdict: 'refuse 1',
  },
  {
    promise: 'says FORMERR to an option that overruns the OPT',
    bytes: `${header({ ar: '0001' })}${QUESTION}00 0029 04d0 00 00 0000 0004 000a 0008`,
    verdict: 'refuse 1',
  },
  {
    promise: 'says BADVERS to EDNS version 1 whatever it has for options',
    bytes: `${header({ ar: '0001' })}${QUESTION} 00 0029 04d0 00 01 0000 0003 010203`,
    verdict: 'refuse 16',
  },
  {
    promise: 'says BADVERS to EDNS version 1',
    bytes: `${header({ ar: '0001' })}${QUESTION}00 0029 04d0 00 01 0000 0000`,
    verdict: 'refuse 16',
  },
  {
    promise: 'refuses class CHAOS',
    bytes: `${header({})}07 76657273696f6e 04 62696e64 00 0010 0003`,
    verdict: 'refuse 5',
  },
  { promise: 'refuses class ANY', bytes: `${header({})}01 61 00 0001 00ff`, verdict: 'refuse 5' },
  { promise: 'refuses AXFR', bytes: `${header({})}01 61 00 00fc 0001`, verdict: 'refuse 5' },
  {
    promise: 'refuses IXFR with its SOA',
    bytes: `${header({ ns: '0001' })}01 61 00 00fb 0001 00 0006 0001 00000000 0000`,
    verdict: 'refuse 5',
  },
  {
    promise: 'says FORMERR to a question for NXNAME (RFC 9824, 3.5)',
    bytes: `${header({})}01 61 00 0080 0001`,
    verdict: 'refuse 1',
  },
  { promise: 'says FORMERR to a question for OPT', bytes: `${header({})}01 61 00 0029 0001`, verdict: 'refuse 1' },
]

suite('accept', () => {
  for (const { promise, bytes, verdict } of cases) {
    test(promise, () => {
      const acceptance = accept(hex(bytes))
      const said =
        acceptance.kind === 'take'
          ? 'take'
          : acceptance.kind === 'drop'
            ? `drop ${acceptance.reason}`
            : `refuse ${acceptance.rcode}`
      assert.equal(said, verdict)
    })
  }

  test('a refusal copies id, opcode, RD and CD, and carries an OPT when the query did', () => {
    const message = hex(`${header({ flags: '0110', ar: '0001' })}${QUESTION}00 0029 04d0 00 01 8000 0000`)
    const acceptance = accept(message)
    assert.ok(acceptance.kind === 'refuse')
    const response = emptyResponse(message, acceptance.query, acceptance.edns, acceptance.rcode)
    const expected = hex(`abcd 8190 0001 0000 0000 0001 ${QUESTION} 00 0029 04d0 01 00 8000 0000`)
    assert.equal(response.toString('hex'), expected.toString('hex'))
  })

  for (const [questions, what] of [
    ['0000', ''],
    ['0002', QUESTION + QUESTION],
  ] as const) {
    test(`a FORMERR to ${Number(questions)} questions carries an OPT when the query did`, () => {
      const message = hex(`${header({ qd: questions, ar: '0001' })}${what}${OPT}`)
      const acceptance = accept(message)
      assert.ok(acceptance.kind === 'refuse')
      const response = emptyResponse(message, acceptance.query, acceptance.edns, acceptance.rcode)
      assert.equal(
        response.toString('hex'),
        hex('abcd 8181 0000 0000 0000 0001 00 0029 04d0 00 00 0000 0000').toString('hex'),
      )
    })
  }

  test('a FORMERR has no OPT where nobody can say whether there was one', () => {
    for (const bytes of [
      header({ qd: 'ffff', ar: '0001' }) + QUESTION + OPT,
      `${header({ qd: '0002', ar: '0001' })}${QUESTION}c0`,
      header({ qd: '0000', an: '0001', ar: '0001' }) + OPT,
    ]) {
      const acceptance = accept(hex(bytes))
      assert.ok(acceptance.kind === 'refuse' && acceptance.edns === undefined)
    }
  })
})
