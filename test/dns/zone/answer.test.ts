import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { decodeMessage } from '../../../src/dns/wire/message.ts'
import { nameFromText, relativeName } from '../../../src/dns/wire/name.ts'
import { RecordType } from '../../../src/dns/wire/record-type.ts'
import { answerFromZone } from '../../../src/dns/zone/answer.ts'
import { responseFromBytes, type VectorSettings } from '../../common/vectors.ts'
import { answerSettingsOf, queryBytes, responseBytesOf, zoneOf } from '../../common/zone-server.ts'

const SETTINGS: VectorSettings = {
  zones: ['clusterset.local.'],
  ttlSeconds: 5,
  submariner: false,
  localClusterId: undefined,
  state: 'synced',
  namespaces: [],
  missing: [],
  serverAddresses: [],
}
const [APEX_SETTINGS] = answerSettingsOf(SETTINGS) as [ReturnType<typeof answerSettingsOf>[0]]

/** A headless service `db.shop` of so many hosts, in slices of a thousand. */
function zoneOfHosts(count: number, family: 'IPv4' | 'IPv6' = 'IPv4') {
  const objects: unknown[] = [
    { kind: 'ServiceImport', metadata: { namespace: 'shop', name: 'db' }, spec: { type: 'Headless', ports: [] } },
  ]
  for (let from = 0; from < count; from += 1000) {
    const endpoints = Array.from({ length: Math.min(1000, count - from) }, (_, i) => {
      const [high, low] = [(from + i) >>> 8, (from + i) & 0xff]
      return {
        addresses: [family === 'IPv4' ? `10.1.${high}.${low}` : `fd00::${high.toString(16)}:${low.toString(16)}`],
      }
    })
    objects.push({
      kind: 'EndpointSlice',
      metadata: {
        namespace: 'shop',
        name: `db-${from}`,
        labels: {
          'multicluster.kubernetes.io/service-name': 'db',
          'multicluster.kubernetes.io/source-cluster': 'east',
        },
      },
      addressType: family,
      ports: [{ name: 'sql', port: 5432 }],
      endpoints,
    })
  }
  return zoneOf(objects, SETTINGS)
}

function ask(zone: ReturnType<typeof zoneOfHosts>, name: string, type: number, rotation: number, octetsMax?: number) {
  const bytes = responseBytesOf(zone, [APEX_SETTINGS], queryBytes({ name, type, class: 1 }), rotation, octetsMax)
  return { bytes, ...responseFromBytes(bytes) }
}

const DB = 'db.shop.svc.clusterset.local.'

