import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { type ControlPlane, startControlPlane } from '../../src/control/control-plane.ts'
import { ManifestParser } from '../../src/control/manifest-parser.ts'
import { parseManifests } from '../../src/control/manifest-text.ts'
import { clusterSetIp, headless, newStage, SETTINGS, type Stage, slice, until } from './support.ts'

interface Scene extends Stage {
  readonly directory: string
  readonly controlPlane: ControlPlane
  write(name: string, text: string): Promise<void>
}

async function scene(
  t: TestContext,
  files: Record<string, string>,
  nowSeconds = () => Date.now() / 1000,
): Promise<Scene> {
  const directory = await mkdtemp(join(tmpdir(), 'manifests-'))
  // Complete files appear at once, as kubectl, editors and the kubelet make them.
  const write = async (name: string, text: string): Promise<void> => {
    await writeFile(join(directory, `.${name}.new`), text)
    await rename(join(directory, `.${name}.new`), join(directory, name))
  }
  for (const [name, text] of Object.entries(files)) await write(name, text)
  const stage = newStage()
  const controlPlane = await startControlPlane(
    { ...SETTINGS, source: 'manifests', manifests: { directory } },
    { ...stage.parts, nowSeconds },
  )
  t.after(async () => {
    await controlPlane.stop()
    await rm(directory, { recursive: true })
  })
  await until('the zone is synced', () => stage.zone.state === 'synced')
  return { ...stage, directory, controlPlane, write }
}

const text = (...objects: unknown[]): string => objects.map((object) => JSON.stringify(object)).join('\n---\n')

