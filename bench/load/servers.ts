/** The servers of a load bench as processes: us, peers from Debian, any other by its command line, and one upstream for all. */

import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { encode } from 'dns-packet'
import { BUNDLE, RUNTIME_OPTIONS } from './as-shipped.ts'
import { onCore } from './cores.ts'

export interface Server {
  readonly name: string
  readonly port: number
  /** For profilers. */
  readonly pid: number
  /** User and system time of all threads so far, in microseconds. */
  cpuMicros(): number
  /** Resident memory in MiB, now and at the most so far. */
  residentMiB(): number
  residentMaxMiB(): number
  stop(): Promise<void>
}

const START_MS = 15_000
const PORT_ATTEMPTS_MAX = 20
const UPSTREAM = 'upstream'

/** Free for UDP and for TCP: the connections of benches before this one keep thousands of ports for a minute. */
async function freePort(): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const socket = createSocket('udp4')
    try {
      socket.bind(port, '127.0.0.1')
      await once(socket, 'listening')
      return port
    } catch (error) {
      if (attempt === PORT_ATTEMPTS_MAX) throw error
    } finally {
      socket.close()
      server.close()
    }
  }
}

/** Starts a program on `port`; it is ready when it answers anything at all over UDP. */
async function start(
  name: string,
  command: string,
  args: readonly string[],
  port: number,
  home: string,
): Promise<Server> {
  const [program, programArgs] = onCore(name === UPSTREAM ? 'others' : 'server', command, args)
  const child: ChildProcess = spawn(program, programArgs, { stdio: ['ignore', 'pipe', 'pipe'], cwd: home })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4000)))
  const endMs = performance.now() + START_MS
  while (!(await answers(port))) {
    if (child.exitCode !== null || performance.now() > endMs) throw new Error(`${name} does not answer:\n${output}`)
    await sleep(50)
  }
  const proc = (file: string) => readFileSync(`/proc/${child.pid}/${file}`, 'utf8')
  return {
    name,
    port,
    pid: child.pid!,
    // The scheduler's own account in nanoseconds: the ticks of /proc/PID/stat are ten milliseconds long.
    cpuMicros: () => {
      const threads = readdirSync(`/proc/${child.pid}/task`)
      return threads.reduce((sum, thread) => sum + Number(proc(`task/${thread}/schedstat`).split(' ')[0]) / 1e3, 0)
    },
    residentMiB: () => Number(/VmRSS:\s+(\d+)/.exec(proc('status'))?.[1] ?? 0) / 1024,
    residentMaxMiB: () => Number(/VmHWM:\s+(\d+)/.exec(proc('status'))?.[1] ?? 0) / 1024,
    stop: async () => {
      if (child.exitCode === null) {
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      rmSync(home, { recursive: true, force: true })
    },
  }
}

async function answers(port: number): Promise<boolean> {
  const socket = createSocket('udp4')
  const query = encode({ type: 'query', id: 1, flags: 0x0100, questions: [{ type: 'A', name: 'ready.bench.example' }] })
  try {
    socket.send(query, port, '127.0.0.1')
    await once(socket, 'message', { signal: AbortSignal.timeout(300) })
    return true
  } catch {
    // Nobody there yet: the caller looks again until its time is over.
    return false
  } finally {
    socket.close()
  }
}

function home(): string {
  return mkdtempSync(join(tmpdir(), 'nodelocal-mcs-bench-'))
}

const UNBOUND_COMMON = [
  'do-daemonize: no',
  'username: ""',
  'chroot: ""',
  'use-syslog: no',
  'num-threads: 1',
  'so-reuseport: yes',
  'do-not-query-localhost: no',
]

/** Answers every name below bench.example. */
export async function startUpstream(): Promise<Server> {
  const [port, directory] = [await freePort(), home()]
  const path = join(directory, 'upstream.conf')
  const lines = [
    'server:',
    ...[
      ...UNBOUND_COMMON,
      `interface: 127.0.0.1@${port}`,
      `pidfile: "${directory}/pid"`,
      'incoming-num-tcp: 200',
      'local-zone: "bench.example." redirect',
      'local-data: "bench.example. 300 IN A 192.0.2.1"',
    ].map((line) => `  ${line}`),
    'remote-control:\n  control-enable: no',
  ]
  writeFileSync(path, lines.join('\n'))
  return await start(UPSTREAM, '/usr/sbin/unbound', ['-d', '-c', path], port, directory)
}

export type UpstreamTransport = 'udp' | 'tcp'

export interface OurServer extends Server {
  /** The sum of the series of a name whose labels contain `labels`. */
  metric(name: string, labels?: string): Promise<number>
}

