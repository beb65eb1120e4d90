import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { behavesLikeAnApiServer, serviceImport, slice } from './api-behaviour.ts'
import type { KubernetesObject } from './api-under-test.ts'
import { type FakeApiServer, startFakeApiServer } from './fake-api-server.ts'
import { until } from './until.ts'

const IMPORTS = '/apis/multicluster.x-k8s.io/v1beta1/serviceimports'
const SLICES = '/apis/discovery.k8s.io/v1/endpointslices'
const SERVICE = 'multicluster.kubernetes.io/service-name'

interface Answer {
  readonly status: number
  readonly headers: Headers
  // biome-ignore format: what JSON says, as tests look at it
  readonly json: { kind: string; apiVersion: string; code: number; reason: string; message: string; items: KubernetesObject[]; metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }; groups: { name: string }[]; versions: { version: string }[]; preferredVersion: { version: string }; resources: { name: string; verbs: string[] }[] }
}

async function get(api: FakeApiServer, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(api.url + path, { headers })
  const text = await response.text()
  const json = text.startsWith('{') ? (JSON.parse(text) as Answer['json']) : ({} as Answer['json'])
  return { status: response.status, headers: response.headers, json }
}

const names = ({ json }: Answer): string[] => json.items.map((item) => item.metadata.name)

interface Event {
  readonly type: string
  readonly object: KubernetesObject & { code?: number; reason?: string }
}

/** A watch through fetch; `events` fills as they come. */
async function watch(api: FakeApiServer, path: string) {
  const aborter = new AbortController()
  const response = await fetch(`${api.url}${path}`, { signal: aborter.signal })
  const events: Event[] = []
  const chunks: string[] = []
  let ending: 'open' | 'ended' | 'broken' = 'open'
  const read = async (): Promise<void> => {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body!) {
      chunks.push(decoder.decode(chunk, { stream: true }))
      const lines = (rest + chunks.at(-1)).split('\n')
      rest = lines.pop()!
      for (const line of lines) events.push(JSON.parse(line) as Event)
    }
  }
  void read().then(
    () => (ending = 'ended'),
    () => (ending = 'broken'),
  )
  return {
    status: response.status,
    events,
    chunks,
    ending: () => ending,
    told: () => events.map(({ type, object }) => `${type} ${object.metadata.name ?? ''}`.trim()),
    close: () => aborter.abort(),
  }
}

function withApi(promise: string, run: (api: FakeApiServer) => Promise<void>, options = {}): void {
  test(promise, async () => {
    const api = await startFakeApiServer(options)
    try {
      await run(api)
    } finally {
      await api.stop()
    }
  })
}

behavesLikeAnApiServer(() => startFakeApiServer())
behavesLikeAnApiServer(() => startFakeApiServer({ hasWatchList: false }))

describe('discovery', () => {
  withApi('names groups, versions and resources, beta before alpha', async (api) => {
    const { json } = await get(api, '/apis')
    assert.deepEqual(
      json.groups.map(({ name }) => name),
      ['discovery.k8s.io', 'multicluster.x-k8s.io'],
    )
    const group = (await get(api, '/apis/multicluster.x-k8s.io')).json
    assert.equal(group.kind, 'APIGroup')
    assert.deepEqual(
      group.versions.map(({ version }) => version),
      ['v1beta1', 'v1alpha1'],
    )
    assert.equal(group.preferredVersion.version, 'v1beta1')
    const list = (await get(api, '/apis/multicluster.x-k8s.io/v1alpha1')).json
    assert.equal(list.kind, 'APIResourceList')
    assert.deepEqual(
      list.resources.map(({ name }) => name),
      ['serviceimports'],
    )
    assert.ok(list.resources[0]!.verbs.includes('watch'))
  })

  withApi('knows nothing of a resource whose CRD is absent, and serves it once it is there', async (api) => {
    await api.apply(serviceImport('a'))
    await api.removeCrd()
    for (const path of ['/apis/multicluster.x-k8s.io', '/apis/multicluster.x-k8s.io/v1beta1', IMPORTS]) {
      assert.equal((await get(api, path)).status, 404, path)
    }
    await assert.rejects(api.apply(serviceImport('a')), /no matches for kind/)
    await api.installCrd(['v1alpha1'])
    assert.equal((await get(api, IMPORTS)).status, 404)
    const list = await get(api, IMPORTS.replace('v1beta1', 'v1alpha1'))
    assert.deepEqual([list.status, names(list)], [200, []], 'the objects went with their CRD')
  })

  withApi('serves one object in every version of its CRD', async (api) => {
    await api.apply(serviceImport('a'))
    const { json } = await get(api, IMPORTS.replace('v1beta1', 'v1alpha1'))
    assert.equal(json.apiVersion, 'multicluster.x-k8s.io/v1alpha1')
    assert.equal(json.items[0]!.apiVersion, 'multicluster.x-k8s.io/v1alpha1')
  })
})

