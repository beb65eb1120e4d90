import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { RouteIds } from '../../src/agent/route-ids.ts'

suite('route ids', () => {
  test('stay with the same upstreams over reloads, and are never given to others', () => {
    const ids = new RouteIds(assert.fail)
    const [one, two, again] = ids.of(['tcp a', 'udp b', 'tcp a'])
    assert.equal(one, again)
    assert.notEqual(one, two)
    const [other, kept] = ids.of(['udp c', 'udp b'])
    assert.equal(kept, two)
    assert.ok(other !== one && other !== two)
    assert.ok(!ids.of(['tcp a']).includes(one!), 'what was cached meanwhile is of another time')
  })

  test('start again with an empty cache when all are used up', () => {
    let flushed = 0
    const ids = new RouteIds(() => flushed++, 8)
    for (let reload = 0; reload < 100; reload++) {
      const [first, second] = ids.of([`tcp ${reload}`, 'udp always'])
      assert.ok(first! < 8 && second! < 8 && first !== second)
    }
    assert.ok(flushed >= 12)
  })
})