suite('a directory of manifests', () => {
  test('is published before the zone denies anything', async (t) => {
    const { addressesOf, controlPlane, states } = await scene(t, {
      'web.yaml': text(clusterSetIp('web', '10.0.0.1')),
      'db.yml': text(headless('db'), slice('db-1', 'db', ['10.1.0.1', '10.1.0.2'])),
    })
    assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    assert.deepEqual(addressesOf('db'), ['10.1.0.1', '10.1.0.2'])
    assert.deepEqual(states, ['synced'])
    const { synced, connected, objects } = controlPlane.status()
    assert.deepEqual(
      { synced, connected, objects },
      {
        synced: true,
        connected: true,
        objects: { serviceImport: 2, endpointSlice: 1 },
      },
    )
  })

  test('is followed: added, changed and removed files', async (t) => {
    const { addressesOf, directory, write } = await scene(t, { 'web.yaml': text(clusterSetIp('web', '10.0.0.1')) })
    await write('api.yaml', text(clusterSetIp('api', '10.0.0.2')))
    await until('the new service is there', () => addressesOf('api') !== undefined)
    await write('web.yaml', text(clusterSetIp('web', '10.0.0.9')))
    await until('the changed service is there', () => addressesOf('web')?.[0] === '10.0.0.9')
    await rm(join(directory, 'api.yaml'))
    await until('the removed service is gone', () => addressesOf('api') === undefined)
  })

  test('may be a mounted ConfigMap, whose content is swapped as a whole', async (t) => {
    const { addressesOf, directory } = await scene(t, {})
    const swap = async (version: string, address: string): Promise<void> => {
      await mkdir(join(directory, version))
      await writeFile(join(directory, version, 'web.yaml'), text(clusterSetIp('web', address)))
      await symlink(version, join(directory, '..data_tmp'))
      await rename(join(directory, '..data_tmp'), join(directory, '..data'))
    }
    await swap('..1', '10.0.0.1')
    await symlink('..data/web.yaml', join(directory, 'web.yaml'))
    await until('the first version is there', () => addressesOf('web')?.[0] === '10.0.0.1')
    await swap('..2', '10.0.0.2')
    await until('the second version is there', () => addressesOf('web')?.[0] === '10.0.0.2')
  })

  test('a file that became unreadable keeps its last objects and is told once', async (t) => {
    const { addressesOf, log, write, controlPlane } = await scene(t, {
      'web.yaml': text(clusterSetIp('web', '10.0.0.1')),
    })
    await write('web.yaml', 'kind: [ServiceImport\nmetadata: {')
    await until('the broken file is told', () => controlPlane.status().ignored.get('syntax') === 1)
    assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    assert.equal(log.filter(({ event }) => event === 'object-ignored').length, 1)
    await write('web.yaml', text(clusterSetIp('web', '10.0.0.2')))
    await until('the mended file counts', () => addressesOf('web')?.[0] === '10.0.0.2')
  })

  test('a name may hold a newline, and is told in one line; one that is no UTF-8 is told', async (t) => {
    const { addressesOf, directory, log, controlPlane, write } = await scene(t, {
      'we\nb.yaml': text(clusterSetIp('web', '10.0.0.1')),
      'bro\nken.yaml': 'kind: [',
    })
    assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    await write('du\nplicate.yaml', text(clusterSetIp('web', '10.0.0.2')))
    await until('it is told', () => controlPlane.status().ignored.get('duplicate') === 1)
    const latin1 = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from('caf\xe9.yaml', 'latin1')])
    await writeFile(latin1, text(clusterSetIp('cafe', '10.0.0.3')))
    await until('both are told', () => controlPlane.status().ignored.get('syntax') === 2)
    const told = log.filter(({ event }) => event === 'object-ignored').map(({ fields }) => fields['detail'])
    assert.ok(told.includes("the file's name is no UTF-8"), String(told))
    assert.equal(told.length, 3)
  })

  test('of two objects with one name the first file counts, and the other one after it is gone', async (t) => {
    const { addressesOf, directory, controlPlane } = await scene(t, {
      'a.yaml': text(clusterSetIp('web', '10.0.0.1')),
      'b.yaml': text(clusterSetIp('web', '10.0.0.2')),
    })
    assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    assert.equal(controlPlane.status().ignored.get('duplicate'), 1)
    await rm(join(directory, 'a.yaml'))
    await until('the second file counts', () => addressesOf('web')?.[0] === '10.0.0.2')
  })

  test('a duplicate within one file is told once, whatever else changes', async (t) => {
    const { addressesOf, log, write } = await scene(t, {
      'web.yaml': text(clusterSetIp('web', '10.0.0.1'), clusterSetIp('web', '10.0.0.2')),
    })
    for (const name of ['a', 'b', 'c']) {
      await write(`${name}.yaml`, text(clusterSetIp(name, '10.0.0.3')))
      await until('the other file is read', () => addressesOf(name) !== undefined)
    }
    assert.equal(log.filter(({ event }) => event === 'object-ignored').length, 1)
  })

  test('a file that is empty for a moment, as one being written in place, denies nothing; one that stays empty does', async (t) => {
    const clock = { seconds: 0 }
    const { addressesOf, directory, write } = await scene(
      t,
      { 'web.yaml': text(clusterSetIp('web', '10.0.0.1')) },
      () => clock.seconds,
    )
    await writeFile(join(directory, 'web.yaml'), '')
    await write('later.yaml', text(clusterSetIp('later', '10.0.0.2')))
    await until('both were looked at', () => addressesOf('later') !== undefined)
    assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    clock.seconds = Date.now() / 1000 + 10
    await until('the empty file counts', () => addressesOf('web') === undefined)
  })

  test('is not held up by what is no file', async (t) => {
    const { addressesOf, directory, write, controlPlane } = await scene(t, {})
    await promisify(execFile)('mkfifo', [join(directory, 'pipe.yaml')])
    await symlink('/dev/zero', join(directory, 'endless.yaml'))
    await mkdir(join(directory, 'folder.yaml'))
    await write('web.yaml', text(clusterSetIp('web', '10.0.0.1')))
    await until('the file beside them is read', () => addressesOf('web') !== undefined)
    assert.equal(controlPlane.status().ignored.get('syntax'), 3)
  })

  test('that vanishes takes nothing with it, and is read again when it is back', async (t) => {
    const { addressesOf, directory, controlPlane } = await scene(t, {
      'web.yaml': text(clusterSetIp('web', '10.0.0.1')),
    })
    await rename(directory, `${directory}-away`)
    await until('its absence is noticed', () => !controlPlane.status().connected)
    assert.deepEqual(addressesOf('web'), ['10.0.0.1'])
    await writeFile(join(`${directory}-away`, 'api.yaml'), text(clusterSetIp('api', '10.0.0.2')))
    await rename(`${directory}-away`, directory)
    await until('what is new in it is there', () => addressesOf('api') !== undefined)
  })

  test('that was never there leaves the zone unsynced until it appears', async (t) => {
    const directory = join(await mkdtemp(join(tmpdir(), 'manifests-')), 'later')
    const { zone, parts, log } = newStage()
    const controlPlane = await startControlPlane({ ...SETTINGS, source: 'manifests', manifests: { directory } }, parts)
    t.after(() => controlPlane.stop())
    assert.equal(zone.state, 'unsynced')
    assert.ok(log.some(({ event }) => event === 'manifest-directory-unreadable'))
    await mkdir(directory)
    await until('it is read', () => zone.state === 'synced')
  })
})

