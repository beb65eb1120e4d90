import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { requireProgram, skipUnlessRequired } from './common/requires.ts'

const ROOT = new URL('..', import.meta.url).pathname

test("the Dockerfile's steps give something that runs", (t) => {
  if (process.getuid?.() !== 0) return skipUnlessRequired(t, 'chroot needs root')
  if (!existsSync(`${ROOT}/dist/nodelocal-mcs.js`)) return skipUnlessRequired(t, 'npm run build has not run')
  for (const [program, name] of [
    ['nft', 'nftables'],
    ['iptables', 'iptables'],
    ['ip', 'iproute2'],
  ] as const) {
    if (requireProgram(t, program, name) === undefined) return
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/try-image.ts'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  assert.equal(status, 0, stdout + stderr)
  assert.match(stdout, /the image would run/)
})

test('the bill of materials names every package that the agent is made of, with the version installed', (t) => {
  if (!existsSync(`${ROOT}/dist/nodelocal-mcs.cdx.json`)) return skipUnlessRequired(t, 'npm run build has not run')
  const read = (path: string): unknown => JSON.parse(readFileSync(`${ROOT}/${path}`, 'utf8'))
  const { components } = read('dist/nodelocal-mcs.cdx.json') as { components: { name: string; version: string }[] }
  const listed = new Set(components.map(({ name, version }) => `${name} ${version}`))
  const { dependencies } = read('package.json') as { dependencies: Readonly<Record<string, string>> }
  for (const [name, version] of Object.entries(dependencies)) assert.ok(listed.has(`${name} ${version}`), name)
  for (const absent of ['esbuild', 'typescript', 'fast-check'])
    assert.ok(!components.some(({ name }) => name === absent), absent)
})
