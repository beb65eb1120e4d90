import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { namesTried, parseSearchList } from '../../../src/dns/policy/resolv-conf.ts'

const POD = `
search shop.svc.cluster.local svc.cluster.local cluster.local
nameserver 169.254.20.10
options ndots:5 timeout:2
`

suite('the search list of a resolv.conf', () => {
  test("a Pod's", () => {
    assert.deepEqual(parseSearchList(POD), {
      suffixes: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
      ndots: 5,
    })
  })

  const texts = [
    { promise: 'nothing: no suffixes, one dot', text: '', suffixes: [], ndots: 1 },
    { promise: 'the last search line counts', text: 'search a\nsearch b c', suffixes: ['b', 'c'], ndots: 1 },
    { promise: 'a domain is a search list of one', text: 'search a b\ndomain c.', suffixes: ['c'], ndots: 1 },
    { promise: 'a search line without names empties it', text: 'search a\nsearch', suffixes: [], ndots: 1 },
    { promise: 'ndots has a most', text: 'options ndots:99', suffixes: [], ndots: 15 },
    {
      promise: 'other options and comments are passed over',
      text: '# ndots:3\noptions edns0 ndots:x',
      suffixes: [],
      ndots: 1,
    },
  ]
  for (const { promise, text, suffixes, ndots } of texts) {
    test(promise, () => assert.deepEqual(parseSearchList(text), { suffixes, ndots }))
  }

  test('takes no more suffixes than Kubernetes writes', () => {
    const words = Array.from({ length: 100 }, (_, i) => `s${i}`)
    assert.equal(parseSearchList(`search ${words.join(' ')}`).suffixes.length, 32)
  })
})

suite('the names that a resolver tries', () => {
  const list = { suffixes: ['shop.svc.cluster.local', 'cluster.local'], ndots: 5 }
  test('with fewer dots than ndots: the suffixes first', () => {
    assert.deepEqual(namesTried('web.shop.svc.clusterset.local', list), [
      'web.shop.svc.clusterset.local.shop.svc.cluster.local.',
      'web.shop.svc.clusterset.local.cluster.local.',
      'web.shop.svc.clusterset.local.',
    ])
  })
  test('with as many dots: as it is first', () => {
    assert.equal(namesTried('_a._b.web.shop.svc.clusterset.local', list)[0], '_a._b.web.shop.svc.clusterset.local.')
  })
  test('with a dot at its end: as it is, alone', () => {
    assert.deepEqual(namesTried('web.', list), ['web.'])
  })
})