export async function startUs(
  upstream: { readonly port: number },
  transport: UpstreamTransport,
  { implementation = 'auto', threads = 1 } = {},
): Promise<OurServer> {
  const [port, metricsPort, directory] = [await freePort(), await freePort(), home()]
  const path = join(directory, 'config.yaml')
  writeFileSync(
    path,
    [
      `listen: { port: ${port} }`,
      `udp: { implementation: ${implementation}, threads: ${threads} }`,
      'clusterset: { source: none }',
      'cache: { maxTtlSeconds: 300 }',
      `forward: [{ zones: ["."], upstreams: ["127.0.0.1:${upstream.port}"], transport: ${transport}, maxInFlight: 20000 }]`,
      `metrics: { address: "127.0.0.1:${metricsPort}" }`,
      'health: { address: "127.0.0.1:0" }',
    ].join('\n'),
  )
  const server = await start(
    'nodelocal-mcs',
    process.execPath,
    [...RUNTIME_OPTIONS, BUNDLE, 'run', '--config', path],
    port,
    directory,
  )
  return {
    ...server,
    metric: async (name, labels = '') => {
      const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
      const values = text.matchAll(
        new RegExp(`^${name}(?:\\{[^}]*${labels}[^}]*\\})${labels === '' ? '?' : ''} (\\S+)$`, 'gm'),
      )
      return [...values].reduce((sum, [, value]) => sum + Number(value), 0)
    },
  }
}

export async function startUnboundPeer(upstream: Server, transport: UpstreamTransport): Promise<Server> {
  const [port, directory] = [await freePort(), home()]
  const path = join(directory, 'unbound.conf')
  const lines = [
    'server:',
    ...[
      ...UNBOUND_COMMON,
      `interface: 127.0.0.1@${port}`,
      `pidfile: "${directory}/pid"`,
      'module-config: "iterator"',
      'outgoing-range: 4096',
      'num-queries-per-thread: 4096',
      'msg-cache-size: 16m',
      'rrset-cache-size: 32m',
      'incoming-num-tcp: 200',
      'outgoing-num-tcp: 100',
      `tcp-upstream: ${transport === 'tcp' ? 'yes' : 'no'}`,
    ].map((line) => `  ${line}`),
    'forward-zone:',
    '  name: "."',
    `  forward-addr: 127.0.0.1@${upstream.port}`,
    'remote-control:\n  control-enable: no',
  ]
  writeFileSync(path, lines.join('\n'))
  return await start('unbound', '/usr/sbin/unbound', ['-d', '-c', path], port, directory)
}

export async function startDnsdistPeer(upstream: Server, transport: UpstreamTransport): Promise<Server> {
  const [port, directory] = [await freePort(), home()]
  const path = join(directory, 'dnsdist.conf')
  const tcp = transport === 'tcp' ? ', tcpOnly=true' : ''
  writeFileSync(
    path,
    `setLocal("127.0.0.1:${port}")\nnewServer({address="127.0.0.1:${upstream.port}", checkName="bench.example.", checkType="A"${tcp}})\n` +
      'pc = newPacketCache(50000)\ngetPool(""):setCache(pc)\nsetACL("127.0.0.0/8")\n',
  )
  return await start('dnsdist', '/usr/bin/dnsdist', ['--supervised', '--disable-syslog', '-C', path], port, directory)
}

/** Forwards over UDP alone, and starts a process for every TCP client: it plays where both are UDP. */
export async function startDnsmasqPeer(upstream: Server): Promise<Server> {
  const [port, directory] = [await freePort(), home()]
  const args = [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--no-resolv',
    '--no-hosts',
    '--log-facility=-',
    '--user=',
    '--pid-file=',
    '--bind-interfaces',
    '--listen-address=127.0.0.1',
    `--port=${port}`,
    `--server=127.0.0.1#${upstream.port}`,
    '--cache-size=10000',
    '--dns-forward-max=10000',
  ]
  return await start('dnsmasq', '/usr/sbin/dnsmasq', args, port, directory)
}

/** The program of a peer that is not installed; undefined when all are. */
export function missingProgram(): string | undefined {
  const programs = ['/usr/sbin/unbound', '/usr/bin/dnsdist', '/usr/sbin/dnsmasq', '/usr/bin/dnsperf']
  return programs.find((path) => !existsSync(path))
}

/** Any other server: `NAME=COMMAND` with `{port}` and `{upstream}` (a port on 127.0.0.1) in it. */
export async function startOther(text: string, upstream: Server): Promise<Server> {
  const [port, directory] = [await freePort(), home()]
  const at = text.indexOf('=')
  const command = text
    .slice(at + 1)
    .replaceAll('{port}', String(port))
    .replaceAll('{upstream}', String(upstream.port))
  return await start(text.slice(0, at), '/bin/sh', ['-c', `exec ${command}`], port, directory)
}
