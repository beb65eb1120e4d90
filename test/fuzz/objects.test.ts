/** Objects of any shape: nothing throws, nothing grows, and what was good before is answered as before. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Calculator } from '../../src/control/calculator.ts'
import { IgnoredBook } from '../../src/control/ignored-book.ts'
import { ObjectIntake, objectKeyOf } from '../../src/control/object-intake.ts'
import { type ObjectKind, ObjectStore } from '../../src/control/object-store.ts'
import { Publisher } from '../../src/control/publisher.ts'
import { Turns } from '../../src/control/turns.ts'
import { decodeMessage } from '../../src/dns/wire/message.ts'
import { NAME_OCTETS_MAX, nameFromText, type RelativeName } from '../../src/dns/wire/name.ts'
import { RecordClass, RecordType } from '../../src/dns/wire/record-type.ts'
import { answerFromZone } from '../../src/dns/zone/answer.ts'
import { Zone } from '../../src/dns/zone/zone.ts'
import { randomFrom } from '../common/random.ts'
import { clusterSetIp, headless, SETTINGS, slice } from '../control/support.ts'

const APEX = nameFromText('clusterset.local')!
const SERVER = { ipv4: ['\x7f\x00\x00\x01'], ipv6: [] }
const OBJECTS = 20_000

/** Values that somebody did not think of. */
const ODD: readonly unknown[] = [
  undefined,
  null,
  true,
  false,
  0,
  -1,
  1e308,
  65_536,
  80.5,
  '',
  ' ',
  '.',
  '..',
  '-',
  'a'.repeat(64),
  'a'.repeat(70_000),
  'WEB',
  'wéb',
  '\ud800',
  'a\u0000b',
  'a/b',
  'web.demo',
  '__proto__',
  'constructor',
  'None',
  '10.0.0.256',
  '010.0.0.1',
  '10.0.0.1/32',
  '::',
  '::1',
  'fe80::1%eth0',
  '::ffff:10.0.0.1',
  'fd00::',
  'FD00::A',
  '999999999999999999999',
  [],
  {},
  [[]],
  [null],
  [{}],
  { length: 3 },
  { 0: 'a', length: 1 },
  JSON.parse('{"__proto__": {"ready": false}, "hasOwnProperty": 1, "toString": null}'),
  Array.from({ length: 200 }, () => null),
]

function hostile(value: unknown, random: () => number, depth = 0): unknown {
  if (random() < 0.08) return ODD[Math.floor(random() * ODD.length)]
  if (Array.isArray(value)) {
    const items = value.flatMap((item: unknown) => (random() < 0.1 ? [] : [hostile(item, random, depth + 1)]))
    if (random() < 0.1) items.push(ODD[Math.floor(random() * ODD.length)])
    return items
  }
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, field]) =>
      random() < 0.05 ? [] : [[random() < 0.03 ? 'other' : key, hostile(field, random, depth + 1)]],
    ),
  )
}

function stage() {
  const zone = new Zone(1)
  zone.state = 'synced'
  const immediates: (() => void)[] = []
  const names = new Set<RelativeName>()
  const told: unknown[] = []
  const into = (_: string, fields: unknown): void => void told.push(fields)
  const ignored = new IgnoredBook({ info: into, warn: into, error: into }, () => 0)
  // From two endpoints on, so that hostile objects meet both ways of calculation.
  const calculator = new Calculator(
    { ...SETTINGS.records, submariner: true },
    {
      of: (service) => store.of(service),
      published: (service) => zone.recordsOf(service),
      onIgnored: (service, findings) => ignored.report(`service ${service}`, findings),
      isSpent: () => false,
    },
    2,
  )
  const publisher = new Publisher({
    zone,
    calculate: (service) => calculator.calculate(service),
    onNamesChanged: (changed) => {
      for (const name of changed) names.add(name)
    },
    onFailure: (service, failure) => assert.fail(`${service}: ${(failure as Error).stack}`),
    turns: new Turns({ soon: (work) => void immediates.push(work), nowMs: () => 0 }),
    after: () => assert.fail('nothing takes time here'),
    nowMs: () => 0,
  })
  const store: ObjectStore = new ObjectStore((service) => publisher.touch(service))
  return {
    zone,
    names,
    told,
    store,
    intake: new ObjectIntake(store, ignored),
    settle: () => {
      for (let next = immediates.shift(); next !== undefined; next = immediates.shift()) next()
    },
  }
}

