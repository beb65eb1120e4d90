import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { failureSeconds, lifetimeOf } from '../../../src/dns/cache/lifetime.ts'
import { soa, upstreamResponse } from '../../common/wire.ts'

const LIMITS = { minTtlSeconds: 0, maxTtlSeconds: 3600, maxNegativeTtlSeconds: 300 }
const a = (ttl: number, name = 'www.example') => ({ type: 'A' as const, name, ttl, data: '192.0.2.1' })
const cname = (ttl: number) => ({ type: 'CNAME' as const, name: 'www.example', ttl, data: 'web.example' })

const cases = [
  {
    promise: 'keeps records for the smallest ttl among them',
    parts: { answers: [a(300), a(60)] },
    kept: 'positive 60',
  },
  {
    promise: 'follows a CNAME to the asked type',
    parts: { answers: [cname(20), a(60, 'web.example')] },
    kept: 'positive 20',
  },
  { promise: 'clamps a ttl to the maximum', parts: { answers: [a(86_400)] }, kept: 'positive 3600' },
  {
    promise: 'reads a ttl with its top bit set as none (RFC 2181, 8)',
    parts: { answers: [a(0x8000_0001)] },
    kept: 'positive 0',
  },
  {
    promise: 'keeps a name error for the SOA minimum',
    parts: { rcode: 3, authorities: [soa('example', 900, 30)] },
    kept: 'negative 30',
  },
  {
    promise: 'keeps a name error for the SOA ttl when that is smaller',
    parts: { rcode: 3, authorities: [soa('example', 10, 30)] },
    kept: 'negative 10',
  },
  {
    promise: 'clamps a name error to the maximum',
    parts: { rcode: 3, authorities: [soa('example', 900, 900)] },
    kept: 'negative 300',
  },
  { promise: 'keeps no data like a name error', parts: { authorities: [soa('example', 60, 60)] }, kept: 'negative 60' },
  {
    promise: 'keeps a CNAME that ends nowhere no longer than the CNAME',
    parts: { answers: [cname(20)], authorities: [soa('example', 60, 60)] },
    kept: 'negative 20',
  },
  {
    promise: 'keeps a CNAME that ends nowhere, without a SOA, for the ttl of the CNAME',
    parts: { answers: [cname(20)] },
    kept: 'negative 20',
  },
  {
    promise: 'keeps a CNAME that ends nowhere, without a SOA, no longer than denials',
    parts: { answers: [cname(3_000)] },
    kept: 'negative 300',
  },
  {
    promise: 'never keeps a name error behind a CNAME without a SOA',
    parts: { rcode: 3, answers: [cname(20)] },
    kept: 'failure 0',
  },
  {
    promise: 'never keeps no data without a SOA for the sake of an alias of another name',
    parts: { answers: [{ ...cname(20), name: 'other.example' }] },
    kept: 'failure 0',
  },
  { promise: 'never keeps no data without a SOA', parts: {}, kept: 'failure 0' },
  { promise: 'never keeps a name error without a SOA', parts: { rcode: 3 }, kept: 'failure 0' },
  { promise: 'never keeps a truncated response', parts: { flags: 0x0200, answers: [a(300)] }, kept: 'failure 0' },
  { promise: 'keeps a SERVFAIL for a second', parts: { rcode: 2 }, kept: 'failure 1' },
]

const alias = (name: string, data: string) => ({ type: 'CNAME' as const, name, ttl: 300, data })

/** RFC 2308 section 5: whose SOA may say how long `www.shop.example` is not there. */
const denials = [
  { owner: 'www.shop.example', whose: 'the name itself', seconds: 60 },
  { owner: 'shop.example', whose: 'its zone', seconds: 60 },
  { owner: 'SHOP.Example', whose: 'its zone, in other letters', seconds: 60 },
  { owner: 'example', whose: 'a zone above', seconds: 60 },
  { owner: '.', whose: 'the root', seconds: 60 },
  { owner: 'a.www.shop.example', whose: 'a zone below', seconds: 0 },
  { owner: 'ftp.shop.example', whose: 'its sister', seconds: 0 },
  { owner: 'hop.example', whose: 'a zone whose name ends the same', seconds: 0 },
  { owner: 'com', whose: 'a strange zone', seconds: 0 },
  { owner: 'example', whose: 'its zone in another class', klass: 'CH' as const, seconds: 0 },
  { owner: 'other.net', whose: "the zone of an alias's target", to: ['x.other.net'], seconds: 60 },
  { owner: 'shop.example', whose: 'the zone of an alias', to: ['x.other.net'], seconds: 60 },
  { owner: 'org', whose: "the zone of the last alias's target", to: ['x.other.net', 'y.org'], seconds: 60 },
  { owner: 'com', whose: 'a strange zone behind an alias', to: ['x.other.net'], seconds: 0 },
  { owner: 'other.net', whose: 'a zone that the chain only passes', to: ['x.other.net', 'y.org'], seconds: 0 },
]

suite('lifetime', () => {
  for (const { owner, whose, klass, to = [], seconds } of denials) {
    const told = seconds > 0 ? `is kept by the SOA of ${whose}` : `is not kept by the SOA of ${whose}`
    test(`a name error${to.length > 0 ? ` behind ${to.length} aliases` : ''} ${told}`, () => {
      const chain = ['www.shop.example', ...to]
      const response = upstreamResponse({
        name: 'www.shop.example',
        rcode: 3,
        answers: to.map((target, link) => alias(chain[link]!, target)),
        authorities: [
          {
            ...soa('example', 60, 60),
            name: owner,
            ...(klass === undefined ? {} : { class: klass }),
          },
        ],
      })
      assert.equal(lifetimeOf(response, LIMITS).seconds, seconds)
    })
  }

  for (const { promise, parts, kept } of cases) {
    test(promise, () => {
      const lifetime = lifetimeOf(upstreamResponse({ name: 'www.example', ...parts }), LIMITS)
      assert.equal(`${lifetime.kind} ${lifetime.seconds}`, kept)
    })
  }

  test('raises a small ttl to the configured minimum', () => {
    const response = upstreamResponse({ name: 'www.example', answers: [a(1)] })
    assert.equal(lifetimeOf(response, { ...LIMITS, minTtlSeconds: 5 }).seconds, 5)
  })

  test('remembers failures twice as long from one to the next, within bounds', () => {
    const seconds = [failureSeconds(0)]
    for (let i = 0; i < 4; i++) seconds.push(failureSeconds(seconds.at(-1)!))
    assert.deepEqual(seconds, [1, 2, 4, 5, 5])
  })
})
