import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { suite, test } from 'node:test'
import * as fc from 'fast-check'
import { addressFromText } from '../../../src/dns/wire/address.ts'

suite('address', () => {
  const cases = [
    { text: '10.42.0.1', hex: '0a2a0001' },
    { text: '255.255.255.255', hex: 'ffffffff' },
    { text: 'fd00::1', hex: 'fd000000000000000000000000000001' },
    { text: 'FD00:0:0:0:0:0:0:1', hex: 'fd000000000000000000000000000001' },
    { text: 'fd00::', hex: 'fd000000000000000000000000000000' },
    { text: '::ffff:10.42.0.1', hex: '0a2a0001' },
    { text: '::10.42.0.1', hex: '0000000000000000000000000a2a0001' },
    { text: '64:ff9b::10.42.0.1', hex: '0064ff9b00000000000000000a2a0001' },
  ]
  for (const { text, hex } of cases) {
    test(`reads ${text}`, () => assert.equal(Buffer.from(addressFromText(text) ?? '', 'latin1').toString('hex'), hex))
  }

  const refused = ['', 'None', '10.1', '010.0.0.1', '0x0a.0.0.1', '10.0.0.256', '10.0.0.1 ', '10.0.0.1/32', '167772161']
  const refusedIpv6 = ['fe80::1%eth0', '00001::', '1:2:3', '1::2::3', ':1', '1:', ':::', '::ffff:010.0.0.1', '[::1]']
  for (const text of [...refused, ...refusedIpv6]) {
    test(`refuses '${text}'`, () => assert.equal(addressFromText(text), undefined))
  }

  test('takes exactly what the operating system takes, scope ids excepted', () => {
    const alphabet = fc.constantFrom(...'0123456789afF:::...%'.split(''))
    const text = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ unit: alphabet, maxLength: 24 }))
    fc.assert(
      fc.property(text, (text) => {
        assert.equal(addressFromText(text) !== undefined, isIP(text) !== 0 && !text.includes('%'))
      }),
    )
  })
})
