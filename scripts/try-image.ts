// Does the steps of the Dockerfile without an engine, as far as that goes, and runs the result in a chroot: the files come from
// where its RUN and COPY lines put them, Debian's packages from this machine with the libraries that their programs need.
// Needs root, and `npm run build` before. Says what it saw and fails when the image would.
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const root = new URL('../', import.meta.url).pathname
const image = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-image-'))
const build = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-image-build-'))

/** Of each Debian package that the second stage installs: the programs that the agent or its manifests call. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  iproute2: ['ip'],
  iptables: ['iptables', 'ip6tables', 'iptables-nft', 'iptables-legacy'],
  nftables: ['nft'],
  'ca-certificates': [],
}
/** In debian:bookworm-slim already. */
const OF_THE_BASE = ['sh', 'test']

// As an image has it: every user may walk through its root.
chmodSync(image, 0o755)
try {
  await main()
} finally {
  rmSync(image, { recursive: true, force: true })
  rmSync(build, { recursive: true, force: true })
}

async function main(): Promise<void> {
  const [head, first, second] = readFileSync(join(root, 'Dockerfile'), 'utf8')
    .replaceAll('\\\n', ' ')
    .split(/^FROM .*$/m)
  refusesWhatIsNotPinned(head!, first!)
  runtimeFolder(first!)
  for (const [, source, target] of second!.matchAll(/^COPY --from=build (.+) (\S+)$/gm)) {
    for (const path of source!.split(' ').flatMap((pattern) => globSync(fromBuild(pattern))))
      copy(path, target!, source!.includes(' ') || target!.endsWith('/'))
  }
  for (const [, sources, target] of second!.matchAll(/^COPY (?!--from)(.+) (\S+)$/gm)) {
    for (const path of sources!.split(' ')) copy(join(root, path), target!, true)
  }
  for (const name of /apt-get install -y --no-install-recommends ([a-z0-9 -]+)/.exec(second!)![1]!.trim().split(/ +/)) {
    const programs = PROGRAMS[name]
    if (programs === undefined) throw new Error(`no programs are known of the Debian package ${name}`)
    for (const program of programs) copyProgram(program)
  }
  for (const program of OF_THE_BASE) copyProgram(program)
  withLibraries(join(image, 'usr/local/bin/node'))
  mkdirSync(join(image, 'proc'))
  mkdirSync(join(image, 'tmp'))

  const entrypoint = JSON.parse(/^ENTRYPOINT (.+)$/m.exec(second!)![1]!) as string[]
  const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version
  expect('--version', inside(entrypoint, ['--version']), (text) => text.trim() === version)
  expect('koffi', inside([entrypoint[0]!, '-e', "require('/app/node_modules/koffi').load(null)"], []), () => true)
  for (const [program, flag] of [
    ['ip', '-V'],
    ['nft', '-v'],
    ['iptables', '-V'],
  ] as const) {
    expect(program, inside([program, flag], []), (text) => text !== '')
  }
  writeFileSync(
    join(image, 'config.yaml'),
    'listen: { port: 0 }\nclusterset: { source: none }\nmetrics: { address: "127.0.0.1:0" }\nhealth: { address: "127.0.0.1:0" }\n',
  )
  expect('check', inside(entrypoint, ['check', '--config', '/config.yaml']), (text) => text.includes('is good'))
  await answersAndStops(entrypoint, JSON.parse(/^HEALTHCHECK .*CMD (.+)$/m.exec(second!)![1]!) as string[])
  process.stdout.write('the image would run\n')
}

/** The words that stop a build whose base has no digest. */
function refusesWhatIsNotPinned(head: string, stage: string): void {
  if (!/^ARG BASE$/m.test(head)) throw new Error('the base has a default, or no name')
  const command = /^RUN (case "\$BASE" in .+)$/m.exec(stage)![1]!
  const statusWith = (base: string): number | null =>
    spawnSync('sh', ['-c', command], { env: { BASE: base, PATH: process.env['PATH'] } }).status
  if (statusWith('debian:bookworm-slim') !== 1 || statusWith(`debian:bookworm-slim@sha256:${'0'.repeat(64)}`) !== 0)
    throw new Error('a base without a digest is not refused, or one with it is')
  process.stdout.write('base: refused without a digest\n')
}

