import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { decodeMessage } from '../../../src/dns/wire/message.ts'
import { rotateAddresses } from '../../../src/dns/wire/rotate.ts'
import { responseBytes } from '../../common/wire.ts'

const a = (address: string, name = 'web.example') => ({ type: 'A' as const, name, ttl: 60, data: address })
const cname = { type: 'CNAME' as const, name: 'www.example', ttl: 60, data: 'web.example' }

function rotated(answers: Parameters<typeof responseBytes>[0]['answers'], rotation: number): unknown[] {
  const bytes = responseBytes({ name: 'www.example', answers: answers ?? [] })
  rotateAddresses(bytes, rotation)
  return (decodeMessage(bytes).answers ?? []).map((record) => (record as { data?: unknown }).data)
}

suite('rotation', () => {
  const three = [cname, a('192.0.2.1'), a('192.0.2.2'), a('192.0.2.3')]
  test('moves addresses on and leaves the alias before them', () => {
    assert.deepEqual(rotated(three, 1), ['web.example', '192.0.2.2', '192.0.2.3', '192.0.2.1'])
    assert.deepEqual(rotated(three, 5), ['web.example', '192.0.2.3', '192.0.2.1', '192.0.2.2'])
  })

  test('comes back to the start', () => assert.deepEqual(rotated(three, 3), rotated(three, 0)))

  test('never moves an address to another owner', () => {
    assert.deepEqual(rotated([a('192.0.2.1'), a('192.0.2.9', 'other.example')], 1), ['192.0.2.1', '192.0.2.9'])
  })
})
