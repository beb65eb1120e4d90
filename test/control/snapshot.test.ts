import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { follow, followUntilSynced } from './api-suite.ts'
import { ScriptedApiServer } from './scripted-api-server.ts'
import { clusterSetIp, headless, slice, until } from './support.ts'

const kubeconfigOf = (url: string): string =>
  `{clusters: [{name: c, cluster: {server: "${url}"}}], users: [{name: u, user: {token: t}}],
    contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}`

/** A snapshot of a web with a clusterset IP and a headless db, and a port where no API server is. */
async function snapshotted(t: TestContext): Promise<{ snapshotFile: string; port: number; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'snapshot-'))
  t.after(() => rm(directory, { recursive: true }))
  const snapshotFile = join(directory, 'objects')
  const server = new ScriptedApiServer()
  await server.start()
  const { port } = server
  server.put(clusterSetIp('web', '10.0.0.1'))
  server.put(headless('db'))
  server.put(slice('db-1', 'db', ['10.1.0.1']))
  const { controlPlane } = await followUntilSynced(t, kubeconfigOf(server.url), { snapshotFile })
  await controlPlane.stop()
  await server.stop()
  return { snapshotFile, port, directory }
}

suite('snapshot', () => {
  test('answers from the last known objects while the API server is away, and corrects them at the first sync', async (t) => {
    const { snapshotFile, port, directory } = await snapshotted(t)
    assert.deepEqual(await readdir(directory), ['objects'])
    const { zone, addressesOf, controlPlane } = await follow(t, kubeconfigOf(`http://127.0.0.1:${port}`), {
      snapshotFile,
    })
    await until('the snapshot is published', () => addressesOf('web') !== undefined && addressesOf('db') !== undefined)
    assert.equal(zone.state, 'unsynced')
    assert.equal(controlPlane.status().fromSnapshot, true)

    const server = new ScriptedApiServer()
    server.put(clusterSetIp('web', '10.0.0.2'))
    await server.start(port)
    t.after(() => server.stop())
    await until('the zone is synced', () => zone.state === 'synced')
    assert.deepEqual(addressesOf('web'), ['10.0.0.2'])
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
      const { snapshotFile, port } = await snapshotted(t)
      await writeFile(snapshotFile, damage(await readFile(snapshotFile, 'utf8')))
      const { zone, log, controlPlane } = await follow(t, kubeconfigOf(`http://127.0.0.1:${port}`), { snapshotFile })
      assert.ok(log.some(({ event }) => event === 'snapshot-unusable'))
      assert.deepEqual(controlPlane.status().objects, { serviceImport: 0, endpointSlice: 0 })
      assert.equal(controlPlane.status().fromSnapshot, false)
      assert.equal(zone.state, 'unsynced')
    })
  }

  test('leaves out namespaces that are not watched any more', async (t) => {
    const { snapshotFile, port } = await snapshotted(t)
    const changes = { snapshotFile, namespaces: ['other'] }
    const { controlPlane } = await follow(t, kubeconfigOf(`http://127.0.0.1:${port}`), changes)
    assert.equal(controlPlane.status().objects.serviceImport, 0)
  })
})
