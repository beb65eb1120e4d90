import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { SliceFacts } from '../../../src/control/records/facts.ts'
import { LargeHeadless } from '../../../src/control/records/large-headless.ts'
import { nameOfService } from '../../../src/control/records/names.ts'
import { recordsOf } from '../../../src/control/records/records-of.ts'
import type { ServiceRecords } from '../../../src/dns/zone/rrset.ts'
import { SETTINGS } from '../support.ts'

const { records: settings } = SETTINGS

/** Endpoints with a port each of `ports`; `shift` makes other addresses of the same hosts. */
function sliceOf(endpoints: number, ports: number, shift = 0): SliceFacts {
  return {
    namespace: 'demo',
    name: 'db-1',
    service: 'db',
    clusterId: 'east',
    isServiceAddress: false,
    ports: Array.from({ length: ports }, (_, i) => ({ name: `p${i}`, protocol: 'tcp', port: i + 1 })),
    endpoints: Array.from({ length: endpoints }, (_, i) => ({
      host: `h${i}`,
      addresses: [String.fromCharCode(10, shift, i >> 8, i & 0xff)],
    })),
  }
}

/** What records say, in no order. */
function meaningOf(records: ServiceRecords | undefined): unknown {
  return new Map(
    [...records!].map(([name, rrsets]) => {
      const told = rrsets.map(({ type, rdata, rdataStart }) => ({ type, rdataStart, rdata: rdata.toSorted() }))
      return [name, told.toSorted((one, other) => one.type - other.type)]
    }),
  )
}

const atOnce = (slices: readonly SliceFacts[]): unknown => {
  const imported = { namespace: 'demo', name: 'db', type: 'Headless', addresses: [], ports: [] } as const
  return meaningOf(recordsOf({ import: imported, slices }, settings).records)
}

const begin = (): LargeHeadless => new LargeHeadless(nameOfService('demo', 'db'), settings.apexOctetsMax)

/** Follows with a piece a turn; returns the most names that one turn changed, and the turns. */
function followInTurns(large: LargeHeadless, slices: readonly SliceFacts[]): { turns: number; namesMost: number } {
  let namesMost = 0
  for (let turns = 1; ; turns++) {
    const isWhole = large.follow(slices, () => true)
    namesMost = Math.max(namesMost, large.takeChanged().length)
    if (isWhole) return { turns, namesMost }
  }
}

suite('a large headless service', () => {
  test('takes a slice in by pieces, however large it is', () => {
    const large = begin()
    large.takeChanged()
    const slices = [sliceOf(1_000, 10)]
    const { turns, namesMost } = followInTurns(large, slices)
    assert.deepEqual(meaningOf(large.records), atOnce(slices))
    assert.ok(turns > 50, String(turns))
    // The owners of SRV records change with every piece: eleven of them.
    assert.ok(namesMost < 50, String(namesMost))
  })

  test('takes an endpoint of many ports in by pieces', () => {
    const large = begin()
    const slices = [sliceOf(1, 1_000)]
    const { turns } = followInTurns(large, slices)
    assert.deepEqual(meaningOf(large.records), atOnce(slices))
    assert.ok(turns > 15, String(turns))
  })

  test('a record that several slices tell goes with the last of them, whatever was there before it', () => {
    const large = begin()
    const [one, other, third] = [
      sliceOf(40, 3),
      { ...sliceOf(40, 3), name: 'db-2' },
      { ...sliceOf(40, 3), name: 'db-3' },
    ]
    for (const slices of [[one], [one, other], [one, other, third], [other, third], [third], []]) {
      followInTurns(large, slices)
      assert.deepEqual(meaningOf(large.records), atOnce(slices), `${slices.length} slices`)
    }
  })

  test('a slice that changes while it is taken in ends as it is at last', () => {
    for (const stopAfter of [1, 3, 10]) {
      const large = begin()
      for (let turn = 0; turn < stopAfter; turn++)
        assert.equal(
          large.follow([sliceOf(500, 4)], () => true),
          false,
        )
      const last = [sliceOf(300, 4, 1)]
      followInTurns(large, last)
      assert.deepEqual(meaningOf(large.records), atOnce(last))
    }
  })

  test('a slice that goes while it is taken in leaves nothing', () => {
    const large = begin()
    assert.equal(
      large.follow([sliceOf(500, 4)], () => true),
      false,
    )
    followInTurns(large, [])
    assert.equal(large.records.size, 0)
  })

  test('other addresses of all hosts are there before the former ones go', () => {
    const large = begin()
    large.follow([sliceOf(500, 1)], () => false)
    const serviceName = nameOfService('demo', 'db')
    const last = [sliceOf(500, 1, 1)]
    while (!large.follow(last, () => true)) assert.ok(large.records.get(serviceName)![0]!.rdata.length >= 500)
    assert.deepEqual(meaningOf(large.records), atOnce(last))
  })
})
