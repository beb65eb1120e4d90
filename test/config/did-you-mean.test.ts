import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nearest } from '../../src/config/did-you-mean.ts'

const SETTINGS = ['listen', 'cache', 'udp', 'tcp', 'ttlSeconds', 'maxTtlSeconds', 'minTtlSeconds']

const cases = [
  { word: 'lisetn', meant: 'listen', why: 'two letters swapped' },
  { word: 'cahce', meant: 'cache', why: 'two letters swapped' },
  { word: 'ttlseconds', meant: 'ttlSeconds', why: 'another case' },
  { word: 'ttlSecond', meant: 'ttlSeconds', why: 'a letter left out' },
  { word: 'maxTTLSeconds', meant: 'maxTtlSeconds', why: 'another case' },
  { word: 'upd', meant: 'udp', why: 'two letters swapped' },
  { word: 'tls', meant: undefined, why: 'another word of three letters' },
  { word: 'prometheus', meant: undefined, why: 'nothing like it' },
  { word: 'l'.repeat(1000), meant: undefined, why: 'longer than any setting' },
]

suite('did you mean', () => {
  for (const { word, meant, why } of cases) {
    test(`takes ${word.slice(0, 20)} for ${meant ?? 'no setting'}: ${why}`, () => {
      assert.equal(nearest(word, SETTINGS), meant)
    })
  }
})
