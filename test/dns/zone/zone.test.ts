import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type RelativeName, relativeName, textOfName } from '../../../src/dns/wire/name.ts'
import { RecordType } from '../../../src/dns/wire/record-type.ts'
import type { Rrset, ServiceRecords } from '../../../src/dns/zone/rrset.ts'
import { Zone } from '../../../src/dns/zone/zone.ts'

function name(text: string): RelativeName {
  return relativeName(text.split('.'))!
}

const a = (...rdata: string[]): Rrset => ({ type: RecordType.A, rdata, rdataStart: '' })
const srv = (target: string): Rrset => ({
  type: RecordType.SRV,
  rdata: [`\0\x50${name(target)}`],
  rdataStart: '\0\0\0\x64',
})

function records(entries: Record<string, readonly Rrset[]>): ServiceRecords {
  return new Map(Object.entries(entries).map(([text, rrsets]) => [name(text), rrsets]))
}

/** What the zone said had changed, as text. */
function changes(zone: Zone, service: string, entries: Record<string, readonly Rrset[]> | undefined): string[] {
  const changed = zone.replace(service, entries === undefined ? undefined : records(entries))
  return changed.map((relative) => textOfName(`${relative}\0`)).toSorted()
}

suite('zone', () => {
  const web = { 'web.shop.svc': [a('1111')] }

  test('tells every name of a new service, its namespace included', () => {
    const zone = new Zone(1)
    assert.deepEqual(changes(zone, 'shop/web', web), ['shop.svc.', 'web.shop.svc.'])
    assert.deepEqual(changes(zone, 'shop/api', { 'api.shop.svc': [a('2222')] }), ['api.shop.svc.'])
  })

  test('tells nothing and keeps its serial when nothing changed', () => {
    const zone = new Zone(1)
    changes(zone, 'shop/web', web)
    const { serial } = zone
    assert.deepEqual(changes(zone, 'shop/web', { 'web.shop.svc': [a('1111')] }), [])
    assert.equal(zone.serial, serial)
  })

  test('tells the namespace again when its last service goes', () => {
    const zone = new Zone(1)
    changes(zone, 'shop/web', web)
    changes(zone, 'shop/api', { 'api.shop.svc': [a('2222')] })
    assert.deepEqual(changes(zone, 'shop/web', undefined), ['web.shop.svc.'])
    assert.deepEqual(changes(zone, 'shop/api', undefined), ['api.shop.svc.', 'shop.svc.'])
    assert.equal(zone.hasNamespace(name('shop.svc')), false)
    assert.deepEqual([zone.nameCount, zone.serviceCount], [0, 0])
  })

  test('lets a service without names make its namespace exist', () => {
    const zone = new Zone(1)
    assert.deepEqual(changes(zone, 'shop/db', {}), ['shop.svc.'])
    assert.equal(zone.hasNamespace(name('shop.svc')), true)
    assert.deepEqual(changes(zone, 'shop/db', {}), [])
    assert.deepEqual(changes(zone, 'shop/db', undefined), ['shop.svc.'])
  })

  test('tells a name that comes to exist without data, and one that loses its data', () => {
    const zone = new Zone(1)
    changes(zone, 'shop/db', {})
    assert.deepEqual(changes(zone, 'shop/db', { 'db.shop.svc': [] }), ['db.shop.svc.'])
    assert.deepEqual(zone.find(name('db.shop.svc')), [])
    assert.deepEqual(changes(zone, 'shop/db', { 'db.shop.svc': [a('1111')] }), ['db.shop.svc.'])
    assert.deepEqual(changes(zone, 'shop/db', { 'db.shop.svc': [] }), ['db.shop.svc.'])
    assert.deepEqual(changes(zone, 'shop/db', {}), ['db.shop.svc.'])
    assert.equal(zone.find(name('db.shop.svc')), undefined)
  })

  test('tells the owners of SRV records whose targets changed', () => {
    const zone = new Zone(1)
    const before = { 'web.shop.svc': [a('1111')], '_http._tcp.web.shop.svc': [srv('web.shop.svc')] }
    changes(zone, 'shop/web', before)
    const after = { ...before, 'web.shop.svc': [a('2222')] }
    assert.deepEqual(changes(zone, 'shop/web', after), ['_http._tcp.web.shop.svc.', 'web.shop.svc.'])
  })

  test('lets the serial grow with every change, past its top', () => {
    const zone = new Zone(0xffff_ffff)
    changes(zone, 'shop/web', web)
    assert.equal(zone.serial, 0)
  })
})
