import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { requireProgram } from './common/requires.ts'

const ROOT = new URL('..', import.meta.url).pathname

test("the Dockerfile's steps give something that runs", (t) => {
  if (process.getuid?.() !== 0) return t.skip('chroot needs root')
  if (!existsSync(`${ROOT}/dist/nodelocal-mcs.js`)) return t.skip('npm run build has not run')
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