describe('objects', () => {
  withApi('have the metadata of real ones, and keep their identity when they change', async (api) => {
    await api.apply(serviceImport('a'))
    const first = (await get(api, IMPORTS)).json.items[0]!.metadata
    assert.match(String(first['uid']), /^[0-9a-f-]{36}$/)
    assert.match(String(first['creationTimestamp']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    assert.ok(Array.isArray(first['managedFields']))
    await api.apply(serviceImport('a', '10.0.0.2'))
    const second = (await get(api, IMPORTS)).json.items[0]!.metadata
    assert.equal(second['uid'], first['uid'])
    assert.equal(second['generation'], 2)
    assert.ok(Number(second['resourceVersion']) > Number(first['resourceVersion']))
  })

  withApi('keep their version when nothing changes', async (api) => {
    await api.apply(serviceImport('a'))
    const version = api.resourceVersion
    await api.apply(serviceImport('a'))
    assert.equal(api.resourceVersion, version)
  })

  withApi('share one growing version over all kinds', async (api) => {
    await api.apply(serviceImport('a'))
    await api.apply(slice('s', {}))
    await api.remove('ServiceImport', 'demo', 'a')
    assert.equal((await get(api, IMPORTS)).json.metadata.resourceVersion, String(api.resourceVersion))
    assert.equal((await get(api, SLICES)).json.items[0]!.metadata['resourceVersion'], String(api.resourceVersion - 1))
  })

  withApi('are found by name, or are NotFound with a Status', async (api) => {
    await api.apply(serviceImport('a'))
    const path = '/apis/multicluster.x-k8s.io/v1beta1/namespaces/demo/serviceimports'
    assert.equal((await get(api, `${path}/a`)).json.kind, 'ServiceImport')
    const missing = await get(api, `${path}/b`)
    assert.deepEqual([missing.status, missing.json.kind, missing.json.reason], [404, 'Status', 'NotFound'])
  })
})

describe('lists', () => {
  withApi('of built-in kinds omit apiVersion and kind of their items, of custom ones have both', async (api) => {
    await api.applyMany([serviceImport('a'), slice('s', {})])
    const [imports, slices] = [await get(api, IMPORTS), await get(api, SLICES)]
    assert.equal(imports.json.kind, 'ServiceImportList')
    assert.equal(imports.json.items[0]!.kind, 'ServiceImport')
    assert.equal(slices.json.kind, 'EndpointSliceList')
    assert.equal(slices.json.items[0]!.kind, undefined)
  })

  withApi('are of one namespace or of all, in order', async (api) => {
    await api.applyMany([serviceImport('b'), serviceImport('a'), serviceImport('c', '10.0.0.3', 'alpha')])
    assert.deepEqual(names(await get(api, IMPORTS)), ['c', 'a', 'b'])
    const one = '/apis/multicluster.x-k8s.io/v1beta1/namespaces/demo/serviceimports'
    assert.deepEqual(names(await get(api, one)), ['a', 'b'])
  })

  const selectors = [
    { selector: SERVICE, finds: ['one', 'two'] },
    { selector: `!${SERVICE}`, finds: ['none'] },
    { selector: `${SERVICE}=one`, finds: ['one'] },
    { selector: `${SERVICE}==one`, finds: ['one'] },
    { selector: `${SERVICE}!=one`, finds: ['none', 'two'] },
    { selector: `${SERVICE} in (one, two),tier=db`, finds: ['two'] },
    { selector: `${SERVICE} notin (one)`, finds: ['none', 'two'] },
  ]
  for (const { selector, finds } of selectors) {
    withApi(`select by ${selector}`, async (api) => {
      await api.applyMany([slice('one', { [SERVICE]: 'one' }), slice('two', { [SERVICE]: 'two', tier: 'db' })])
      await api.apply(slice('none', { tier: 'web' }))
      const list = await get(api, `${SLICES}?labelSelector=${encodeURIComponent(selector)}`)
      assert.deepEqual(names(list), finds)
    })
  }

  withApi('refuse a selector that is none', async (api) => {
    const { status, json } = await get(api, `${SLICES}?labelSelector=${encodeURIComponent('a in b')}`)
    assert.deepEqual([status, json.reason], [400, 'BadRequest'])
  })

  withApi('come in pages that show one state, whatever happens between them', async (api) => {
    await api.applyMany(['a', 'b', 'c', 'd', 'e'].map((name) => serviceImport(name)))
    const first = await get(api, `${IMPORTS}?limit=2`)
    assert.deepEqual(names(first), ['a', 'b'])
    assert.equal(first.json.metadata.remainingItemCount, 3)
    await api.remove('ServiceImport', 'demo', 'd')
    await api.apply(serviceImport('bb'))
    await api.apply(serviceImport('e', '10.0.0.9'))
    const second = await get(api, `${IMPORTS}?limit=2&continue=${first.json.metadata.continue}`)
    assert.deepEqual(names(second), ['c', 'd'])
    assert.equal(second.json.metadata.resourceVersion, first.json.metadata.resourceVersion)
    const third = await get(api, `${IMPORTS}?limit=2&continue=${second.json.metadata.continue}`)
    assert.deepEqual(third.json.items[0]!['spec'], serviceImport('e')['spec'])
    assert.equal(third.json.metadata.continue, '')
  })

  withApi('say nothing of what remains when they select', async (api) => {
    await api.applyMany([slice('a', { x: 'y' }), slice('b', { x: 'y' })])
    assert.equal((await get(api, `${SLICES}?limit=1&labelSelector=x`)).json.metadata.remainingItemCount, undefined)
  })

  for (const how of ['compact', 'expire'] as const) {
    withApi(`expire with their continue tokens (${how}), and offer an inconsistent rest`, async (api) => {
      await api.applyMany(['a', 'b', 'c'].map((name) => serviceImport(name)))
      const first = await get(api, `${IMPORTS}?limit=1`)
      await api.apply(serviceImport('d'))
      if (how === 'compact') api.compact()
      else api.faults.expireContinueTokens()
      const second = await get(api, `${IMPORTS}?limit=1&continue=${first.json.metadata.continue}`)
      assert.deepEqual([second.status, second.json.code, second.json.reason], [410, 410, 'Expired'])
      const rest = await get(api, `${IMPORTS}?continue=${second.json.metadata.continue}`)
      assert.deepEqual(names(rest), ['b', 'c', 'd'])
    })
  }

  withApi('are compressed for those who take it, when they are big', async (api) => {
    await api.applyMany(Array.from({ length: 400 }, (_, i) => serviceImport(`import-${i}`)))
    const small = await get(api, `${IMPORTS}?limit=1`)
    assert.equal(small.headers.get('content-encoding'), null)
    const big = await get(api, IMPORTS)
    assert.deepEqual([big.headers.get('content-encoding'), big.json.items.length], ['gzip', 400])
    assert.ok(api.requests.at(-1)!.bytes < JSON.stringify(big.json).length / 4)
    const plain = await get(api, IMPORTS, { 'accept-encoding': 'identity' })
    assert.deepEqual([plain.headers.get('content-encoding'), plain.json.items.length], [null, 400])
    api.faults.cutList(399)
    await assert.rejects(get(api, IMPORTS), TypeError)
    api.faults.pace = { chunkOctets: 1000, everyMs: 0 }
    assert.equal((await get(api, IMPORTS)).json.items.length, 400)
  })

  withApi('ignore the limit for version 0, as the watch cache does', async (api) => {
    await api.applyMany(['a', 'b', 'c'].map((name) => serviceImport(name)))
    assert.equal((await get(api, `${IMPORTS}?limit=1&resourceVersion=0`)).json.items.length, 3)
  })

  withApi('show an exact version, until it is compacted', async (api) => {
    await api.apply(serviceImport('a'))
    const then = api.resourceVersion
    await api.apply(serviceImport('b'))
    const exact = `${IMPORTS}?resourceVersion=${then}&resourceVersionMatch=Exact`
    assert.deepEqual(names(await get(api, exact)), ['a'])
    assert.deepEqual(names(await get(api, `${IMPORTS}?resourceVersion=${then}`)), ['a', 'b'])
    api.compact()
    assert.equal((await get(api, exact)).status, 410)
    assert.deepEqual(names(await get(api, `${IMPORTS}?resourceVersion=${then}`)), ['a', 'b'])
  })

  withApi('cannot be from the future', async (api) => {
    const { status, json } = await get(api, `${IMPORTS}?resourceVersion=${api.resourceVersion + 1}`)
    assert.deepEqual([status, json.reason], [504, 'Timeout'])
  })

  for (const query of ['limit=x', 'resourceVersion=x', 'continue=x', 'fieldSelector=metadata.name%3Da']) {
    withApi(`refuse ${query}`, async (api) => assert.equal((await get(api, `${IMPORTS}?${query}`)).status, 400))
  }
})

describe('watches', () => {
  withApi('tell what happens after a version, missed and live', async (api) => {
    await api.apply(serviceImport('a'))
    const from = api.resourceVersion
    await api.apply(serviceImport('b'))
    const { events, told, close } = await watch(api, `${IMPORTS}?watch=true&resourceVersion=${from}`)
    await api.apply(serviceImport('a', '10.0.0.2'))
    await api.remove('ServiceImport', 'demo', 'b')
    await until(() => events.length === 3)
    assert.deepEqual(told(), ['ADDED b', 'MODIFIED a', 'DELETED b'])
    assert.equal(
      events[2]!.object.metadata['resourceVersion'],
      String(api.resourceVersion),
      'the version of the deletion',
    )
    close()
    await until(() => api.watches() === 0)
  })

  for (const query of ['', '&resourceVersion=0']) {
    withApi(`begin with what there is when asked with "${query}"`, async (api) => {
      await api.apply(serviceImport('a'))
      const { told } = await watch(api, `${IMPORTS}?watch=1${query}`)
      await api.apply(serviceImport('b'))
      await until(() => told().length === 2)
      assert.deepEqual(told(), ['ADDED a', 'ADDED b'])
    })
  }

  withApi('tell an object that leaves the selection as deleted, in its last selected state', async (api) => {
    await api.apply(slice('s', { [SERVICE]: 'a' }))
    const query = `?watch=true&resourceVersion=${api.resourceVersion}&labelSelector=${encodeURIComponent(SERVICE)}`
    const { events, told } = await watch(api, SLICES + query)
    await api.apply(slice('s', {}))
    const left = api.resourceVersion
    await api.apply(slice('other', {}))
    await api.apply(slice('s', { [SERVICE]: 'b' }))
    await until(() => events.length === 2)
    assert.deepEqual(told(), ['DELETED s', 'ADDED s'])
    assert.deepEqual(events[0]!.object.metadata['labels'], { [SERVICE]: 'a' })
    assert.equal(events[0]!.object.metadata['resourceVersion'], String(left))
  })

  withApi('are of one namespace', async (api) => {
    const path = '/apis/multicluster.x-k8s.io/v1beta1/namespaces/demo/serviceimports'
    const { told } = await watch(api, `${path}?watch=true`)
    await api.applyMany([serviceImport('x', '10.0.0.1', 'other'), serviceImport('mine')])
    await until(() => told().length > 0)
    assert.deepEqual(told(), ['ADDED mine'])
  })

  withApi('from a compacted version get an ERROR event with 410 in a 200, and end', async (api) => {
    const from = api.resourceVersion
    await api.apply(serviceImport('a'))
    api.compact()
    const { status, events, ending } = await watch(api, `${IMPORTS}?watch=true&resourceVersion=${from}`)
    await until(() => ending() === 'ended')
    assert.equal(status, 200)
    assert.deepEqual([events[0]!.type, events[0]!.object.code, events[0]!.object.reason], ['ERROR', 410, 'Expired'])
  })

  withApi('from the version of the compaction go on', async (api) => {
    await api.apply(serviceImport('a'))
    api.compact()
    const { told } = await watch(api, `${IMPORTS}?watch=true&resourceVersion=${api.resourceVersion}`)
    await api.apply(serviceImport('b'))
    await until(() => told().length === 1)
    assert.deepEqual(told(), ['ADDED b'])
  })

  withApi('send bookmarks to those who allow them, and to nobody else', async (api) => {
    const from = `&resourceVersion=${api.resourceVersion}`
    const allowing = await watch(api, `${SLICES}?watch=true&allowWatchBookmarks=true${from}`)
    const plain = await watch(api, `${SLICES}?watch=true${from}`)
    api.passTime()
    api.bookmark()
    await api.apply(slice('s', {}))
    await until(() => allowing.events.length === 2 && plain.events.length === 1)
    const { type, object } = allowing.events[0]!
    assert.deepEqual(
      [type, object.kind, Number(object.metadata['resourceVersion'])],
      ['BOOKMARK', 'EndpointSlice', 201],
    )
    assert.equal(object.metadata['annotations'], undefined)
  })

  withApi(
    'send bookmarks by themselves',
    async (api) => {
      const { told } = await watch(api, `${SLICES}?watch=true&allowWatchBookmarks=true`)
      api.passTime()
      await until(() => told().length >= 2)
      assert.deepEqual(new Set(told()), new Set(['BOOKMARK']))
    },
    { bookmarkEveryMs: 5 },
  )

  withApi('end with their CRD, after the deletion of every object', async (api) => {
    await api.apply(serviceImport('a'))
    const { told, ending } = await watch(api, `${IMPORTS}?watch=true`)
    const slices = await watch(api, `${SLICES}?watch=true`)
    await api.removeCrd()
    await until(() => ending() === 'ended')
    assert.deepEqual(told(), ['ADDED a', 'DELETED a'])
    assert.equal(slices.ending(), 'open')
  })
})

describe('streaming lists', () => {
  const STREAM = 'watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan'

  withApi('end their initial events with an annotated bookmark and go on as a watch', async (api) => {
    await api.applyMany([slice('a', { x: '1' }), slice('b', {}), slice('c', { x: '1' })])
    const { events, told } = await watch(api, `${SLICES}?${STREAM}&labelSelector=x`)
    await until(() => events.length === 3)
    assert.deepEqual(told(), ['ADDED a', 'ADDED c', 'BOOKMARK'])
    assert.deepEqual(events[2]!.object.metadata['annotations'], { 'k8s.io/initial-events-end': 'true' })
    assert.equal(events[2]!.object.metadata['resourceVersion'], String(api.resourceVersion))
    await api.apply(slice('d', { x: '1' }))
    await until(() => events.length === 4)
    assert.equal(told()[3], 'ADDED d')
  })

  withApi(
    'are 422 Invalid where the server does not know them',
    async (api) => {
      const { status, json } = await get(api, `${SLICES}?${STREAM}`)
      assert.deepEqual([status, json.kind, json.reason], [422, 'Status', 'Invalid'])
    },
    { hasWatchList: false },
  )

  withApi('are 422 Invalid without resourceVersionMatch=NotOlderThan', async (api) => {
    assert.equal((await get(api, `${SLICES}?watch=true&sendInitialEvents=true`)).status, 422)
    assert.equal((await get(api, `${SLICES}?watch=true&resourceVersionMatch=NotOlderThan`)).status, 422)
    assert.equal((await get(api, `${SLICES}?sendInitialEvents=true`)).status, 422)
  })
})

describe('faults', () => {
  for (const code of [401, 403, 429, 500, 503] as const) {
    withApi(`answer ${code} with a Status as often as asked`, async (api) => {
      api.faults.refuse(code, { resource: 'endpointslices', times: 1, retryAfterSeconds: 2 })
      assert.equal((await get(api, IMPORTS)).status, 200)
      const { status, headers, json } = await get(api, SLICES)
      assert.deepEqual([status, json.kind, json.code, headers.get('retry-after')], [code, 'Status', code, '2'])
      assert.equal((await get(api, SLICES)).status, 200)
    })
  }

  withApi('refuse until lifted', async (api) => {
    const lift = api.faults.refuse(503, { verb: 'list' })
    assert.equal((await get(api, SLICES)).status, 503)
    assert.equal((await get(api, '/apis')).status, 200)
    assert.equal((await get(api, SLICES)).status, 503)
    lift()
    assert.equal((await get(api, SLICES)).status, 200)
  })

  withApi(
    'let in accepted tokens alone',
    async (api) => {
      assert.equal((await get(api, SLICES)).status, 403)
      assert.equal((await get(api, SLICES, { authorization: 'Bearer old' })).status, 200)
      api.acceptTokens(['new'])
      const { status, json } = await get(api, SLICES, { authorization: 'Bearer old' })
      assert.deepEqual([status, json.reason], [401, 'Unauthorized'])
      assert.equal((await get(api, SLICES, { authorization: 'Bearer new' })).status, 200)
    },
    { tokens: ['old'] },
  )

  withApi('cut a list in the middle of an item, once', async (api) => {
    await api.applyMany(['a', 'b', 'c'].map((name) => serviceImport(name)))
    api.faults.cutList(1, { resource: 'serviceimports' })
    await assert.rejects(get(api, IMPORTS), /terminated/)
    assert.deepEqual(names(await get(api, IMPORTS)), ['a', 'b', 'c'])
  })

  withApi('put chunk boundaries in the middle of lines', async (api) => {
    await api.applyMany(['a', 'b', 'c'].map((name) => serviceImport(name)))
    api.faults.pace = { chunkOctets: 100, everyMs: 1 }
    const { told, chunks } = await watch(api, `${IMPORTS}?watch=true`)
    await until(() => told().length === 3)
    assert.ok(chunks.length > 3 && chunks.some((chunk) => !chunk.endsWith('\n')))
    assert.deepEqual(names(await get(api, IMPORTS)), ['a', 'b', 'c'])
  })

  withApi('send events twice', async (api) => {
    api.faults.duplicateEvents = true
    const { told } = await watch(api, `${IMPORTS}?watch=true`)
    await api.apply(serviceImport('a'))
    await until(() => told().length === 2)
    assert.deepEqual(told(), ['ADDED a', 'ADDED a'])
  })

  const breaks = [
    { how: 'end', ending: 'ended', last: 'ADDED a' },
    { how: 'cut', ending: 'broken', last: 'ADDED a' },
    { how: 'reset', ending: 'broken', last: 'ADDED a' },
    { how: 'expired', ending: 'ended', last: 'ERROR' },
  ] as const
  for (const { how, ending, last } of breaks) {
    withApi(`break watches: ${how}`, async (api) => {
      await api.apply(serviceImport('a'))
      const broken = await watch(api, `${IMPORTS}?watch=true`)
      const other = await watch(api, `${SLICES}?watch=true`)
      await until(() => broken.told().length === 1)
      api.cutWatches(how, 'serviceimports')
      await until(() => broken.ending() !== 'open')
      assert.deepEqual([broken.ending(), broken.told().at(-1)], [ending, last])
      assert.equal(other.ending(), 'open')
      assert.equal(api.watches(), 1)
    })
  }

  withApi('leave watches half open: silent for ever, never closed', async (api) => {
    const silent = await watch(api, `${IMPORTS}?watch=true&timeoutSeconds=1`)
    api.cutWatches('silent')
    const next = await watch(api, `${IMPORTS}?watch=true&timeoutSeconds=1`)
    await api.apply(serviceImport('a'))
    await until(() => next.ending() === 'ended')
    assert.deepEqual([silent.ending(), silent.told(), next.told()], ['open', [], ['ADDED a']])
  })

  withApi('hold one kind back while the other goes on', async (api) => {
    const imports = await watch(api, `${IMPORTS}?watch=true`)
    const slices = await watch(api, `${SLICES}?watch=true`)
    const release = api.faults.hold({ resource: 'serviceimports' })
    await api.applyMany([serviceImport('a'), slice('s', {})])
    await until(() => slices.told().length === 1)
    assert.deepEqual(imports.told(), [])
    release()
    await until(() => imports.told().length === 1)
  })
})

describe('the request log', () => {
  withApi('has method, path with query, user agent, status and octets', async (api) => {
    const { headers } = await get(api, `${SLICES}?limit=1`, { 'user-agent': 'me/1' })
    assert.equal(headers.get('content-type'), 'application/json')
    const entry = api.requests.at(-1)!
    const { method, path, userAgent, status } = entry
    assert.deepEqual(
      { method, path, userAgent, status },
      { method: 'GET', path: `${SLICES}?limit=1`, userAgent: 'me/1', status: 200 },
    )
    assert.ok(entry.bytes > 50)
    await until(() => !entry.isOpen)
  })
})

describe('the kubeconfig', () => {
  let api: FakeApiServer
  before(async () => void (api = await startFakeApiServer()))
  after(() => api.stop())

  test('names the server and the token file', async () => {
    const text = await readFile(await api.kubeconfig({ tokenFile: '/run/token' }), 'utf8')
    const config = parse(text) as { clusters: { cluster: { server: string } }[]; users: { user: object }[] }
    assert.equal(config.clusters[0]!.cluster.server, api.url)
    assert.deepEqual(config.users[0]!.user, { tokenFile: '/run/token' })
  })
})
