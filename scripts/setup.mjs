// Installs the npm packages when package-lock.json asks for others than are there. Runs on any Node since 18 and needs
// no package itself: it is what `npm start` and `npm test` call first on a fresh machine.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stamp = join(root, 'node_modules', '.installed')
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const isInstalled = existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted

if (!isInstalled) {
  process.stderr.write('installing npm packages (once, about a minute)\n')
  const npm = process.env.npm_execpath
  const [command, ...before] = npm === undefined ? ['npm'] : [process.execPath, npm]
  // Not `npm ci`: it insists on an entry for every platform's optional package, and registries that serve only some
  // platforms cannot give them. The lock file's versions and hashes hold all the same.
  const result = spawnSync(
    command,
    [...before, 'install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  )
  if (result.status !== 0) {
    process.stderr.write(`npm install failed${result.error === undefined ? '' : `: ${result.error.message}`}\n`)
    process.exit(1)
  }
  writeFileSync(stamp, wanted)
}