function saying(zone: Zone, name: RelativeName): string {
  return [RecordType.A, RecordType.AAAA, RecordType.SRV, RecordType.ANY]
    .map((type) => {
      const question = { name: name + APEX, type, class: RecordClass.IN }
      const answer = answerFromZone(zone, { apex: APEX, ttlSeconds: 5, serverAddresses: SERVER }, question, 0)
      const { answers, additionals } = decodeMessage(Buffer.from(answer.message))
      return JSON.stringify([answer.rcode, answers, additionals])
    })
    .join()
}

suite('objects of any shape', () => {
  for (const seed of [11, 12, 13]) {
    test(`do no harm to anything (seed ${seed})`, () => {
      const { zone, names, told, store, intake, settle } = stage()
      const random = randomFrom(seed)
      intake.put('serviceImport', clusterSetIp('good', '10.0.0.1', 'safe'))
      intake.put('serviceImport', headless('pods', 'safe'))
      intake.put('endpointSlice', slice('pods-1', 'pods', ['10.1.0.1', 'fd00::1'], 'safe'))
      settle()
      const good = [...names]
      const before = good.map((name) => saying(zone, name))
      assert.ok(good.length > 4)

      const seeds: readonly (readonly [ObjectKind, (i: number) => object])[] = [
        ['serviceImport', (i) => clusterSetIp(`s${i % 50}`, '10.0.0.2')],
        ['serviceImport', (i) => headless(`s${i % 50}`)],
        ['endpointSlice', (i) => slice(`e${i % 200}`, `s${i % 50}`, ['10.1.0.1', '10.1.0.2', 'fd00::2'])],
      ]
      for (let i = 0; i < OBJECTS; i++) {
        const [kind, make] = seeds[Math.floor(random() * seeds.length)]!
        const object = hostile(make(i), random)
        // Nobody but its owner may speak of the good ones: an API server has one object of a name.
        if (objectKeyOf(object)?.startsWith('safe/') === true) continue
        intake.put(kind, object)
        if (random() < 0.1) settle()
      }
      settle()

      assert.deepEqual(
        good.map((name) => saying(zone, name)),
        before,
      )
      assert.ok(zone.nameCount > good.length, 'nothing hostile was taken in: the test tries too little')
      for (const name of names) {
        assert.ok(name.length + APEX.length <= NAME_OCTETS_MAX)
        saying(zone, name)
      }
      for (const fields of told) assert.ok(JSON.stringify(fields).length < 2_000, 'a log line without bounds')
      // The identity is the object's: no more of them than names there were.
      assert.ok(store.count('serviceImport') + store.count('endpointSlice') < 2 * OBJECTS)
    })
  }

  test('that are taken away leave nothing behind', () => {
    const { zone, store, intake, settle } = stage()
    const random = randomFrom(99)
    const keys: [ObjectKind, string][] = []
    for (let i = 0; i < 2_000; i++) {
      const kind = i % 3 === 0 ? 'serviceImport' : 'endpointSlice'
      const made = i % 3 === 0 ? headless(`s${i % 20}`) : slice(`e${i}`, `s${i % 20}`, ['10.1.0.1'])
      const key = intake.put(kind, hostile(made, random))
      if (key !== undefined) keys.push([kind, key])
    }
    settle()
    assert.ok(zone.nameCount > 0)
    for (const [kind, key] of keys) intake.remove(kind, key)
    settle()
    assert.deepEqual([zone.nameCount, zone.serviceCount], [0, 0])
    assert.deepEqual([store.count('serviceImport'), store.count('endpointSlice')], [0, 0])
  })
})
