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
  const result = spawnSync(command, [...before, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  if (result.status !== 0) {
    process.stderr.write(`npm ci failed${result.error === undefined ? '' : `: ${result.error.message}`}\n`)
    process.exit(1)
  }
  writeFileSync(stamp, wanted)
}
