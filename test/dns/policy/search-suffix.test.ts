import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { isImpossibleSearchName } from '../../../src/dns/policy/search-suffix.ts'
import { nameFromText } from '../../../src/dns/wire/name.ts'

function parts(...zones: string[]) {
  return { clustersetZones: zones.map((zone) => nameFromText(zone)!), clusterDomain: nameFromText('cluster.local')! }
}

suite('search suffix', () => {
  const impossible = [
    'web.shop.svc.clusterset.local.shop.svc.cluster.local',
    'web.shop.svc.clusterset.local.svc.cluster.local',
    'web.shop.svc.clusterset.local.cluster.local',
    'WEB.shop.svc.ClusterSet.Local.shop.svc.Cluster.Local',
    '_http._tcp.web.shop.svc.clusterset.local.cluster.local',
    'db-0.blue.east.db.shop.svc.clusterset.local.shop.svc.cluster.local',
    'a.b.c.clusterset.local.local.svc.cluster.local',
  ]
  for (const text of impossible) {
    test(`denies ${text}`, () =>
      assert.equal(isImpossibleSearchName(nameFromText(text)!, parts('clusterset.local')), true))
  }

  const possible = [
    { why: 'a service called local', text: 'a.b.clusterset.local.shop.svc.cluster.local' },
    { why: 'a service in a namespace called local', text: '_p._tcp.clusterset.local.svc.cluster.local' },
    { why: 'fewer than three labels before the zone', text: 'a.b.clusterset.local.cluster.local' },
    { why: 'the zone alone', text: 'clusterset.local.cluster.local' },
    { why: 'another domain behind it', text: 'web.shop.svc.clusterset.local.example.com' },
    { why: 'no suffix at all', text: 'web.shop.svc.clusterset.local' },
    { why: 'an ordinary name', text: 'web.shop.svc.cluster.local' },
    { why: 'two labels between zone and svc', text: 'a.b.c.clusterset.local.x.y.svc.cluster.local' },
    { why: 'the pod tree', text: 'a.b.c.clusterset.local.shop.pod.cluster.local' },
    { why: 'the zone within a label', text: 'a.b.c.xclusterset.local.cluster.local' },
  ]
  for (const { why, text } of possible) {
    test(`leaves ${text}: ${why}`, () =>
      assert.equal(isImpossibleSearchName(nameFromText(text)!, parts('clusterset.local')), false))
  }

  const zones = [
    {
      zone: 'mcs',
      text: '_http._tcp.web.mcs.svc.cluster.local',
      is: false,
      why: 'a port of a service in namespace mcs',
    },
    { zone: 'mcs', text: 'web.shop.svc.mcs.svc.cluster.local', is: false, why: 'as long as a port of a service' },
    { zone: 'mcs', text: 'web.shop.svc.mcs.shop.svc.cluster.local', is: true, why: 'longer than anything' },
    { zone: 'mcs', text: 'web.shop.svc.mcs.cluster.local', is: true, why: 'neither svc nor pod' },
    { zone: 'mcs.svc', text: '_http._tcp.web.mcs.svc.cluster.local', is: false, why: 'the cluster has that namespace' },
  ]
  for (const { zone, text, is, why } of zones) {
    test(`${is ? 'denies' : 'leaves'} ${text} with the zone ${zone}: ${why}`, () =>
      assert.equal(isImpossibleSearchName(nameFromText(text)!, parts('other.example', zone)), is))
  }
})
