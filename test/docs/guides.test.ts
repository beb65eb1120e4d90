import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { parseDocument } from 'yaml'
import { type Config, configFromText } from '../../src/config/config.ts'
import { configJsonSchema, type JsonSchema } from '../../src/config/schema.ts'
import { type AgentProcess, startAgentProcess } from '../common/agent-process.ts'
import { requireProgram } from '../common/requires.ts'
import { startUnbound, type Unbound } from '../common/unbound.ts'
import { built, KUBECTL } from '../manifests/built.ts'

const ROOT = new URL('../../', import.meta.url).pathname
const MAIN = join(ROOT, 'cmd/nodelocal-mcs/main.ts')
const GUIDES = [
  'docs/install.md',
  'docs/migrate.md',
  'docs/troubleshoot.md',
  'docs/operations.md',
  'docs/metrics.md',
  'README.md',
]
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** Lines of the blocks of shell commands. */
function commandsIn(path: string): string[] {
  return [...read(path).matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, text]) => text!.trim().split('\n'))
}

function yamlIn(path: string): string[] {
  return Array.from(read(path).matchAll(/^```yaml\n(.*?)^```$/gms), ([, text]) => text!)
}

/** Of NodeLocal DNSCache, as its addon fills it in. */
const COREFILE = `cluster.local:53 {
    errors
    cache {
            success 9984 30
            denial 9984 5
    }
    reload
    loop
    bind 169.254.20.10 10.96.0.10
    forward . __PILLAR__CLUSTER__DNS__ {
            force_tcp
    }
    prometheus :9253
    health 169.254.20.10:8080
}
.:53 {
    errors
    cache 30
    reload
    loop
    bind 169.254.20.10 10.96.0.10
    forward . __PILLAR__UPSTREAM__SERVERS__
    prometheus :9253
}
`

