import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { type LoadedConfig, loadConfig } from '../../src/config/config.ts'
import { watchConfig } from '../../src/config/config-watch.ts'

const DEADLINE_MS = 10_000
const NEVER_MS = 3_600_000

/** A directory of its own, gone after the test. */
async function directoryFor(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-config-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** The states of a file, one after the other, as the watch tells them. */
async function watching(t: TestContext, path: string, times: { settleMs: number; pollMs: number }) {
  const first = await loadConfig(path)
  assert.ok(first.kind === 'config')
  const told: LoadedConfig[] = []
  const events = new EventEmitter()
  const stop = watchConfig(path, first.hash, {
    onChange: (loaded) => {
      told.push(loaded)
      events.emit('told')
    },
    onWatchError: (error) => events.emit('error', error),
    ...times,
  })
  t.after(stop)
  return async (): Promise<LoadedConfig> => {
    if (told.length === 0) await once(events, 'told', { signal: AbortSignal.timeout(DEADLINE_MS) })
    return told.shift()!
  }
}

const BY_EVENT = { settleMs: 1, pollMs: NEVER_MS }
const BY_POLL = { settleMs: NEVER_MS, pollMs: 5 }
const port = (loaded: LoadedConfig) => (loaded.kind === 'config' ? loaded.config.listen.port : loaded.problems)

suite('config watch', () => {
  for (const [how, times] of [
    ['an event', BY_EVENT],
    ['the poll', BY_POLL],
  ] as const) {
    test(`sees by ${how} that a file is replaced`, async (t) => {
      const directory = await directoryFor(t)
      const path = join(directory, 'config.yaml')
      await writeFile(path, 'listen: { port: 1 }')
      const next = await watching(t, path, times)
      await writeFile(`${path}.new`, 'listen: { port: 2 }')
      await rename(`${path}.new`, path)
      assert.equal(port(await next()), 2)
    })
  }

  test('sees the swap of ..data by which kubelet updates a ConfigMap', async (t) => {
    const directory = await directoryFor(t)
    for (const version of [1, 2]) {
      await mkdir(join(directory, `..version-${version}`))
      await writeFile(join(directory, `..version-${version}`, 'config.yaml'), `listen: { port: ${version} }`)
    }
    await symlink('..version-1', join(directory, '..data'))
    await symlink(join('..data', 'config.yaml'), join(directory, 'config.yaml'))
    const next = await watching(t, join(directory, 'config.yaml'), BY_EVENT)
    await symlink('..version-2', join(directory, '..data_tmp'))
    await rename(join(directory, '..data_tmp'), join(directory, '..data'))
    assert.equal(port(await next()), 2)
  })

  test('tells a bad file once, and the old one again when it is back', async (t) => {
    const path = join(await directoryFor(t), 'config.yaml')
    await writeFile(path, 'listen: { port: 1 }')
    const next = await watching(t, path, BY_POLL)
    const put = async (text: string) => {
      await writeFile(`${path}.new`, text)
      await rename(`${path}.new`, path)
    }
    await put('listen: { port: x }')
    assert.deepEqual(port(await next()), [`${path}:1: listen.port must be of type number`])
    await put('listen: { port: 1 }')
    assert.equal(port(await next()), 1)
  })

  test('tells that the file is gone', async (t) => {
    const path = join(await directoryFor(t), 'config.yaml')
    await writeFile(path, '')
    const next = await watching(t, path, BY_POLL)
    await rm(path)
    assert.deepEqual(port(await next()), [`${path}: cannot be read: ENOENT`])
  })

  test('sees what changed before the watch began', async (t) => {
    const path = join(await directoryFor(t), 'config.yaml')
    await writeFile(path, 'listen: { port: 2 }')
    const seen = await new Promise<LoadedConfig>((resolve, reject) => {
      const parts = { onChange: resolve, onWatchError: reject, settleMs: NEVER_MS, pollMs: NEVER_MS }
      t.after(watchConfig(path, 'the hash of an older one', parts))
    })
    assert.equal(port(seen), 2)
  })

  test('goes on by polling where the directory cannot be watched', async (t) => {
    const directory = await directoryFor(t)
    const path = join(directory, 'late', 'config.yaml')
    const errors: Error[] = []
    const seen = await new Promise<LoadedConfig>((resolve) => {
      const onChange = (loaded: LoadedConfig) => {
        if (loaded.kind === 'config') resolve(loaded)
      }
      t.after(watchConfig(path, '', { onChange, onWatchError: (error) => errors.push(error), settleMs: 1, pollMs: 5 }))
      void mkdir(join(directory, 'late')).then(() => writeFile(path, 'listen: { port: 3 }'))
    })
    assert.equal(errors.length, 1)
    assert.equal(port(seen), 3)
  })
})
