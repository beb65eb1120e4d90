import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { framed, MessageStream } from '../../../src/serve/listen/framing.ts'

suite('framing', () => {
  const streams = [
    { promise: 'gives nothing for half a length', hex: '00', messages: [], held: 1 },
    { promise: 'gives nothing for half a message', hex: '0003 6161', messages: [], held: 4 },
    { promise: 'gives a message', hex: '0003 616263', messages: ['abc'], held: 0 },
    { promise: 'gives an empty message', hex: '0000', messages: [''], held: 0 },
    {
      promise: 'gives what is whole and keeps the rest',
      hex: '0001 61 0002 6262 0003 63',
      messages: ['a', 'bb'],
      held: 3,
    },
  ]
  for (const { promise, hex, messages, held } of streams) {
    test(promise, () => {
      const stream = new MessageStream()
      stream.push(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
      assert.deepEqual(taken(stream), messages)
      assert.equal(stream.heldOctets, held)
    })
  }

  test('gives the messages that were framed, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 40 })), fc.array(fc.nat({ max: 400 })), (messages, cuts) => {
        const bytes = Buffer.concat(messages.map((message) => framed(Buffer.from(message))))
        const stream = new MessageStream()
        const got: string[] = []
        let from = 0
        for (const to of [...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length]) {
          stream.push(bytes.subarray(from, to))
          got.push(...taken(stream))
          from = to
        }
        assert.deepEqual(got, messages)
        assert.equal(stream.heldOctets, 0)
      }),
    )
  })

  test('never writes to the bytes it was given', () => {
    const given = Buffer.from('0003aa', 'hex')
    const stream = new MessageStream()
    stream.push(given)
    stream.push(Buffer.from('bb', 'hex'))
    stream.push(Buffer.from('cc', 'hex'))
    assert.equal(given.toString('hex'), '0003aa')
    assert.equal(Buffer.from(stream.next()!).toString('hex'), 'aabbcc')
  })

  test('frames the largest message and refuses one that is larger', () => {
    assert.equal(framed(Buffer.alloc(65_535)).length, 65_537)
    assert.throws(() => framed(Buffer.alloc(65_536)), RangeError)
  })
})

function taken(stream: MessageStream): string[] {
  const messages: string[] = []
  for (let message = stream.next(); message !== undefined; message = stream.next()) {
    messages.push(Buffer.from(message).toString())
  }
  return messages
}