suite('guides', () => {
  for (const path of GUIDES) {
    test(`${path}: links lead somewhere`, () => {
      for (const [, target] of read(path).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
        assert.ok(existsSync(join(ROOT, dirname(path), target!)), target)
      }
    })

    test(`${path}: manifests that it names are there`, () => {
      for (const [name] of read(path).matchAll(/\bmanifests\/[a-z/-]*[a-z](?:\.yaml)?/g)) {
        assert.ok(existsSync(join(ROOT, name)), name)
      }
    })

    test(`${path}: settings that it names are there`, () => {
      const known = new Set(settingsIn(configJsonSchema()))
      const sections = new Set([...known].map((setting) => setting.split(/[.[]/)[0]))
      for (const [, name] of read(path).matchAll(/`([a-z]+(?:\[\])?(?:\.[a-zA-Z]+)+)(?::[^`]*)?`/g)) {
        const isFile = /\.(yaml|json|md|ts|js|local|com)$/.test(name!)
        if (!isFile && sections.has(name!.split(/[.[]/)[0])) assert.ok(known.has(name!), name)
      }
    })
  }

  test('every overlay is in the install guide', () => {
    for (const name of readdirSync(join(ROOT, 'manifests/overlays')))
      assert.ok(read('docs/install.md').includes(`overlays/${name}`), name)
  })

  test('what the install guide builds with kubectl builds', (t) => {
    const kubectl = requireProgram(t, 'kubectl', KUBECTL)
    if (kubectl === undefined) return
    const folders = commandsIn('docs/install.md').flatMap(
      (line) => /^kubectl (?:kustomize|apply -k) (\S+)/.exec(line)?.[1] ?? [],
    )
    assert.ok(folders.length > 0)
    for (const folder of folders) {
      const { status, stderr }: { status: number | null; stderr: string } = spawnSync(kubectl, ['kustomize', folder], {
        cwd: ROOT,
        encoding: 'utf8',
      })
      assert.equal(status, 0, stderr)
    }
  })

  test('what the migration guide does gives a configuration that the overlays run', (t) => {
    const objects = built(t, 'manifests/overlays/iptables')
    if (objects === undefined) return
    const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-guide-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const [fetched, ...commands] = commandsIn('docs/migrate.md')
    // The first needs the cluster that is left; what it gives is the addon's.
    assert.match(fetched!, /^kubectl .* >Corefile$/)
    writeFileSync(join(directory, 'Corefile'), COREFILE)
    const program = `nodelocal-mcs() { '${process.execPath}' '${join(ROOT, 'cmd/nodelocal-mcs/main.ts')}' "$@"; }`
    const shell = ['set -e', program, ...commands].join('\n')
    const { status, stdout, stderr } = spawnSync('bash', ['-c', shell], { cwd: directory, encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    assert.match(stdout, /config\.yaml is good/)

    const config = (text: string): Config => {
      const loaded = configFromText(text, 'config.yaml')
      assert.ok(loaded.kind === 'config')
      return loaded.config
    }
    const migrated = config(readFileSync(join(directory, 'config.yaml'), 'utf8'))
    const ours = config(objects.find(({ kind }) => kind === 'ConfigMap')!.data!['config.yaml']!)
    // Probes, mounts, the grace period and the PodMonitor count on these.
    assert.deepEqual(migrated.health, ours.health)
    assert.deepEqual(migrated.metrics, ours.metrics)
    assert.deepEqual(migrated.listen, ours.listen)
    assert.equal(migrated.host.interface, ours.host.interface)
    assert.equal(migrated.host.stateDirectory, ours.host.stateDirectory)
    const { handoverMs, lingerMs, drainMs } = migrated.shutdown
    assert.ok(handoverMs + lingerMs + drainMs + 10_000 <= 30_000)
  })

  for (const path of GUIDES) {
    for (const [i, text] of yamlIn(path).entries())
      test(`${path}: YAML ${i + 1} can be read`, () => assert.deepEqual(parseDocument(text).errors, []))
  }

  suite('the commands of the troubleshooting guide', () => {
    let agent: AgentProcess | undefined
    let upstream: Unbound | undefined

    before(async () => {
      if (!existsSync('/usr/sbin/unbound')) return
      upstream = await startUnbound(['www.example.com. 5 IN A 192.0.2.1'])
      agent = await startAgentProcess({
        clusterset: { manifests: { directory: join(ROOT, 'examples/clusterset') } },
        forward: [{ zones: ['.'], upstreams: [`127.0.0.1:${upstream.port}`] }],
      })
    })
    after(async () => {
      await agent?.stop()
      await upstream?.stop()
    })

    for (const command of commandsIn('docs/troubleshoot.md')) {
      test(command, async (t) => {
        if (command.startsWith('dig ')) {
          const dig = requireProgram(t, 'dig', 'dnsutils')
          if (dig === undefined || requireProgram(t, 'unbound', 'unbound') === undefined) return
          const args = command
            .split(' ')
            .slice(1)
            .map((word) => (word === '@169.254.20.10' ? '@127.0.0.1' : word))
          const { status, stdout } = spawnSync(dig, ['-p', `${agent!.port}`, ...args], { encoding: 'utf8' })
          assert.equal(status, 0)
          assert.match(
            stdout,
            command.includes('dns-version') ? /^"1\.0\.0"$/m : command.includes('+short') ? /\S/ : /NOERROR/,
          )
        } else if (command.startsWith('nodelocal-mcs explain ')) {
          if (requireProgram(t, 'unbound', 'unbound') === undefined) return
          const words = command
            .replace('--config /etc/nodelocal-mcs/config.yaml', `--agent ${agent!.healthAddress}`)
            .split(' ')
            .slice(1)
          const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...words], { encoding: 'utf8' })
          assert.equal(status, 0, stderr)
          assert.match(stdout, /^=> /m)
        } else {
          if (requireProgram(t, 'unbound', 'unbound') === undefined) return
          const [, method, path] = /^curl -s (-X POST )?'?http:\/\/127\.0\.0\.1:8099(\/[^']*)'?$/.exec(command)!
          const { status } = await agent!.health(path!, method === undefined ? 'GET' : 'POST')
          assert.equal(status, 200)
        }
      })
    }
  })
})

function settingsIn(schema: JsonSchema, path = ''): string[] {
  const inner = schema.properties === undefined ? schema.items : schema
  const here = path === '' ? [] : [path]
  if (inner?.properties === undefined) return here
  const prefix = path === '' ? '' : inner === schema ? `${path}.` : `${path}[].`
  return [...here, ...Object.entries(inner.properties).flatMap(([key, child]) => settingsIn(child, `${prefix}${key}`))]
}