const documents = [
  {
    promise: 'takes several documents',
    text: text(clusterSetIp('a', '10.0.0.1'), headless('b')),
    keys: ['demo/a', 'demo/b'],
  },
  {
    promise: 'takes Lists of whole objects',
    text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [headless('a'), headless('b')] }),
    keys: ['demo/a', 'demo/b'],
  },
  {
    promise: 'takes typed lists, whose items do not say their kind',
    text: JSON.stringify({
      apiVersion: 'multicluster.x-k8s.io/v1beta1',
      kind: 'ServiceImportList',
      items: [{ metadata: { namespace: 'demo', name: 'a' }, spec: { type: 'Headless' } }],
    }),
    keys: ['demo/a'],
  },
  {
    promise: 'puts objects without a namespace into default',
    text: 'apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata: {name: a}',
    keys: ['default/a'],
  },
  { promise: 'takes empty documents for nothing', text: '---\n# nothing\n---\n', keys: [] },
  {
    promise: 'tells other kinds',
    text: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}',
    keys: [],
    reason: 'kind',
  },
  {
    promise: 'tells other groups of the same kind',
    text: 'apiVersion: net.gke.io/v1\nkind: ServiceImport\nmetadata: {name: a}',
    keys: [],
    reason: 'kind',
  },
  {
    promise: 'tells objects without a name',
    text: 'apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport',
    keys: [],
    reason: 'malformed',
  },
  {
    promise: 'takes the documents beside a broken one',
    text: `${text(headless('a'))}\n---\nkind: [\n---\n${text(headless('b'))}`,
    keys: ['demo/a', 'demo/b'],
    reason: 'syntax',
  },
  {
    promise: 'refuses to unfold aliases into gigabytes',
    text: `a: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefg'
      .split('')
      .map((c, i) => `${c}: &${c} [${Array(10).fill(`*${'abcdef'[i]}`).join(',')}]`)
      .join('\n')}`,
    keys: [],
    reason: 'syntax',
  },
  { promise: 'takes scalars and sequences for no objects', text: 'hello\n---\n- 1\n', keys: [], reason: 'kind' },
]

suite('parseManifests', () => {
  for (const { promise, text, keys, reason } of documents) {
    test(promise, () => {
      const { objects, findings } = parseManifests(text)
      assert.deepEqual(
        objects.map(({ key }) => key),
        keys,
      )
      assert.equal(findings[0]?.reason, reason)
    })
  }
})

suite('the parser of manifests', () => {
  const parserOf = (t: TestContext, parseMsMax?: number): ManifestParser => {
    const parser = new ManifestParser(parseMsMax)
    t.after(() => parser.stop())
    return parser
  }
  /** What a promise comes to, and how many turns the event loop had meanwhile. */
  const withTurns = async <Value>(promise: Promise<Value>): Promise<{ value: Value; turns: number }> => {
    let turns = 0
    let isDone = false
    const turn = (): void => {
      turns++
      if (!isDone) setImmediate(turn)
    }
    setImmediate(turn)
    const value = await promise
    isDone = true
    return { value, turns }
  }

  const heavy = [
    { what: 'large', content: text(...Array.from({ length: 300 }, (_, i) => clusterSetIp(`s${i}`, '10.0.0.1'))) },
    { what: 'deep in brackets', content: '['.repeat(2_500) },
    { what: 'deep in dashes', content: '- '.repeat(300) },
  ]
  for (const { what, content } of heavy) {
    test(`leaves the event loop to the queries when a file is ${what}, and finds the same`, async (t) => {
      const { value, turns } = await withTurns(parserOf(t).parse(content))
      assert.ok(turns > 1)
      const here = parseManifests(content)
      assert.deepEqual(value.objects, here.objects)
      assert.equal(value.isBroken, here.isBroken)
    })
  }

  test('gives a file up that takes too long, and goes on with the next', async (t) => {
    const parser = parserOf(t, 1)
    const { isBroken, findings } = await parser.parse('['.repeat(50_000))
    assert.equal(isBroken, true)
    assert.match(findings[0]!.detail, /not parsed within/)
    assert.equal((await parser.parse(text(headless('a')))).objects.length, 1)
  })

  test('takes files one after another on one thread', async (t) => {
    const parser = parserOf(t)
    for (const count of [200, 100, 300]) {
      const { objects } = await parser.parse(text(...Array.from({ length: count }, (_, i) => headless(`s${i}`))))
      assert.equal(objects.length, count)
    }
  })
})
