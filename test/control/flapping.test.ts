/** An endpoint that comes and goes a hundred times a second costs what it costs, and nobody else anything. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { IgnoredBook } from '../../src/control/ignored-book.ts'
import { ObjectIntake } from '../../src/control/object-intake.ts'
import { ObjectStore } from '../../src/control/object-store.ts'
import { Publisher } from '../../src/control/publisher.ts'
import { recordsOf } from '../../src/control/records/records-of.ts'
import { Turns } from '../../src/control/turns.ts'
import { textOfName } from '../../src/dns/wire/name.ts'
import { Zone } from '../../src/dns/zone/zone.ts'
import { clusterSetIp, headless, SETTINGS, slice } from './support.ts'

const SERVICES = 1_000
const SLICES_OF_BUSY = 20
const ENDPOINTS_OF_SLICE = 50

function scene() {
  const zone = new Zone(1)
  const calculated: string[] = []
  const changed: string[] = []
  const immediates: (() => void)[] = []
  const turns = new Turns({ soon: (work) => void immediates.push(work), nowMs: () => 0 })
  const publisher = new Publisher({
    zone,
    calculate: (service) => {
      calculated.push(service)
      return { isWhole: true, publication: { ...recordsOf(store.of(service), SETTINGS.records), changed: undefined } }
    },
    onNamesChanged: (names) => void changed.push(...names.map((name) => textOfName(name).replace(/\.$/, ''))),
    onFailure: (_, failure) => assert.fail(failure as Error),
    turns,
    after: () => assert.fail('nothing takes time here'),
    nowMs: () => 0,
  })
  const store: ObjectStore = new ObjectStore((service) => publisher.touch(service))
  const ignored = new IgnoredBook({ info: () => undefined, warn: () => undefined, error: () => undefined }, () => 0)
  const settle = (): void => {
    for (let next = immediates.shift(); next !== undefined; next = immediates.shift()) next()
  }
  return { zone, publisher, calculated, changed, intake: new ObjectIntake(store, ignored), settle }
}

suite('a flapping endpoint among a thousand services', () => {
  const { zone, publisher, calculated, changed, intake, settle } = scene()
  for (let i = 0; i < SERVICES; i++) intake.put('serviceImport', clusterSetIp(`s${i}`, '10.0.0.1'))
  intake.put('serviceImport', headless('busy'))
  const addresses = (i: number): string[] => Array.from({ length: ENDPOINTS_OF_SLICE }, (_, j) => `10.1.${i}.${j}`)
  for (let i = 0; i < SLICES_OF_BUSY; i++) intake.put('endpointSlice', slice(`busy-${i}`, 'busy', addresses(i)))
  settle()
  const forget = (): void => {
    calculated.length = 0
    changed.length = 0
  }
  const flap = (isThere: boolean): void =>
    void intake.put('endpointSlice', slice('busy-0', 'busy', isThere ? addresses(0) : addresses(0).slice(1)))

  test('costs one calculation and one publication of its own service a change', () => {
    forget()
    const before = publisher.counts.publications
    const { serial } = zone
    for (let i = 0; i < 100; i++) {
      flap(i % 2 === 1)
      settle()
    }
    assert.deepEqual(new Set(calculated), new Set(['demo/busy']))
    assert.equal(calculated.length, 100)
    assert.equal(publisher.counts.publications - before, 100)
    assert.equal(zone.serial - serial, 100)
  })

  test('makes nobody forget other names, nor those of its service that stayed as they are', () => {
    forget()
    flap(false)
    settle()
    assert.deepEqual(changed.sort(), ['10-1-0-0.east.busy.demo.svc', '_http._tcp.busy.demo.svc', 'busy.demo.svc'])
  })

  test('costs one calculation however often it flaps within a turn', () => {
    forget()
    for (let i = 0; i < 100; i++) flap(i % 2 === 0)
    settle()
    assert.equal(calculated.length, 1)
  })

  test('costs no publication when it is where it was at the end of the turn', () => {
    flap(true)
    settle()
    forget()
    flap(false)
    flap(true)
    settle()
    assert.deepEqual(changed, [])
  })
})
