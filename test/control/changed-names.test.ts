/**
 * Who keeps answers outside of the zone relies on two words: which names changed, and that the zone's state did. Here
 * everything is asked before and after every change, and what differs is compared with what was told.
 */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Calculator } from '../../src/control/calculator.ts'
import { IgnoredBook } from '../../src/control/ignored-book.ts'
import { ObjectIntake } from '../../src/control/object-intake.ts'
import { ObjectStore } from '../../src/control/object-store.ts'
import { Publisher } from '../../src/control/publisher.ts'
import { recordsOf } from '../../src/control/records/records-of.ts'
import { RecordsOnDemand } from '../../src/control/records/records-on-demand.ts'
import { Turns } from '../../src/control/turns.ts'
import { nameFromText, type RelativeName, relativeName } from '../../src/dns/wire/name.ts'
import { RecordClass, RecordType } from '../../src/dns/wire/record-type.ts'
import { answerFromZone } from '../../src/dns/zone/answer.ts'
import { apexRrsetsAt, NAME_SERVER } from '../../src/dns/zone/apex.ts'
import { PORT_OCTETS } from '../../src/dns/zone/rrset.ts'
import { Zone } from '../../src/dns/zone/zone.ts'
import type { KubernetesObject } from '../common/api-under-test.ts'
import { randomFrom } from '../common/random.ts'
import { clusterSetIp, headless, SETTINGS, slice } from './support.ts'

const APEX = nameFromText('clusterset.local')!
const SERVER = { ipv4: ['\x7f\x00\x00\x01'], ipv6: [] }
const TYPES = [RecordType.A, RecordType.AAAA, RecordType.SRV, RecordType.TXT]

/** `largeFromRecords`: from how many on they change in place; `isSpent`: never more than one piece of them in a turn. */
function stage(largeFromRecords?: number, isSpent = false) {
  const zone = new Zone(1)
  zone.state = 'synced'
  const told: RelativeName[] = []
  const turns: (() => void)[] = []
  const ignored = new IgnoredBook({ info: () => undefined, warn: () => undefined, error: () => undefined }, () => 0)
  const calculator = new Calculator(
    SETTINGS.records,
    {
      of: (service) => store.of(service),
      published: (service) => zone.recordsOf(service),
      onIgnored: () => undefined,
      isSpent: () => isSpent,
    },
    largeFromRecords,
  )
  const publisher = new Publisher({
    zone,
    calculate: (service) => calculator.calculate(service),
    onNamesChanged: (names) => void told.push(...names),
    onFailure: (_, failure) => assert.fail(failure as Error),
    turns: new Turns({ soon: (work) => void turns.push(work), nowMs: () => 0 }),
    after: () => assert.fail('nothing takes time here'),
    nowMs: () => 0,
  })
  const store: ObjectStore = new ObjectStore((service) => publisher.touch(service))
  const intake = new ObjectIntake(store, ignored)
  const settings = { apex: APEX, ttlSeconds: 5, serverAddresses: SERVER }
  /** Everything the zone says about a name, its serial excepted. */
  const saying = (name: RelativeName): string =>
    TYPES.map((type) => {
      const question = { name: name + APEX, type, class: RecordClass.IN }
      const { message, rcode } = answerFromZone(zone, settings, question, 0)
      const isNegative = rcode !== 0 || Buffer.from(message).readUInt16BE(6) === 0
      return isNegative ? `${rcode}` : Buffer.from(message).toString('latin1')
    }).join('|')
  return {
    intake,
    saying,
    calculator,
    zone,
    /** Everything the zone says about a name, in no order. */
    meaning: (name: RelativeName): string => meaningOf(zone, name),
    /** What a zone made at once of the same objects says. */
    meaningAtOnce: (name: RelativeName): string => {
      const fresh = new Zone(1)
      fresh.state = 'synced'
      for (const namespace of ['one', 'two']) {
        for (const service of ['a', 'b', 'c']) {
          const key = `${namespace}/${service}`
          fresh.replace(key, recordsOf(store.of(key), SETTINGS.records).records)
        }
      }
      return meaningOf(fresh, name)
    },
    /** Runs every turn that is waiting; returns the names that were told. */
    settle: (): ReadonlySet<RelativeName> => {
      told.length = 0
      for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) turn()
      return new Set(told)
    },
  }
}