/** What the first stage makes besides the build: done with the same words. */
function runtimeFolder(stage: string): void {
  const command = /^RUN (mkdir -p runtime .+)$/m.exec(stage)![1]!
  cpSync(join(root, 'node_modules/koffi'), join(build, 'node_modules/koffi'), { recursive: true })
  cpSync(join(root, 'node_modules/@koromix'), join(build, 'node_modules/@koromix'), { recursive: true })
  const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: build, encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
}

function fromBuild(path: string): string {
  if (path === '/usr/local/bin/node-pinned') return realpathSync(join(root, 'node_modules/node/bin/node'))
  return path.startsWith('/src/runtime/')
    ? join(build, path.slice('/src/'.length))
    : join(root, path.slice('/src/'.length))
}

function copy(from: string, target: string, isIntoFolder: boolean): void {
  const to = join(image, isIntoFolder ? join(target, from.slice(from.lastIndexOf('/') + 1)) : target)
  mkdirSync(dirname(to), { recursive: true })
  cpSync(from, to, { recursive: true, dereference: true })
}

function copyProgram(name: string): void {
  const path = ['/usr/sbin', '/sbin', '/usr/bin', '/bin']
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file))
  if (path === undefined) throw new Error(`${name} is not on this machine: install its Debian package`)
  const to = join(image, 'usr/bin', name)
  mkdirSync(dirname(to), { recursive: true })
  cpSync(realpathSync(path), to, { dereference: true })
  chmodSync(to, 0o755)
  withLibraries(path)
}

function withLibraries(program: string): void {
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' })
  for (const [library] of stdout.matchAll(/\/\S+/g)) {
    const to = join(image, library)
    if (!library.includes('.so') || existsSync(to)) continue
    mkdirSync(dirname(to), { recursive: true })
    cpSync(realpathSync(library), to)
  }
}

function inside(command: readonly string[], args: readonly string[]): SpawnSyncReturns<string> {
  const env = { PATH: '/usr/local/bin:/usr/bin', NODE_ENV: 'production' }
  return spawnSync('/usr/sbin/chroot', [image, ...command, ...args], { encoding: 'utf8', env, timeout: 60_000 })
}

function expect(
  what: string,
  { status, stdout, stderr }: SpawnSyncReturns<string>,
  isGood: (text: string) => boolean,
): void {
  if (status !== 0 || !isGood(stdout)) throw new Error(`${what} in the image: exit ${status}\n${stdout}${stderr}`)
  process.stdout.write(`${what}: ${stdout.trim() === '' ? 'loads' : stdout.trim()}\n`)
}

/** The agent as an ordinary user, asked over UDP and by its own healthcheck, told to stop. */
async function answersAndStops(entrypoint: readonly string[], healthcheck: readonly string[]): Promise<void> {
  const args = ['--userspec=65532:65532', image, ...entrypoint, 'run', '--config', '/config.yaml']
  const agent = spawn('/usr/sbin/chroot', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  const port = await new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`does not listen:\n${output}`)), 60_000)
    const onData = (chunk: Buffer): void => {
      output += chunk.toString()
      const found = /listening on udp \S+ port (\d+)/.exec(output)
      if (found === null) return
      clearTimeout(timer)
      resolve(Number(found[1]))
    }
    agent.stdout.on('data', onData)
    agent.stderr.on('data', onData)
    agent.on('exit', (code) => reject(new Error(`ended with ${code}:\n${output}`)))
  })
  const socket = createSocket('udp4')
  // dns-version.clusterset.local TXT
  const query = Buffer.from(
    '0001010000010000000000000b646e732d76657273696f6e0a636c7573746572736574056c6f63616c0000100001',
    'hex',
  )
  socket.send(query, port, '127.0.0.1')
  const [response] = (await once(socket, 'message', { signal: AbortSignal.timeout(10_000) })) as [Buffer]
  socket.close()
  if (!response.includes('1.0.0')) throw new Error(`unexpected response ${response.toString('hex')}`)
  mkdirSync(join(image, 'etc/nodelocal-mcs'), { recursive: true })
  writeFileSync(join(image, 'etc/nodelocal-mcs/config.yaml'), `listen: { port: ${port} }\n`)
  expect('healthcheck', inside(healthcheck, []), (text) => text.includes('answers-over-tcp: yes'))
  agent.removeAllListeners('exit')
  agent.kill('SIGTERM')
  const [code] = (await once(agent, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`stopped with ${code}:\n${output}`)
  const { status } = inside(healthcheck, [])
  if (status !== 1) throw new Error(`healthcheck of an agent that is gone: exit ${status}`)
  process.stdout.write('run: answers over UDP as user 65532, stops with 0\n')
}
