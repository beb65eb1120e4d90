import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { endOfName, nameFromText, readName, relativeTo, textOfName } from '../../../src/dns/wire/name.ts'

function bytes(text: string): Uint8Array {
  return Buffer.from(text.replace(/\s+/g, ''), 'hex')
}

suite('name', () => {
  const readings = [
    {
      promise: 'reads labels and lower-cases ASCII letters',
      hex: '03 575757 07 4558414d504c45 00',
      text: 'www.example.',
    },
    { promise: 'leaves octets above ASCII alone', hex: '02 c380 00', text: '\\195\\128.' },
    { promise: 'reads the root', hex: '00', text: '.' },
    { promise: 'keeps a dot inside a label apart', hex: '03 612e62 00', text: 'a\\.b.' },
  ]
  for (const { promise, hex, text } of readings) {
    test(promise, () => {
      const message = bytes(hex)
      const name = readName(message, 0, message.length)
      assert.notEqual(name, undefined)
      assert.equal(textOfName(name!), text)
      assert.equal(endOfName(), message.length)
      assert.equal(nameFromText(text), name)
    })
  }

  const malformed = [
    { promise: 'refuses a name that runs out of the message', hex: '03 7777' },
    { promise: 'refuses a pointer to itself', hex: 'c000' },
    { promise: 'refuses a pointer forwards', hex: 'c002 00' },
    { promise: 'refuses the label types 01 and 10', hex: '41 61 00' },
    { promise: 'refuses half a pointer', hex: '01 61 c0' },
  ]
  test('follows a pointer to a name, never into the header', () => {
    const message = bytes('000a 8180 0001 0000 0000 0000  01 61 00  01 62 c00c  c001')
    assert.equal(readName(message, 15, message.length), nameFromText('b.a'))
    assert.equal(readName(message, 19, message.length), undefined)
  })

  test('knows no name with a character that is no octet', () => {
    assert.deepEqual([nameFromText('\u0141.example'), nameFromText('\\\u0141.example')], [undefined, undefined])
  })

  for (const { promise, hex } of malformed) {
    test(promise, () => assert.equal(readName(bytes(hex), 0, bytes(hex).length), undefined))
  }

  test('refuses 256 octets and takes 255', () => {
    const label = (octets: number) => Buffer.concat([Buffer.from([octets]), Buffer.alloc(octets, 0x61)])
    const long = (last: number) => Buffer.concat([label(63), label(63), label(63), label(last), Buffer.from([0])])
    assert.equal(readName(long(61), 0, 255)?.length, 255)
    assert.equal(readName(long(62), 0, 256), undefined)
  })

  test('finds a name below a zone at label boundaries alone', () => {
    const zone = nameFromText('clusterset.local')!
    assert.equal(relativeTo(nameFromText('svc.ClusterSet.local.')!, zone), '\x03svc')
    assert.equal(relativeTo(zone, zone), '')
    assert.equal(relativeTo(nameFromText('xclusterset.local')!, zone), undefined)
    assert.equal(relativeTo(nameFromText('x\\010clusterset\\005local')!, zone), undefined)
  })
})