function meaningOf(zone: Zone, name: RelativeName, isGlue = false): string {
  const told = isGlue ? zone.find(name)?.filter(({ type }) => type !== RecordType.SRV) : zone.find(name)
  const rrsets = told?.map(({ type, rdata, rdataStart }) => {
    const records = rdata.map((one) => {
      const glue = type === RecordType.SRV ? meaningOf(zone, one.slice(PORT_OCTETS), true) : ''
      return rdataStart + one + glue
    })
    return `${type} ${records.toSorted().join('\n')}`
  })
  return rrsets === undefined ? `none, namespace ${zone.hasNamespace(name)}` : rrsets.toSorted().join('|')
}

/** One of few objects, so that changes meet: services that flip, slices that move, addresses that come and go. */
function objectFrom(random: () => number): KubernetesObject {
  const pick = <Value>(...values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!
  const service = pick('a', 'b', 'c')
  const namespace = pick('one', 'two')
  switch (pick('ip', 'headless', 'slice', 'slice')) {
    case 'ip':
      return clusterSetIp(service, pick('10.0.0.1', '10.0.0.2', 'fd00::1', 'None'), namespace)
    case 'headless':
      return headless(service, namespace)
    case 'slice': {
      const made = slice(pick('s1', 's2'), service, ['10.1.0.1', '10.1.0.2', 'fd00::5'].slice(pick(0, 1, 2)), namespace)
      const cluster = pick<string | undefined>('east', 'west', 'eu.west', undefined)
      const labels = { ...(made.metadata['labels'] as object), 'multicluster.kubernetes.io/source-cluster': cluster }
      return {
        ...made,
        metadata: { ...made.metadata, labels },
        ports: pick<object[]>(
          [],
          [{ name: 'http', port: 80 }],
          [{ port: 80 }, { name: 'dns', protocol: 'UDP', port: 53 }],
        ),
      }
    }
  }
}

/** Every name that the objects of `objectFrom` can make, and some that they cannot. */
function everyName(): RelativeName[] {
  const names: RelativeName[] = ['', NAME_SERVER]
  for (const namespace of ['one', 'two']) {
    names.push(relativeName([namespace, 'svc'])!)
    for (const service of ['a', 'b', 'c']) {
      const below = [service, namespace, 'svc']
      names.push(relativeName(below)!)
      for (const port of [['_http', '_tcp'], ['_dns', '_udp'], ['_tcp']]) names.push(relativeName([...port, ...below])!)
      for (const cluster of [['east'], ['west'], ['eu', 'west']]) {
        names.push(relativeName([...cluster, ...below])!)
        for (const host of ['10-1-0-1', '10-1-0-2', 'fd00--5']) {
          names.push(relativeName([host, ...cluster, ...below])!)
        }
      }
    }
  }
  return names
}

const NAMESPACES: ReadonlySet<RelativeName> = new Set(
  ['one', 'two'].map((namespace) => relativeName([namespace, 'svc'])!),
)

const isNamespace = (name: RelativeName): boolean => NAMESPACES.has(name)

function isMade(zone: Zone, service: string): boolean {
  const records = zone.recordsOf(service)
  return !(records instanceof RecordsOnDemand) || records.isMade
}

suite('names that changed', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    test(`are told all and no others, whatever changes (seed ${seed})`, () => {
      const { intake, saying, settle } = stage()
      const random = randomFrom(seed)
      const names = everyName()
      let before = new Map(names.map((name) => [name, saying(name)]))
      let changes = 0
      for (let step = 0; step < 200; step++) {
        const burst = 1 + Math.floor(random() * 3)
        for (let i = 0; i < burst; i++) {
          const object = objectFrom(random)
          const kind = object.kind === 'ServiceImport' ? 'serviceImport' : 'endpointSlice'
          if (random() < 0.3) intake.remove(kind, `${object.metadata.namespace}/${object.metadata.name}`)
          else intake.put(kind, object)
        }
        const told = settle()
        const after = new Map(names.map((name) => [name, saying(name)]))
        const differing = names.filter((name) => before.get(name) !== after.get(name))
        // In a burst a namespace may go with its last service and come back with another one: told, and the same again.
        const expected = burst === 1 ? differing : [...differing, ...[...told].filter(isNamespace)]
        assert.deepEqual([...told].sort(), [...new Set(expected)].sort(), `step ${step}`)
        changes += differing.length
        before = after
      }
      assert.ok(changes > 100, 'hardly anything changed')
    })
  }

  for (const seed of [1, 2, 3, 4, 5]) {
    for (const [largeFrom, isSpent] of [
      [1, false],
      [6, false],
      [1, true],
    ] as const) {
      const pace = isSpent ? 'a piece a turn' : 'all at once'
      test(`are told where records change in place from ${largeFrom} on, ${pace} (seed ${seed})`, () => {
        const { intake, meaning, meaningAtOnce, settle, calculator } = stage(largeFrom, isSpent)
        const random = randomFrom(seed)
        const names = everyName()
        let before = new Map(names.map((name) => [name, meaning(name)]))
        let largeMost = 0
        for (let step = 0; step < 150; step++) {
          const touched = new Set<RelativeName>()
          for (let i = Math.floor(random() * 3); i >= 0; i--) {
            const object = objectFrom(random)
            const kind = object.kind === 'ServiceImport' ? 'serviceImport' : 'endpointSlice'
            if (random() < 0.3) intake.remove(kind, `${object.metadata.namespace}/${object.metadata.name}`)
            else intake.put(kind, object)
            touched.add(relativeName([object.metadata.namespace, 'svc'])!)
          }
          const told = settle()
          for (const name of names) {
            const now = meaning(name)
            assert.equal(now, meaningAtOnce(name), `step ${step}: ${JSON.stringify(name)}`)
            if (now !== before.get(name))
              assert.ok(told.has(name), `step ${step}: ${JSON.stringify(name)} was not told`)
          }
          for (const name of told) assert.ok([...touched].some((namespace) => name.endsWith(namespace)))
          before = new Map(names.map((name) => [name, meaning(name)]))
          largeMost = Math.max(largeMost, calculator.largeCount)
        }
        assert.ok(largeMost > 0, 'no service was ever large')
      })
    }
  }

  for (const seed of [1, 2, 3, 4, 5]) {
    test(`are the same whether anybody asks between two changes or not (seed ${seed})`, () => {
      const [asked, unasked] = [stage(), stage()]
      const random = randomFrom(seed)
      const names = everyName()
      for (let step = 0; step < 150; step++) {
        const object = objectFrom(random)
        const kind = object.kind === 'ServiceImport' ? 'serviceImport' : 'endpointSlice'
        const isRemoved = random() < 0.3
        for (const { intake } of [asked, unasked]) {
          if (isRemoved) intake.remove(kind, `${object.metadata.namespace}/${object.metadata.name}`)
          else intake.put(kind, object)
        }
        const told = asked.settle()
        assert.deepEqual([...unasked.settle()].sort(), [...told].sort(), `step ${step}`)
        assert.deepEqual([unasked.zone.nameCount, unasked.zone.serial], [asked.zone.nameCount, asked.zone.serial])
        const made = [...unasked.zone.services()].filter((key) => isMade(unasked.zone, key))
        assert.deepEqual(made, [], `step ${step}: nobody asked for them`)
        for (const name of names) assert.equal(asked.meaning(name), asked.meaningAtOnce(name), `step ${step}`)
      }
      for (const name of names) assert.equal(unasked.meaning(name), asked.meaning(name))
    })
  }

  test('a service that was asked for has its records at hand after the next change, too; others are made when somebody asks', () => {
    const { intake, zone, settle, meaning } = stage()
    for (const service of ['a', 'b']) {
      intake.put('serviceImport', headless(service, 'one'))
      intake.put('endpointSlice', slice(`${service}-1`, service, ['10.1.0.1'], 'one'))
    }
    settle()
    assert.deepEqual([isMade(zone, 'one/a'), isMade(zone, 'one/b')], [false, false])
    assert.match(meaning(relativeName(['10-1-0-1', 'east', 'a', 'one', 'svc'])!), /^1 /)
    assert.deepEqual([isMade(zone, 'one/a'), isMade(zone, 'one/b')], [true, false])
    for (const service of ['a', 'b']) intake.put('endpointSlice', slice(`${service}-1`, service, ['10.1.0.2'], 'one'))
    settle()
    assert.deepEqual([isMade(zone, 'one/a'), isMade(zone, 'one/b')], [true, false])
    assert.equal(meaning(relativeName(['10-1-0-1', 'east', 'b', 'one', 'svc'])!), 'none, namespace false')
  })

  test('the zone itself has none: what it says of itself hangs on no service', () => {
    assert.notEqual(apexRrsetsAt('', APEX, 5, SERVER), undefined)
    const { intake, saying, settle } = stage()
    const before = saying('')
    intake.put('serviceImport', clusterSetIp('a', '10.0.0.1', 'one'))
    assert.equal(settle().has(''), false)
    assert.equal(saying(''), before)
  })
})
