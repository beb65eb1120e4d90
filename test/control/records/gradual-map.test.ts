import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { array, assert as assertProperty, integer, property, record } from 'fast-check'
import { GradualMap } from '../../../src/control/records/gradual-map.ts'

suite('a gradual map', () => {
  test('holds what a Map holds, whatever was done to it', () => {
    const key = integer({ min: 0, max: 3_000 }).map((n) => `pod-${n}`)
    const step = record({ key, isSet: integer({ min: 0, max: 3 }).map((n) => n > 0), value: integer() })
    assertProperty(
      property(array(step, { minLength: 0, maxLength: 4_000, size: 'max' }), (steps) => {
        const map = new Map<string, number>()
        const gradual = new GradualMap<number>()
        for (const { key: at, isSet, value } of steps) {
          if (isSet) {
            map.set(at, value)
            gradual.set(at, value)
          } else assert.equal(gradual.delete(at), map.delete(at))
          assert.equal(gradual.size, map.size)
        }
        assert.deepEqual(new Map(gradual), map)
        assert.deepEqual(new Set(gradual.keys()), new Set(map.keys()))
        for (let n = 0; n <= 3_000; n += 7) {
          assert.equal(gradual.get(`pod-${n}`), map.get(`pod-${n}`))
          assert.equal(gradual.has(`pod-${n}`), map.has(`pod-${n}`))
        }
      }),
      { numRuns: 30 },
    )
  })

  test('has a small part of a large map in each of its own, names of endpoints and records of ports alike', () => {
    const keys = {
      'numbers at the end': (i: number) => `\u0005pod-${i}\u0002c1\u0003big\u0003ns0\u0003svc`,
      addresses: (i: number) => `10-${i >> 16}-${(i >> 8) & 255}-${i & 255}`,
      'ports before one name': (i: number) => `${String.fromCharCode(i >> 8, i & 255)}\u0005pod-1\u0002c1`,
    }
    for (const [what, keyOf] of Object.entries(keys)) {
      const gradual = new GradualMap<number>()
      for (let i = 0; i < 64_000; i++) gradual.set(keyOf(i), i)
      assert.ok(gradual.partSizeMax < 2_000, `${what}: ${gradual.partSizeMax}`)
    }
  })
})
