import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { startFakeApiServer } from '../common/fake-api-server.ts'
import { writeKubeconfig } from '../common/kubeconfig.ts'
import { follow, followUntilSynced } from './api-suite.ts'
import { clusterSetIp, headless, slice, until } from './support.ts'

interface Snapshotted {
  readonly snapshotFile: string
  readonly directory: string
  /** Of an API server that is away. */
  readonly kubeconfig: string
  readonly port: number
}

/** A snapshot of a web with a clusterset IP and a headless db, and a port where no API server is. */
async function snapshotted(t: TestContext): Promise<Snapshotted> {
  const directory = await mkdtemp(join(tmpdir(), 'snapshot-'))
  t.after(() => rm(directory, { recursive: true }))
  const snapshotFile = join(directory, 'objects')
  const server = await startFakeApiServer()
  await server.applyMany([clusterSetIp('web', '10.0.0.1'), headless('db'), slice('db-1', 'db', ['10.1.0.1'])])
  const { controlPlane } = await followUntilSynced(t, await server.kubeconfig(), { snapshotFile })
  await controlPlane.stop()
  await server.stop()
  assert.deepEqual(await readdir(directory), ['objects'])
  const kubeconfig = await writeKubeconfig(join(directory, 'kubeconfig'), server.url, { token: 't' })
  return { snapshotFile, directory, kubeconfig, port: Number(new URL(server.url).port) }
}

suite('snapshot', () => {
  test('answers from the last known objects while the API server is away, and corrects them at the first sync', async (t) => {
    const { snapshotFile, kubeconfig, port } = await snapshotted(t)
    const { zone, addressesOf, controlPlane } = await follow(t, kubeconfig, { snapshotFile })
    await until('the snapshot is published', () => addressesOf('web') !== undefined && addressesOf('db') !== undefined)
    assert.equal(zone.state, 'unsynced')
    assert.equal(controlPlane.status().fromSnapshot, true)

    const server = await startFakeApiServer({ port })
    t.after(() => server.stop())
    await server.apply(clusterSetIp('web', '10.0.0.2'))
    await until('the zone is synced', () => zone.state === 'synced')
    await until('the import is corrected', () => addressesOf('web')?.[0] === '10.0.0.2')
    assert.equal(addressesOf('db'), undefined)
    assert.equal(controlPlane.status().fromSnapshot, false)
  })

  const damages = [
    { promise: 'half of it', damage: (text: string) => text.slice(0, text.length / 2) },
    { promise: 'without its last line', damage: (text: string) => text.trimEnd().split('\n').slice(0, -1).join('\n') },
    { promise: 'with another address', damage: (text: string) => text.replace('ClusterSetIP', 'Headless') },
    { promise: 'of another version', damage: (text: string) => text.replace('snapshot-1', 'snapshot-9') },
    { promise: 'of nothing', damage: () => '' },
    { promise: 'of something else', damage: () => 'hello\n' },
  ]
  for (const { promise, damage } of damages) {
    test(`a file ${promise} is told and ignored`, async (t) => {
      const { snapshotFile, kubeconfig } = await snapshotted(t)
      await writeFile(snapshotFile, damage(await readFile(snapshotFile, 'utf8')))
      const { zone, log, controlPlane } = await follow(t, kubeconfig, { snapshotFile })
      assert.ok(log.some(({ event }) => event === 'snapshot-unusable'))
      assert.deepEqual(controlPlane.status().objects, { serviceImport: 0, endpointSlice: 0 })
      assert.equal(controlPlane.status().fromSnapshot, false)
      assert.equal(zone.state, 'unsynced')
    })
  }

  test('leaves out namespaces that are not watched any more', async (t) => {
    const { snapshotFile, kubeconfig } = await snapshotted(t)
    const changes = { snapshotFile, namespaces: ['other'] }
    const { controlPlane } = await follow(t, kubeconfig, changes)
    assert.equal(controlPlane.status().objects.serviceImport, 0)
  })
})
