import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { EXTENDED_ERROR_TEXT_OCTETS_MAX, readOpt } from '../../../src/dns/wire/edns.ts'

/** What is read of an extended error with this text. */
function textRead(text: Uint8Array): string | undefined {
  const option = Buffer.alloc(6)
  option.writeUInt16BE(15, 0)
  option.writeUInt16BE(2 + text.length, 2)
  const fixed = Buffer.from('0029 04d0 00000000 0000'.replaceAll(' ', ''), 'hex')
  fixed.writeUInt16BE(option.length + text.length, 8)
  const bytes = Buffer.concat([fixed, option, text])
  return readOpt(bytes, 0, bytes.length)?.extendedErrors[0]?.text
}

const cases = [
  { promise: 'takes a short text as it is', text: Buffer.from('no signature'), read: 'no signature' },
  { promise: 'leaves trailing zeros out', text: Buffer.from('odd\0\0'), read: 'odd' },
  {
    promise: 'takes no more of a long text than its limit',
    text: Buffer.alloc(60_000, 'x'),
    read: 'x'.repeat(EXTENDED_ERROR_TEXT_OCTETS_MAX),
  },
  {
    promise: 'never ends a text in the middle of a character',
    text: Buffer.from(`x${'\u00e9'.repeat(200)}`),
    read: `x${'\u00e9'.repeat((EXTENDED_ERROR_TEXT_OCTETS_MAX - 2) / 2)}`,
  },
  { promise: 'takes nothing of a text that is not UTF-8', text: Buffer.alloc(60_000, 0xff), read: '' },
]

suite('opt', () => {
  for (const { promise, text, read } of cases) test(promise, () => assert.equal(textRead(text), read))
})
