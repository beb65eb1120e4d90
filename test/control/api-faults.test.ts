/**
 * What an API server may do to us, on demand: only the in-repo one can be made to. No moment in which a known name is
 * denied, and no list where a resumed watch would do.
 */

import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { WATCH_LIMITS } from '../../src/control/watch.ts'
import { relativeName } from '../../src/dns/wire/name.ts'
import type { RequestLogEntry } from '../common/api-server/body-writer.ts'
import type { ResourceName } from '../common/api-server/resources.ts'
import { type FakeApiServer, type FakeApiServerOptions, startFakeApiServer } from '../common/fake-api-server.ts'
import { type ApiScene, follow, followUntilSynced, neverDenied } from './api-suite.ts'
import { clusterSetIp, headless, slice, until } from './support.ts'

async function serverWith(t: TestContext, options: FakeApiServerOptions = {}): Promise<FakeApiServer> {
  const server = await startFakeApiServer(options)
  t.after(() => server.stop())
  return server
}

/** The requests for a collection, oldest first. */
function requestsOf(server: FakeApiServer, resource: ResourceName): { isWatch: boolean; query: URLSearchParams }[] {
  return server.requests
    .map(({ path }: RequestLogEntry) => new URL(path, 'http://localhost'))
    .filter(({ pathname }) => pathname.endsWith(`/${resource}`))
    .map(({ searchParams }) => ({ isWatch: searchParams.has('watch'), query: searchParams }))
}

const connected = (scene: ApiScene, server: FakeApiServer): Promise<void> =>
  until('both watches are open', () => scene.controlPlane.status().connected && server.watches() === 2)

const errorsOf = (scene: ApiScene, code: string): number => scene.controlPlane.status().watchErrors.get(code) ?? 0

/** Times that a test can wait for. */
const HASTE = { shortWatchMs: 0, resumeSpreadMs: 0 }

