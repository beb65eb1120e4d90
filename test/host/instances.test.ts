/** Agents of one node see each other, and nobody sees the dead. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { Instances, instancesIn } from '../../src/host/instances.ts'

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'nlm-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

suite('instances', () => {
  test('see each other and how far they are, but not themselves', async (t) => {
    const path = await directory(t)
    const [a, b] = [await Instances.join(path, 'a'), await Instances.join(path, 'b')]
    assert.deepEqual(await instancesIn(path, 'a'), [{ id: 'b', phase: 'starting' }])
    b.phase = 'ready'
    assert.deepEqual(await instancesIn(path, 'a'), [{ id: 'b', phase: 'ready' }])
    await a.leave()
    assert.deepEqual(await instancesIn(path, 'b'), [])
    await b.leave()
    await b.leave()
    assert.deepEqual(await readdir(path), [])
  })

  test('do not see one that was killed, and take its name away', async (t) => {
    const path = await directory(t)
    const script = `const { Instances } = await import(${JSON.stringify(new URL('../../src/host/instances.ts', import.meta.url).href)})
      await Instances.join(${JSON.stringify(path)}, 'dead'); console.log('joined'); setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    assert.deepEqual(await instancesIn(path), [{ id: 'dead', phase: 'starting' }])
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    await writeFile(join(path, 'dead.connections'), '')
    assert.deepEqual(await readdir(path), ['dead.connections', 'dead.instance'])
    assert.deepEqual(await instancesIn(path), [])
    assert.deepEqual(await readdir(path), [])
  })

  test('see nobody in what was left by whom nobody knows: a socket of another boot, a file, a directory, a link that leads nowhere', async (t) => {
    const path = await directory(t)
    await writeFile(join(path, 'file.instance'), '4711\n')
    await mkdir(join(path, 'directory.instance'))
    await symlink('/nonexistent', join(path, 'link.instance'))
    await writeFile(join(path, 'stranger'), '')
    // As after a reboot: the name is there, and nobody has it bound.
    const server = createServer().listen(join(path, 'bound.instance'))
    await once(server, 'listening')
    await rename(join(path, 'bound.instance'), join(path, 'boot.instance'))
    server.close()
    assert.deepEqual(await instancesIn(path), [])
    // A directory cannot be taken away as a name is, and harms nobody.
    assert.deepEqual(await readdir(path), ['directory.instance', 'stranger'])
    const ours = await Instances.join(path, 'ours')
    assert.deepEqual(await instancesIn(path, 'ours'), [])
    await ours.leave()
  })

  test('say whether they are found, and are not once their name is gone', async (t) => {
    const path = await directory(t)
    const ours = await Instances.join(path, 'ours')
    assert.equal(ours.isFound, true)
    await rm(join(path, 'ours.instance'))
    assert.equal(ours.isFound, false)
    await ours.leave()
  })

  for (const { promise, says } of [
    { promise: 'take one that says nothing for one that lives', says: undefined },
    { promise: 'take one that says what nobody knows for one that lives', says: 'sleeping' },
    { promise: 'take one that never stops talking for one that lives', says: 'x'.repeat(100_000) },
  ]) {
    test(promise, async (t) => {
      const path = await directory(t)
      const server = createServer((socket) => {
        socket.on('error', () => socket.destroy())
        if (says !== undefined) socket.end(says)
      })
      server.listen(join(path, 'odd.instance'))
      await once(server, 'listening')
      t.after(() => server.close())
      assert.deepEqual(await instancesIn(path), [{ id: 'odd', phase: 'unknown' }])
    })
  }

  test('are none where the directory does not exist', async () => {
    assert.deepEqual(await instancesIn('/nonexistent/nodelocal-mcs'), [])
  })

  test('say when a path is too long for a socket', async (t) => {
    const path = join(await directory(t), 'x'.repeat(100))
    await assert.rejects(Instances.join(path, 'a'), /too long for a Unix socket/)
  })
})
