import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { type ApiScene, type ApiUnderTest, behavesLikeAnApiServer, follow, followUntilSynced } from './api-suite.ts'
import { ScriptedApiServer, type ScriptedApiServerOptions, type SeenRequest } from './scripted-api-server.ts'
import { clusterSetIp, headless, slice, until } from './support.ts'

/** As kubectl writes it. A token file is beside it. */
function kubeconfigOf(server: ScriptedApiServer, hasTokenFile = false): string {
  const user = hasTokenFile ? '{tokenFile: token}' : '{token: secret}'
  return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "${server.url}"}}]
users: [{name: u, user: ${user}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
}

async function startFake(options?: ScriptedApiServerOptions): Promise<ApiUnderTest> {
  const server = new ScriptedApiServer(options)
  await server.start()
  return {
    kubeconfig: () => kubeconfigOf(server),
    put: (object) => Promise.resolve(server.put(object)),
    delete: (object) => Promise.resolve(server.delete(object)),
    serveImports: (versions) => {
      server.importVersions = versions
      return Promise.resolve()
    },
    stop: () => server.stop(),
  }
}

behavesLikeAnApiServer('a server with streaming lists', () => startFake())
behavesLikeAnApiServer('a server without streaming lists', () => startFake({ hasStreamingList: false }))

async function serverWith(t: TestContext, options: ScriptedApiServerOptions = {}): Promise<ScriptedApiServer> {
  const server = new ScriptedApiServer(options)
  await server.start()
  t.after(() => server.stop())
  return server
}

const isListOf = (resource: string) => (seen: SeenRequest) => seen.path.endsWith(`/${resource}`) && !seen.isWatch
const isWatchOf = (resource: string) => (seen: SeenRequest) => seen.path.endsWith(`/${resource}`) && seen.isWatch
const startsHere = (seen: SeenRequest) => seen.query.get('resourceVersion') === '0'

/** Fails the test should a name ever be missing while `during` runs. */
async function neverDenied(scene: ApiScene, service: string, during: () => Promise<void>): Promise<void> {
  let isDenied = false
  const look = setInterval(() => {
    if (scene.addressesOf(service) === undefined) isDenied = true
  }, 1)
  try {
    await during()
  } finally {
    clearInterval(look)
  }
  assert.equal(isDenied, false, `${service} was denied`)
}

const connected = (scene: ApiScene, server: ScriptedApiServer): Promise<void> =>
  until('both watches are open', () => scene.controlPlane.status().connected && server.watcherCount === 2)

suite('the zone survives an API server that', () => {
  test('forgot the version to resume from: what vanished meanwhile is removed, what stayed is never denied', async (t) => {
    const server = await serverWith(t)
    for (const name of ['stays', 'goes']) server.put(clusterSetIp(name, '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    await connected(scene, server)
    await neverDenied(scene, 'stays', async () => {
      // The resume is refused until the history is gone, or it would hear of the deletion.
      server.next({ matches: (seen) => seen.isWatch, status: 0, times: 2 })
      server.cutWatches()
      await until('they are cut', () => server.watcherCount === 0)
      server.delete(clusterSetIp('goes', '10.0.0.1'))
      server.put(clusterSetIp('comes', '10.0.0.2'))
      server.forgetHistory()
      await until('what vanished is removed', () => scene.addressesOf('goes') === undefined)
    })
    assert.deepEqual(scene.addressesOf('comes'), ['10.0.0.2'])
    const { relists, watchErrors } = scene.controlPlane.status()
    assert.ok(relists >= 1)
    assert.ok((watchErrors.get('410') ?? 0) >= 1)
  })

  test('answers a resumed watch with HTTP 410', async (t) => {
    const server = await serverWith(t)
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    await connected(scene, server)
    server.next({ matches: (seen) => isWatchOf('serviceimports')(seen) && !startsHere(seen), status: 410 })
    server.endWatches()
    await until('it was listed again', () => scene.controlPlane.status().relists === 1)
    await connected(scene, server)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
  })

  for (const cutAfterOctets of [0, 1, 200, 900]) {
    test(`cuts the first list after ${cutAfterOctets} octets`, async (t) => {
      const server = await serverWith(t, { hasStreamingList: false })
      for (let i = 0; i < 20; i++) server.put(clusterSetIp(`s${i}`, '10.0.0.1'))
      server.next({ matches: isListOf('serviceimports'), cutAfterOctets })
      const scene = await follow(t, kubeconfigOf(server))
      await until('the zone is synced', () => scene.zone.state === 'synced')
      assert.equal(scene.controlPlane.status().objects.serviceImport, 20)
    })

    test(`cuts the first streaming list after ${cutAfterOctets} octets`, async (t) => {
      const server = await serverWith(t)
      for (let i = 0; i < 20; i++) server.put(clusterSetIp(`s${i}`, '10.0.0.1'))
      server.next({ matches: isWatchOf('serviceimports'), cutAfterOctets })
      const scene = await follow(t, kubeconfigOf(server))
      await until('the zone is synced', () => scene.zone.state === 'synced')
      assert.equal(scene.controlPlane.status().objects.serviceImport, 20)
    })
  }

  test('lets a page token expire in the middle of a list', async (t) => {
    const server = await serverWith(t, { hasStreamingList: false })
    for (let i = 0; i < 25; i++) server.put(clusterSetIp(`s${i}`, '10.0.0.1'))
    server.next({ matches: (seen) => seen.query.has('continue'), status: 410 })
    const scene = await followUntilSynced(t, kubeconfigOf(server), { limits: { pageObjects: 10 } })
    assert.equal(scene.controlPlane.status().objects.serviceImport, 25)
    const lists = server.requests.filter(isListOf('serviceimports'))
    // From its cache, refused at the second page, and then once more from the beginning, as of now.
    const asked = lists.map(({ query }) => (query.has('continue') ? 'next' : (query.get('resourceVersion') ?? 'now')))
    assert.deepEqual(asked, ['0', 'next', 'now', 'next', 'next'])
  })

  test('cuts the watch in the middle of a line', async (t) => {
    const server = await serverWith(t)
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    await connected(scene, server)
    server.next({ matches: (seen) => isWatchOf('serviceimports')(seen) && !startsHere(seen), cutAfterOctets: 100 })
    server.endWatches()
    await connected(scene, server)
    await neverDenied(scene, 'web', async () => {
      server.put(clusterSetIp('new', '10.0.0.2'))
      await until('the event arrives after all', () => scene.addressesOf('new') !== undefined)
    })
    assert.equal(scene.controlPlane.status().relists, 0)
  })

  test('ends its watches and is resumed where it was, without a list', async (t) => {
    const server = await serverWith(t)
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server), { limits: { shortWatchMs: 0 } })
    await connected(scene, server)
    server.endWatches()
    await until('they ended', () => server.watcherCount === 0)
    server.delete(clusterSetIp('web', '10.0.0.1'))
    await until('the deletion meanwhile is heard of', () => scene.addressesOf('web') === undefined)
    assert.equal(scene.controlPlane.status().relists, 0)
  })

  test('is resumed from its bookmarks, so that old history is not needed', async (t) => {
    const server = await serverWith(t)
    const scene = await followUntilSynced(t, kubeconfigOf(server), { limits: { shortWatchMs: 0 } })
    await connected(scene, server)
    // Many changes of objects that this watch does not match make its last event's version old.
    const local = slice('local', 'x', [])
    for (let i = 0; i < 50; i++) server.put({ ...local, metadata: { ...local.metadata, labels: {} } })
    server.sendBookmarks()
    server.put(clusterSetIp('marker', '10.0.0.9'))
    await until('the bookmarks are read', () => scene.addressesOf('marker') !== undefined)
    server.endWatches()
    await connected(scene, server)
    const last = server.requests.findLast(isWatchOf('endpointslices'))!
    assert.ok(Number(last.query.get('resourceVersion')) >= 1050)
  })

  test('sends its lists slowly and its events twice', async (t) => {
    const server = await serverWith(t, { hasStreamingList: false })
    server.put(headless('db'))
    server.put(slice('db-1', 'db', ['10.1.0.1']))
    server.next({ matches: isListOf('endpointslices'), chunkOctets: 7 })
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    await connected(scene, server)
    assert.deepEqual(scene.addressesOf('db'), ['10.1.0.1'])
    const { serial } = scene.zone
    const object = { ...slice('db-1', 'db', ['10.1.0.1']), metadata: { ...slice('db-1', 'db', []).metadata } }
    for (const type of ['ADDED', 'MODIFIED', 'MODIFIED']) server.send('endpointslices', { type, object })
    server.put(clusterSetIp('marker', '10.0.0.9'))
    await until('the events are read', () => scene.addressesOf('marker') !== undefined)
    assert.deepEqual(scene.addressesOf('db'), ['10.1.0.1'])
    assert.equal(scene.zone.serial - serial, 1)
  })

  test('sends what no API server should', async (t) => {
    const server = await serverWith(t)
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    await connected(scene, server)
    for (const event of [
      null,
      5,
      {},
      { type: 'ADDED' },
      { type: 'DELETED', object: {} },
      { type: 'NEW', object: [] },
    ]) {
      server.send('serviceimports', event)
    }
    server.put(clusterSetIp('new', '10.0.0.2'))
    await until('the watch goes on', () => scene.addressesOf('new') !== undefined)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
  })

  for (const status of [401, 403, 429, 500, 503]) {
    test(`answers ${status} for a while`, async (t) => {
      const server = await serverWith(t)
      server.put(clusterSetIp('web', '10.0.0.1'))
      server.next({ matches: isWatchOf('serviceimports'), status })
      server.next({ matches: isWatchOf('endpointslices'), status: 0 })
      const scene = await follow(t, kubeconfigOf(server))
      await until('the zone is synced', () => scene.zone.state === 'synced')
      const { watchErrors } = scene.controlPlane.status()
      assert.equal(watchErrors.get(String(status)), 1)
      assert.ok(scene.log.some(({ event, fields }) => event === 'watch-failed' && fields['code'] === String(status)))
    })
  }

  test('says when to come back', async (t) => {
    const server = await serverWith(t)
    server.next({ matches: isWatchOf('serviceimports'), status: 429, retryAfterSeconds: 2 })
    const beganMs = performance.now()
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    assert.ok(performance.now() - beganMs >= 2000)
    assert.equal(scene.controlPlane.status().watchErrors.get('429'), 1)
  })

  test('says nothing at all: the connection is given up and a new one works', async (t) => {
    const server = await serverWith(t)
    server.next({ matches: isWatchOf('serviceimports'), isSilent: true })
    const scene = await followUntilSynced(t, kubeconfigOf(server), { limits: { headersTimeoutMs: 200 } })
    assert.equal(scene.controlPlane.status().watchErrors.get('HEADERS_TIMEOUT'), 1)
  })

  test('fell silent behind a half-open connection', async (t) => {
    const server = await serverWith(t)
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server), { limits: { listIdleMs: 300, bookmarkIdleMs: 300 } })
    // The server's silence is real: it sends neither events nor bookmarks.
    await until('the silence is noticed', () => (scene.controlPlane.status().watchErrors.get('IDLE') ?? 0) > 0)
    server.put(clusterSetIp('new', '10.0.0.2'))
    await until('the next watch hears what was missed', () => scene.addressesOf('new') !== undefined)
    assert.equal(scene.controlPlane.status().relists, 0)
  })

  test('wants a token that was rotated in its file', async (t) => {
    const server = await serverWith(t)
    server.tokens = ['first']
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server, true), { token: 'first' })
    await connected(scene, server)
    server.tokens = ['second']
    server.endWatches()
    await until('the old token is refused', () => (scene.controlPlane.status().watchErrors.get('401') ?? 0) > 0)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
    await writeFile(join(scene.directory, 'token'), 'second\n')
    server.put(clusterSetIp('web', '10.0.0.2'))
    await until('the new token is used', () => scene.addressesOf('web')?.[0] === '10.0.0.2')
  })

  test('is away at the start, and later for a while', async (t) => {
    const server = new ScriptedApiServer()
    await server.start()
    const { port } = server
    const kubeconfig = kubeconfigOf(server)
    server.put(clusterSetIp('web', '10.0.0.1'))
    await server.stop()
    const scene = await follow(t, kubeconfig)
    await until('its absence is known', () => (scene.controlPlane.status().watchErrors.get('ECONNREFUSED') ?? 0) > 1)
    assert.equal(scene.zone.state, 'unsynced')
    const back = new ScriptedApiServer()
    back.put(clusterSetIp('web', '10.0.0.1'))
    await back.start(port)
    t.after(() => back.stop())
    await until('the zone is synced', () => scene.zone.state === 'synced')
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
  })

  test('was restored to an older state', async (t) => {
    const server = await serverWith(t)
    server.put(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, kubeconfigOf(server))
    await connected(scene, server)
    // The versions we know are beyond what it has: resumes and relists are too new until the present state is asked for.
    const isTooNew = (seen: SeenRequest): boolean =>
      seen.path.endsWith('/serviceimports') && (seen.query.get('resourceVersion') ?? '') !== ''
    server.next({ matches: isTooNew, status: 410 })
    server.next({ matches: isTooNew, status: 504 })
    server.endWatches()
    await until('the present state is asked for', () =>
      server.requests.some((seen) => isWatchOf('serviceimports')(seen) && seen.query.get('resourceVersion') === ''),
    )
    await connected(scene, server)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
  })
})