suite('the zone survives an API server that', () => {
  test('forgot the version to resume from: what vanished meanwhile is removed, what stayed is never denied', async (t) => {
    const server = await serverWith(t)
    for (const name of ['stays', 'goes']) await server.apply(clusterSetIp(name, '10.0.0.1'))
    const scene = await followUntilSynced(t, await server.kubeconfig())
    await connected(scene, server)
    await neverDenied(scene, 'stays', async () => {
      // The resume is refused until the history is gone, or it would hear of the deletion.
      const lift = server.faults.refuse(503, { verb: 'watch' })
      server.cutWatches('cut')
      await until('they are cut', () => server.watches() === 0)
      await server.remove('ServiceImport', 'demo', 'goes')
      await server.apply(clusterSetIp('comes', '10.0.0.2'))
      server.compact()
      lift()
      await until('what vanished is removed', () => scene.addressesOf('goes') === undefined)
    })
    await until('what came is there', () => scene.addressesOf('comes')?.[0] === '10.0.0.2')
    assert.ok(scene.controlPlane.status().relists >= 1)
    assert.ok(errorsOf(scene, '410') >= 1)
  })

  for (const [how, make] of [
    [
      'with HTTP 410',
      (server: FakeApiServer) => {
        server.faults.refuse(410, { verb: 'watch', resource: 'serviceimports', times: 1 })
        server.cutWatches('end', 'serviceimports')
      },
    ],
    ['within the watch', (server: FakeApiServer) => server.cutWatches('expired', 'serviceimports')],
  ] as const) {
    test(`says that the version expired, ${how}`, async (t) => {
      const server = await serverWith(t)
      await server.apply(clusterSetIp('web', '10.0.0.1'))
      const scene = await followUntilSynced(t, await server.kubeconfig())
      await connected(scene, server)
      await neverDenied(scene, 'web', async () => {
        make(server)
        await until('it was listed again', () => scene.controlPlane.status().relists === 1)
        await connected(scene, server)
      })
      assert.equal(errorsOf(scene, '410'), 1)
    })
  }

  for (const octets of [0, 1, 200, 900, 4_000]) {
    for (const hasWatchList of [true, false]) {
      test(`cuts the first ${hasWatchList ? 'streaming list' : 'list'} after ${octets} octets`, async (t) => {
        const server = await serverWith(t, { hasWatchList })
        for (let i = 0; i < 20; i++) await server.apply(clusterSetIp(`s${i}`, '10.0.0.1'))
        server.faults.cutBody(octets, { verb: hasWatchList ? 'watch' : 'list', resource: 'serviceimports' })
        const scene = await followUntilSynced(t, await server.kubeconfig())
        assert.equal(scene.controlPlane.status().objects.serviceImport, 20)
        const { watchErrors } = scene.controlPlane.status()
        assert.ok([...watchErrors.values()].length > 0, 'nobody noticed the cut')
      })
    }
  }

  test('learns to stream lists with an upgrade: asked again at a relist, though not at every one', async (t) => {
    for (const { passedMs, asked } of [
      { passedMs: 0, asked: ['stream', 'list', 'list'] },
      { passedMs: WATCH_LIMITS.streamRetryMs, asked: ['stream', 'list', 'stream'] },
    ]) {
      const server = await serverWith(t, { hasWatchList: false })
      await server.apply(clusterSetIp('web', '10.0.0.1'))
      let aheadMs = 0
      const nowMs = (): number => performance.now() + aheadMs
      const scene = await followUntilSynced(t, await server.kubeconfig(), { nowMs })
      await connected(scene, server)
      server.setWatchList(true)
      aheadMs = passedMs
      server.cutWatches('expired', 'serviceimports')
      await until('it was listed again', () => scene.controlPlane.status().relists === 1)
      await connected(scene, server)
      const lists = requestsOf(server, 'serviceimports').filter(
        ({ isWatch, query }) => !isWatch || query.has('sendInitialEvents'),
      )
      assert.deepEqual(
        lists.map(({ isWatch }) => (isWatch ? 'stream' : 'list')),
        asked,
      )
    }
  })

  test('cuts a packed list in its middle', async (t) => {
    const server = await serverWith(t, { hasWatchList: false })
    for (let i = 0; i < 600; i++) await server.apply(clusterSetIp(`s${i}`, '10.0.0.1'))
    server.faults.cutBody(3_000, { verb: 'list', resource: 'serviceimports' })
    const scene = await followUntilSynced(t, await server.kubeconfig())
    assert.equal(scene.controlPlane.status().objects.serviceImport, 600)
    assert.ok(server.requests.some(({ bytes, path }) => path.includes('serviceimports') && bytes === 3_000))
  })

  test('lets a page token expire in the middle of a list', async (t) => {
    const server = await serverWith(t, { hasWatchList: false })
    for (let i = 0; i < 25; i++) await server.apply(clusterSetIp(`s${i}`, '10.0.0.1'))
    // The first list is refused, so that the next one is of the present state, which comes in pages.
    server.faults.refuse(410, { verb: 'list', resource: 'serviceimports', times: 1 })
    const expire = setInterval(() => {
      const pages = requestsOf(server, 'serviceimports').filter(({ query }) => query.has('continue')).length
      if (pages === 1) server.faults.expireContinueTokens()
    }, 1)
    t.after(() => clearInterval(expire))
    server.faults.pace = { chunkOctets: 512, everyMs: 2 }
    const scene = await followUntilSynced(t, await server.kubeconfig(), { limits: { pageObjects: 10 } })
    assert.equal(scene.controlPlane.status().objects.serviceImport, 25)
    const lists = requestsOf(server, 'serviceimports').filter(({ isWatch }) => !isWatch)
    const asked = lists.map(({ query }) => (query.has('continue') ? 'next' : (query.get('resourceVersion') ?? 'now')))
    // From its cache, then of the present state, refused at a later page, and once more from the beginning.
    assert.deepEqual(asked, ['0', 'now', 'next', 'next', 'now', 'next', 'next'])
    assert.equal(errorsOf(scene, '410'), 2)
  })

  test('cuts the watch in the middle of a line', async (t) => {
    const server = await serverWith(t)
    await server.apply(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, await server.kubeconfig(), { limits: HASTE })
    await connected(scene, server)
    server.faults.cutBody(100, { verb: 'watch', resource: 'serviceimports' })
    server.cutWatches('end')
    await connected(scene, server)
    await neverDenied(scene, 'web', async () => {
      await server.apply(clusterSetIp('new', '10.0.0.2'))
      await until('the event arrives after all', () => scene.addressesOf('new') !== undefined)
    })
    assert.equal(scene.controlPlane.status().relists, 0)
  })

  for (const how of ['end', 'cut', 'reset'] as const) {
    test(`breaks its watches (${how}) and is resumed where it was, without a list`, async (t) => {
      const server = await serverWith(t)
      for (const name of ['web', 'stays']) await server.apply(clusterSetIp(name, '10.0.0.1'))
      const scene = await followUntilSynced(t, await server.kubeconfig(), { limits: HASTE })
      await connected(scene, server)
      await neverDenied(scene, 'stays', async () => {
        const lift = server.faults.hold({ verb: 'watch' })
        server.cutWatches(how)
        await server.remove('ServiceImport', 'demo', 'web')
        lift()
        await until('the deletion meanwhile is heard of', () => scene.addressesOf('web') === undefined)
      })
      assert.equal(scene.controlPlane.status().relists, 0)
    })
  }

  test('is resumed from its bookmarks, so that old history is not needed', async (t) => {
    const server = await serverWith(t)
    const scene = await followUntilSynced(t, await server.kubeconfig(), { limits: HASTE })
    await connected(scene, server)
    // Many changes of objects that nobody watches make the last event's version old.
    for (let i = 0; i < 50; i++) server.passTime()
    server.bookmark()
    await server.apply(clusterSetIp('marker', '10.0.0.9'))
    await until('the bookmarks are read', () => scene.addressesOf('marker') !== undefined)
    const before = requestsOf(server, 'endpointslices').length
    server.cutWatches('end')
    await until('it is resumed', () => requestsOf(server, 'endpointslices').length > before)
    const { query } = requestsOf(server, 'endpointslices').at(-1)!
    assert.equal(Number(query.get('resourceVersion')), server.resourceVersion - 1)
  })

  test('sends its lists slowly', async (t) => {
    for (const hasWatchList of [true, false]) {
      const server = await serverWith(t, { hasWatchList })
      await server.apply(headless('db'))
      await server.apply(slice('db-1', 'db', ['10.1.0.1']))
      server.faults.pace = { chunkOctets: 7, everyMs: 0 }
      const scene = await followUntilSynced(t, await server.kubeconfig())
      assert.deepEqual(scene.addressesOf('db'), ['10.1.0.1'])
    }
  })

  test('sends its events twice, and slowly', async (t) => {
    const server = await serverWith(t)
    server.faults.duplicateEvents = true
    const scene = await followUntilSynced(t, await server.kubeconfig())
    await connected(scene, server)
    server.faults.pace = { chunkOctets: 11, everyMs: 0 }
    await server.apply(headless('db'))
    await server.apply(slice('db-1', 'db', ['10.1.0.1']))
    await server.apply(slice('db-1', 'db', ['10.1.0.1', '10.1.0.2']))
    await until('both addresses are there', () => scene.addressesOf('db')?.length === 2)
    const { serial } = scene.zone
    await server.remove('EndpointSlice', 'demo', 'db-1')
    await until('it is gone', () => scene.addressesOf('db') === undefined)
    await server.apply(clusterSetIp('marker', '10.0.0.9'))
    await until('everything is read', () => scene.addressesOf('marker') !== undefined)
    // A deletion heard twice, and one new service heard twice: two changes of the zone.
    assert.equal(scene.zone.serial - serial, 2)
  })

  test('has one kind at hand long before the other: nothing is denied in between', async (t) => {
    for (const late of ['serviceimports', 'endpointslices'] as const) {
      const server = await serverWith(t)
      await server.apply(clusterSetIp('web', '10.0.0.1'))
      await server.apply(headless('db'))
      await server.apply(slice('db-1', 'db', ['10.1.0.1']))
      const lift = server.faults.hold({ resource: late })
      const scene = await follow(t, await server.kubeconfig())
      const other = late === 'serviceimports' ? 'endpointSlice' : 'serviceImport'
      await until('the other kind is there', () => scene.controlPlane.status().objects[other] > 0)
      await until('it is published', () => scene.controlPlane.status().waiting === 0)
      assert.equal(scene.zone.state, 'unsynced')
      assert.equal(scene.controlPlane.status().synced, false)
      lift()
      await until('the zone is synced', () => scene.zone.state === 'synced')
      assert.deepEqual([scene.addressesOf('web'), scene.addressesOf('db')], [['10.0.0.1'], ['10.1.0.1']])
      assert.deepEqual(scene.states, ['synced'])
    }
  })

  test('sends what no API server should', async (t) => {
    const server = await serverWith(t)
    await server.apply(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, await server.kubeconfig())
    await connected(scene, server)
    const events = [null, 5, {}, { type: 'ADDED' }, { type: 'DELETED', object: {} }, { type: 'NEW', object: [] }]
    for (const event of events) server.sendRaw(`${JSON.stringify(event)}\n`, 'serviceimports')
    await server.apply(clusterSetIp('new', '10.0.0.2'))
    await until('the watch goes on', () => scene.addressesOf('new') !== undefined)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
  })

  test('sends what is no JSON: the watch is opened anew', async (t) => {
    const server = await serverWith(t)
    await server.apply(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, await server.kubeconfig())
    await connected(scene, server)
    server.sendRaw('<html>502 Bad Gateway</html>\n', 'serviceimports')
    await until('it is noticed', () => errorsOf(scene, 'SyntaxError') > 0)
    await server.apply(clusterSetIp('new', '10.0.0.2'))
    await until('the watch goes on', () => scene.addressesOf('new') !== undefined)
  })

  for (const status of [401, 403, 429, 500, 503, 504] as const) {
    test(`answers ${status} for a while`, async (t) => {
      const server = await serverWith(t)
      await server.apply(clusterSetIp('web', '10.0.0.1'))
      server.faults.refuse(status, { verb: 'watch', resource: 'serviceimports', times: 1 })
      server.faults.cutBody(0, { verb: 'watch', resource: 'endpointslices' })
      const scene = await followUntilSynced(t, await server.kubeconfig())
      assert.equal(errorsOf(scene, String(status)), 1)
      assert.ok(scene.log.some(({ event, fields }) => event === 'watch-failed' && fields['code'] === String(status)))
    })
  }

  test('refuses one of the namespaces that are named: the others are exact, and so is that one when it may be listed', async (t) => {
    let isAllowed = false
    const server = await serverWith(t, { allows: ({ namespace }) => isAllowed || namespace !== 'bank' })
    await server.applyMany([
      clusterSetIp('web', '10.0.0.1', 'shop'),
      clusterSetIp('till', '10.0.0.2', 'bank'),
      headless('db', 'shop'),
      slice('db-1', 'db', ['10.1.0.1'], 'shop'),
    ])
    const namespaces = ['shop', 'bank', 'empty']
    const scene = await follow(t, await server.kubeconfig(), { namespaces, limits: HASTE })
    const knows = (service: string, namespace: string): boolean =>
      scene.zone.isKnown(relativeName([service, namespace, 'svc'])!)
    await until('the others are known', () => knows('any', 'shop') && knows('any', 'empty'))
    assert.deepEqual([scene.zone.state, scene.zone.isWhole, knows('till', 'bank')], ['partial', false, false])
    // What was listed is published by then: denied is only what does not exist.
    assert.deepEqual(scene.addressesOf('web', 'shop'), ['10.0.0.1'])
    assert.deepEqual(scene.addressesOf('db', 'shop'), ['10.1.0.1'])
    await until('both kinds are refused', () => errorsOf(scene, '403') >= 2)
    const { synced, syncedAt, connected, namespaces: watched } = scene.controlPlane.status()
    assert.deepEqual([synced, syncedAt, connected], [false, undefined, false])
    assert.deepEqual(watched, [
      { name: 'shop', isListed: true, failures: [] },
      { name: 'bank', isListed: false, failures: ['403'] },
      { name: 'empty', isListed: true, failures: [] },
    ])

    // A change of what is known is followed meanwhile, and measured from the whole zone on alone.
    await server.apply(clusterSetIp('web', '10.0.0.9', 'shop'))
    await until('a change is seen', () => scene.addressesOf('web', 'shop')?.[0] === '10.0.0.9')
    await server.remove('ServiceImport', 'shop', 'web')
    await until('a deletion is seen', () => scene.addressesOf('web', 'shop') === undefined)
    assert.equal(scene.zone.state, 'partial')

    isAllowed = true
    await until('all of it is known', () => scene.zone.state === 'synced')
    assert.deepEqual(scene.addressesOf('till', 'bank'), ['10.0.0.2'])
    assert.ok(scene.controlPlane.status().namespaces.every(({ isListed }) => isListed))
    assert.deepEqual(scene.states.slice(-1), ['synced'])
  })

  test('loses the CRDs while a namespace is refused, and has them again: what it listed before is no knowledge then', async (t) => {
    const server = await serverWith(t, { allows: ({ namespace }) => namespace !== 'bank' })
    await server.apply(clusterSetIp('web', '10.0.0.1', 'shop'))
    const scene = await follow(t, await server.kubeconfig(), { namespaces: ['shop', 'bank'], limits: HASTE })
    await until('one namespace is known', () => scene.zone.state === 'partial')
    await server.removeCrd()
    await until('there are none', () => scene.zone.state === 'absent')
    const lift = server.faults.hold({ verb: 'watch', resource: 'serviceimports' })
    await server.installCrd(['v1beta1'])
    await until('there may be some', () => scene.zone.state === 'unsynced')
    assert.equal(scene.zone.isKnown(relativeName(['web', 'shop', 'svc'])!), false)
    await server.apply(clusterSetIp('web', '10.0.0.2', 'shop'))
    lift()
    await until('one namespace is known again', () => scene.zone.state === 'partial')
    assert.deepEqual(scene.addressesOf('web', 'shop'), ['10.0.0.2'])
  })

  test('says when to come back', async (t) => {
    const server = await serverWith(t)
    server.faults.refuse(429, { verb: 'watch', resource: 'serviceimports', times: 1, retryAfterSeconds: 2 })
    const beganMs = performance.now()
    const scene = await followUntilSynced(t, await server.kubeconfig())
    // No sooner than it was told; how much later is the machine's business.
    assert.ok(performance.now() - beganMs >= 2000)
    assert.equal(errorsOf(scene, '429'), 1)
  })

  test('says nothing at all: the connection is given up and a new one works', async (t) => {
    const server = await serverWith(t)
    const lift = server.faults.hold({ verb: 'watch', resource: 'serviceimports' })
    const scene = await follow(t, await server.kubeconfig(), { limits: { headersTimeoutMs: 200 } })
    await until('the silence is noticed', () => errorsOf(scene, 'HEADERS_TIMEOUT') > 0)
    lift()
    await until('the zone is synced', () => scene.zone.state === 'synced')
  })

  test('falls silent behind a half-open connection', async (t) => {
    const server = await serverWith(t)
    await server.apply(clusterSetIp('web', '10.0.0.1'))
    const limits = { listIdleMs: 300, bookmarkIdleMs: 300 }
    const scene = await followUntilSynced(t, await server.kubeconfig(), { limits })
    await connected(scene, server)
    // From its first bookmark on a watch has one every minute.
    server.passTime()
    server.bookmark()
    await server.apply(clusterSetIp('marker', '10.0.0.9'))
    await until('the bookmarks are read', () => scene.addressesOf('marker') !== undefined)
    server.cutWatches('silent')
    await until('the silence is noticed', () => errorsOf(scene, 'IDLE') > 0)
    await server.apply(clusterSetIp('new', '10.0.0.2'))
    await until('the next watch hears what was missed', () => scene.addressesOf('new') !== undefined)
    assert.equal(scene.controlPlane.status().relists, 0)
  })

  test('has nothing to say: a watch without a bookmark is not given up before its time', async (t) => {
    for (const hasWatchList of [true, false]) {
      const server = await serverWith(t, { hasWatchList })
      const limits = { listIdleMs: 300, bookmarkIdleMs: 300 }
      const scene = await followUntilSynced(t, await server.kubeconfig(), { limits })
      await connected(scene, server)
      const watched = (): number =>
        requestsOf(server, 'endpointslices').length + requestsOf(server, 'serviceimports').length
      const before = watched()
      // The silence of a socket is measured by no clock of ours.
      await sleep(900)
      assert.equal(errorsOf(scene, 'IDLE'), 0)
      assert.equal(watched(), before)
    }
  })

  test('wants a token that was rotated in its file', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'token-'))
    t.after(() => rm(directory, { recursive: true }))
    const tokenFile = join(directory, 'token')
    await writeFile(tokenFile, 'first\n')
    const server = await serverWith(t, { tokens: ['first'] })
    await server.apply(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, await server.kubeconfig({ tokenFile }))
    await connected(scene, server)
    server.acceptTokens(['second'])
    server.cutWatches('end')
    await until('the old token is refused', () => errorsOf(scene, '401') > 0)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
    await writeFile(tokenFile, 'second\n')
    await server.apply(clusterSetIp('web', '10.0.0.2'))
    await until('the new token is used', () => scene.addressesOf('web')?.[0] === '10.0.0.2')
  })

  test('is away at the start', async (t) => {
    const gone = await startFakeApiServer()
    const directory = await mkdtemp(join(tmpdir(), 'kubeconfig-'))
    t.after(() => rm(directory, { recursive: true }))
    const kubeconfig = join(directory, 'config')
    await writeFile(kubeconfig, await readFile(await gone.kubeconfig(), 'utf8'))
    const port = Number(new URL(gone.url).port)
    await gone.stop()
    const scene = await follow(t, kubeconfig)
    await until('its absence is known', () => errorsOf(scene, 'ECONNREFUSED') > 1)
    assert.equal(scene.zone.state, 'unsynced')
    const back = await serverWith(t, { port })
    await back.apply(clusterSetIp('web', '10.0.0.1'))
    await until('the zone is synced', () => scene.zone.state === 'synced')
    await until('the import is there', () => scene.addressesOf('web')?.[0] === '10.0.0.1')
  })

  test('was restored to an older state', async (t) => {
    const server = await serverWith(t)
    await server.apply(clusterSetIp('web', '10.0.0.1'))
    const scene = await followUntilSynced(t, await server.kubeconfig(), { limits: HASTE })
    await connected(scene, server)
    // The versions we know are beyond what it has: resumes and relists are too new until the present state is asked for.
    server.faults.refuse(410, { verb: 'watch', resource: 'serviceimports', times: 1 })
    server.faults.refuse(504, { verb: 'watch', resource: 'serviceimports', times: 1 })
    await neverDenied(scene, 'web', async () => {
      server.cutWatches('end')
      await until('the present state is asked for', () =>
        requestsOf(server, 'serviceimports').some(({ query }) => query.get('resourceVersion') === ''),
      )
      await connected(scene, server)
    })
  })
})
