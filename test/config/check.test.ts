/** `nodelocal-mcs check` as an operator runs it: a process, its output and its exit code. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

const ROOT = new URL('../../', import.meta.url)
const DEADLINE_MS = 60_000

function command(...args: string[]) {
  const options = { cwd: ROOT, encoding: 'utf8', timeout: DEADLINE_MS } as const
  const { status, stdout, stderr } = spawnSync(process.execPath, ['cmd/nodelocal-mcs/main.ts', ...args], options)
  return { status, stdout, stderr }
}

suite('nodelocal-mcs check', () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-check-'))
  })
  after(() => rm(directory, { recursive: true, force: true }))

  test('reports every problem with its line and path, and exits with 2', async () => {
    const path = join(directory, 'bad.yaml')
    await writeFile(
      path,
      [
        'listen:',
        '  addresses: [localhost]',
        'cahce: {}',
        'forward:',
        '  - zones: [".", "."]',
        '    upstreams: [dns.example.com]',
        'log: { level: loud }',
      ].join('\n'),
    )
    const { status, stderr } = command('check', '--config', path)
    assert.deepEqual(
      stderr.trim().split('\n').sort(),
      [
        '5 problems',
        `${path}:2: listen.addresses[0] is no IP address`,
        `${path}:3: cahce is no setting; did you mean cache?`,
        `${path}:5: forward[0].zones[1] . is already routed by forward[0]`,
        `${path}:6: forward[0].upstreams[0] is a host name: upstreams are addresses, because nobody could resolve the name before DNS works`,
        `${path}:7: log.level must be one of debug, info, warn, error`,
      ].sort(),
    )
    assert.equal(status, 2)
  })

  for (const path of ['examples/config.yaml', 'docs/configuration.example.yaml']) {
    test(`confirms ${path} in a line, and exits with 0`, () => {
      const { status, stdout } = command('check', '--config', path)
      assert.match(stdout, new RegExp(`^${path} is good, hash [0-9a-f]{16}\n$`))
      assert.equal(status, 0)
    })
  }

  test('says that a file is not there, and exits with 2', () => {
    const path = join(directory, 'absent.yaml')
    const { status, stderr } = command('check', '--config', path)
    assert.match(stderr, /absent\.yaml: cannot be read: ENOENT/)
    assert.equal(status, 2)
  })

  test('run starts nothing with a bad file, and exits with 2', async () => {
    const path = join(directory, 'port.yaml')
    await writeFile(path, 'listen: { port: -1 }')
    const { status, stderr } = command('run', '--config', path)
    assert.match(stderr, /listen\.port must be 0 or more/)
    assert.equal(status, 2)
  })

  test('exits with 2 for an argument nobody knows, with 0 for --version', () => {
    assert.equal(command('--frobnicate').status, 2)
    assert.equal(command('--version').status, 0)
  })

  test('--version from the sources is that of package.json', () => {
    const manifest = readFileSync(new URL('package.json', ROOT), 'utf8')
    assert.equal(command('--version').stdout, `${(JSON.parse(manifest) as { version: string }).version}\n`)
  })
})