suite('the zone at scale', () => {
  for (const hasStreamingList of [true, false]) {
    test(`10,000 services and 100,000 endpoints arrive ${hasStreamingList ? 'as a stream' : 'in pages'}`, async (t) => {
      const server = await serverWith(t, { hasStreamingList, historyMax: 100 })
      for (let i = 0; i < 5_000; i++) {
        server.put(clusterSetIp(`v${i}`, `10.${i >> 8}.${i & 255}.1`))
        server.put(headless(`h${i}`))
        const addresses = Array.from({ length: 20 }, (_, j) => `10.${100 + j}.${i >> 8}.${i & 255}`)
        server.put(slice(`h${i}-1`, `h${i}`, addresses))
      }
      const scene = await follow(t, kubeconfigOf(server))
      await until('the zone is synced', () => scene.zone.state === 'synced', 60_000)
      assert.deepEqual(scene.controlPlane.status().objects, { serviceImport: 10_000, endpointSlice: 5_000 })
      assert.equal(scene.zone.serviceCount, 10_000)
      for (const i of [0, 1, 2_499, 4_999]) {
        assert.deepEqual(scene.addressesOf(`v${i}`), [`10.${i >> 8}.${i & 255}.1`])
        assert.equal(scene.addressesOf(`h${i}`)?.length, 20)
      }
    })
  }
})