suite('answer', () => {
  const strides = [
    { who: 'a client that asks one thing', stride: 1 },
    { who: 'a client that asks A and AAAA in turn', stride: 2 },
    { who: 'one of three clients in turn', stride: 3 },
  ]
  for (const { who, stride } of strides) {
    for (const hosts of [2, 3, 7]) {
      test(`lets every one of ${hosts} addresses come first, about as often, for ${who}`, () => {
        const zone = zoneOfHosts(hosts)
        const firsts = new Map<string, number>()
        const rounds = 100 * hosts
        for (let i = 0; i < rounds; i++) {
          const { answer } = ask(zone, DB, RecordType.A, i * stride)
          assert.equal(new Set(answer).size, hosts)
          firsts.set(answer[0]!, (firsts.get(answer[0]!) ?? 0) + 1)
        }
        assert.equal(firsts.size, hosts)
        for (const count of firsts.values()) assert.ok(count > 80 && count < 120, `${count} of ${rounds}`)
      })
    }
  }

  test('tells over UDP what fits, truncated, and another subset each time; over TCP everything', () => {
    const zone = zoneOfHosts(300)
    const seen = new Set<string>()
    for (let rotation = 0; rotation < 60; rotation++) {
      const { answer, flags, bytes } = ask(zone, DB, RecordType.A, rotation, 512)
      assert.deepEqual(flags, ['aa', 'tc'])
      assert.ok(bytes.length <= 512 && answer.length >= 25)
      for (const line of answer) seen.add(line)
    }
    assert.equal(seen.size, 300)
    const { answer, flags } = ask(zone, DB, RecordType.A, 0)
    assert.equal(answer.length, 300)
    assert.deepEqual(flags, ['aa'])
  })

  test('leaves out glue before answers, and says so only for answers', () => {
    const zone = zoneOfHosts(6)
    const { answer, additional, flags } = ask(zone, `_sql._tcp.${DB}`, RecordType.SRV, 0, 512)
    assert.equal(answer.length, 6)
    assert.ok(additional.length < 6)
    assert.deepEqual(flags, ['aa'])
  })

  const bounds = [
    { what: 'A', type: RecordType.A, name: DB, family: 'IPv4', atLeast: 4000 },
    { what: 'AAAA', type: RecordType.AAAA, name: DB, family: 'IPv6', atLeast: 2300 },
    { what: 'SRV', type: RecordType.SRV, name: `_sql._tcp.${DB}`, family: 'IPv4', atLeast: 900 },
  ] as const
  for (const { what, type, name, family, atLeast } of bounds) {
    test(`fills a message of ${what} records and no more, a different part each time`, () => {
      const zone = zoneOfHosts(6000, family)
      const one = ask(zone, name, type, 0)
      assert.ok(one.bytes.length <= 65_535 && one.bytes.length > 64_000, String(one.bytes.length))
      assert.ok(one.answer.length >= atLeast, String(one.answer.length))
      const other = ask(zone, name, type, 1)
      assert.notDeepEqual(one.answer[0], other.answer[0])
    })
  }

  test('names glue by pointers where they reach and in full where they do not', () => {
    const zone = zoneOfHosts(500)
    const { additional, answer } = ask(zone, `_sql._tcp.${DB}`, RecordType.SRV, 0)
    assert.equal(answer.length, 500)
    const owners = new Set(additional.map((line) => line.split(' ')[0]))
    assert.deepEqual(owners, new Set(answer.map((line) => line.split(' ').at(-1))))
  })

  test('says where every TTL stands', () => {
    const zone = zoneOfHosts(3)
    const question = { name: nameFromText(`_sql._tcp.${DB}`)!, type: RecordType.SRV, class: 1 }
    const { message, ttlOffsets } = answerFromZone(zone, APEX_SETTINGS, question, 0)
    assert.equal(ttlOffsets.length, 6)
    const copy = Buffer.from(message)
    for (const [i, at] of ttlOffsets.entries()) copy.writeUInt32BE(1000 + i, at)
    const { answers = [], additionals = [] } = decodeMessage(copy)
    const ttls = [...answers, ...additionals].map((record) => ('ttl' in record ? record.ttl : undefined))
    assert.deepEqual(ttls, [1000, 1001, 1002, 1003, 1004, 1005])
  })

  test('says why it is not ready', () => {
    const zone = zoneOf([], { ...SETTINGS, state: 'unsynced' })
    const question = { name: nameFromText(DB)!, type: RecordType.A, class: 1 }
    const { rcode, extendedErrors } = answerFromZone(zone, APEX_SETTINGS, question, 0)
    assert.equal(rcode, 2)
    assert.deepEqual(
      extendedErrors.map(({ code }) => code),
      [14],
    )
  })

  test('never takes a dot inside a label for a label boundary', () => {
    const zone = zoneOfHosts(1)
    const dotted = `${relativeName(['db.shop', 'svc'])!}${APEX_SETTINGS.apex}`
    assert.equal(answerFromZone(zone, APEX_SETTINGS, { name: dotted, type: RecordType.A, class: 1 }, 0).rcode, 3)
  })

  test('keeps former answers as they were when the next one is written', () => {
    const zone = zoneOfHosts(2)
    const question = { name: nameFromText(DB)!, type: RecordType.A, class: 1 }
    const { message } = answerFromZone(zone, APEX_SETTINGS, question, 0)
    const before = Buffer.from(message).toString('hex')
    answerFromZone(zone, APEX_SETTINGS, { ...question, name: APEX_SETTINGS.apex, type: RecordType.SOA }, 0)
    assert.equal(Buffer.from(message).toString('hex'), before)
  })
})
