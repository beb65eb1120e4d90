import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Publisher, type PublisherParts, REST_MS_MAX } from '../../src/control/publisher.ts'
import { TURN_BUDGET_MS, Turns } from '../../src/control/turns.ts'
import { relativeName } from '../../src/dns/wire/name.ts'
import { RecordType } from '../../src/dns/wire/record-type.ts'
import type { ServiceRecords } from '../../src/dns/zone/rrset.ts'
import { Zone } from '../../src/dns/zone/zone.ts'

function scene(options: { msPerService?: number; throwsFor?: string; parts?: Record<string, number> } = {}) {
  const zone = new Zone(1)
  const turns: (() => void)[] = []
  const timers: { ms: number; work: () => void }[] = []
  const changed: (readonly string[])[] = []
  const failures: string[] = []
  const calculated: string[] = []
  const partsLeft = new Map(Object.entries(options.parts ?? {}))
  let nowMs = 0
  let address = '\x0a\x00\x00\x01'
  const parts: PublisherParts = {
    zone,
    calculate: (service) => {
      nowMs += options.msPerService ?? 0
      calculated.push(service)
      if (service === options.throwsFor) throw new Error('a mistake')
      const [namespace, name] = service.split('/')
      const rrset = { type: RecordType.A, rdata: [address], rdataStart: '' }
      const records: ServiceRecords = new Map([[relativeName([name!, namespace!, 'svc'])!, [rrset]]])
      const parts = (partsLeft.get(service) ?? 1) - 1
      partsLeft.set(service, parts)
      return { isWhole: parts <= 0, publication: parts > 0 ? undefined : { records, changed: undefined } }
    },
    onNamesChanged: (names) => void changed.push([...names]),
    onFailure: (service) => void failures.push(service),
    turns: new Turns({ soon: (work) => void turns.push(work), nowMs: () => nowMs }),
    after: (ms, work) => void timers.push({ ms, work }),
    nowMs: () => nowMs,
  }
  const publisher = new Publisher(parts)
  return {
    zone,
    publisher,
    changed,
    failures,
    calculated,
    turns,
    timers,
    pass: (ms: number) => void (nowMs += ms),
    turn: () => turns.shift()?.(),
    set address(octets: string) {
      address = octets
    },
  }
}

suite('publisher', () => {
  test('publishes a service once per turn, however often it was touched', () => {
    const { publisher, calculated, turn, turns, changed } = scene()
    for (let i = 0; i < 1000; i++) publisher.touch('demo/web')
    assert.equal(turns.length, 1)
    turn()
    turn()
    assert.deepEqual(calculated, ['demo/web'])
    assert.equal(changed.length, 1)
    assert.equal(turns.length, 0)
  })

  test('tells nobody when the records stayed the same', () => {
    const { publisher, turn, changed, zone } = scene()
    publisher.touch('demo/web')
    turn()
    const { serial } = zone
    publisher.touch('demo/web')
    turn()
    assert.equal(changed.length, 1)
    assert.equal(zone.serial, serial)
  })

  test('ends a turn at its budget and goes on in the next one', () => {
    const { publisher, turn, turns, calculated } = scene({ msPerService: 1 })
    for (let i = 0; i < 12; i++) publisher.touch(`demo/s${i}`)
    const perTurn = [3, 6, 9, 12]
    assert.equal(TURN_BUDGET_MS, 3)
    for (const published of perTurn) {
      turn()
      assert.equal(calculated.length, published)
    }
    turn()
    assert.equal(turns.length, 0)
    assert.equal(publisher.counts.turnsCut, 3)
  })

  test('goes on with a service that is not whole in later turns, after those that wait, and publishes it once', () => {
    const { publisher, turn, turns, calculated, zone } = scene({ msPerService: 3, parts: { 'demo/large': 3 } })
    let isPublished = false
    publisher.touch('demo/large')
    publisher.touch('demo/a')
    publisher.afterPublication(() => {
      isPublished = true
    })
    publisher.touch('demo/b')
    for (let i = 0; i < 4; i++) turn()
    assert.deepEqual(calculated, ['demo/large', 'demo/a', 'demo/b', 'demo/large'])
    assert.deepEqual([...zone.services()], ['demo/a', 'demo/b'])
    assert.equal(isPublished, false)
    turn()
    assert.deepEqual([...zone.services()], ['demo/a', 'demo/b', 'demo/large'])
    assert.equal(isPublished, true)
    turn()
    assert.equal(turns.length, 0)
    assert.equal(publisher.waitingCount, 0)
  })

  test('tells a waiter when what was touched before is published, not what came later', () => {
    const { publisher, turn } = scene({ msPerService: 3 })
    let isPublished = false
    for (let i = 0; i < 4; i++) publisher.touch(`demo/early${i}`)
    publisher.afterPublication(() => {
      isPublished = true
    })
    for (let i = 0; i < 10; i++) publisher.touch(`demo/late${i}`)
    for (let published = 1; published < 4; published++) {
      turn()
      assert.equal(isPublished, false)
    }
    turn()
    assert.equal(isPublished, true)
    assert.ok(publisher.waitingCount > 0)
  })

  test('tells a waiter at once when nothing waits', () => {
    let isPublished = false
    scene().publisher.afterPublication(() => {
      isPublished = true
    })
    assert.equal(isPublished, true)
  })

  test('lets a service rest that took long, and publishes what came meanwhile', () => {
    const { publisher, turn, turns, timers, pass, calculated } = scene({ msPerService: 2 })
    publisher.touch('demo/large')
    turn()
    turn()
    assert.deepEqual(
      timers.map(({ ms }) => ms),
      [18],
    )
    publisher.touch('demo/large')
    publisher.touch('demo/other')
    for (let i = 0; i < 4; i++) turn()
    assert.deepEqual(calculated, ['demo/large', 'demo/other'])
    assert.equal(turns.length, 0)
    pass(18)
    timers.shift()!.work()
    turn()
    assert.deepEqual(calculated, ['demo/large', 'demo/other', 'demo/large'])
    assert.equal(publisher.waitingCount, 0)
  })

  test('lets no service rest so long that a change would wait beyond what is promised', () => {
    const { publisher, turn, timers } = scene({ msPerService: 200 })
    publisher.touch('demo/huge')
    turn()
    assert.deepEqual(
      timers.map(({ ms }) => ms),
      [REST_MS_MAX],
    )
  })

  test('a waiter waits for a service that rests', () => {
    const { publisher, turn, timers, pass } = scene({ msPerService: 2 })
    publisher.touch('demo/large')
    turn()
    publisher.touch('demo/large')
    let isPublished = false
    publisher.afterPublication(() => {
      isPublished = true
    })
    for (let i = 0; i < 3; i++) turn()
    assert.equal(isPublished, false)
    pass(18)
    timers.shift()!.work()
    for (let i = 0; i < 3; i++) turn()
    assert.equal(isPublished, true)
  })

  test('a mistake in one service stops no other', () => {
    const { publisher, turn, failures, zone } = scene({ throwsFor: 'demo/bad' })
    for (const service of ['demo/a', 'demo/bad', 'demo/b']) publisher.touch(service)
    turn()
    assert.deepEqual(failures, ['demo/bad'])
    assert.deepEqual([...zone.services()], ['demo/a', 'demo/b'])
  })
})
