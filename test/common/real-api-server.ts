/**
 * A real kube-apiserver with its etcd on loopback, where KUBEBUILDER_ASSETS names a folder that has both (the convention of
 * controller-runtime's envtest). No controllers run: what `removeCrd` and `remove` leave behind is what the API server itself does.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from './agent-process.ts'
import { ApiAdmin } from './api-admin.ts'
import type { ApiUnderTest, CrdVersion } from './api-under-test.ts'
import { writeKubeconfig } from './kubeconfig.ts'

/** As long as it takes on a machine with much else to do; it is mostly ready after five seconds. */
const START_MS = 180_000
const STOP_MS = 10_000
/** Octets kept of what the two processes write, for the message when they do not start. */
const OUTPUT_OCTETS_MAX = 64 * 1024

export interface RealApiServerOptions {
  /** Versions of the ServiceImport CRD there are at the start. Default: both. */
  readonly crdVersions?: readonly CrdVersion[]
  /** For instance `WatchList=false`. */
  readonly featureGates?: string
  /** Further arguments of kube-apiserver. */
  readonly flags?: readonly string[]
}

export interface RealApiServer extends ApiUnderTest {
  /**
   * Ends the API server and starts it again on its port. `meanwhile` changes objects by another one on the same etcd, which is
   * gone before this one is back.
   */
  restart(
    signal: 'SIGTERM' | 'SIGKILL',
    meanwhile?: (other: Pick<ApiUnderTest, 'apply' | 'remove'>) => Promise<void>,
  ): Promise<void>
  /** etcd forgets its history up to now, as it is told to every five minutes. */
  compact(): Promise<void>
}

/** The folder with `etcd` and `kube-apiserver`; undefined when there is none. */
export function realApiServerFolder(): string | undefined {
  const folder = process.env['KUBEBUILDER_ASSETS']
  if (folder === undefined || folder === '') return undefined
  // A folder that was named and lacks them is a mistake to be told, not a reason to skip.
  for (const program of ['etcd', 'kube-apiserver']) accessSync(join(folder, program), constants.X_OK)
  return folder
}

export async function startRealApiServer(folder: string, options: RealApiServerOptions = {}): Promise<RealApiServer> {
  const directory = await mkdtemp(join(tmpdir(), 'real-api-server-'))
  const started: Program[] = []
  const stop = async (): Promise<void> => {
    // The API server first: without etcd it would complain for a minute.
    for (const program of started.toReversed()) await program.stop()
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const [etcdPort, peerPort, port, otherPort] = await freePorts(4)
    const etcdUrl = `http://127.0.0.1:${etcdPort}`
    const outputs = (): string => started.map((program) => program.output).join('\n')
    started.push(new Program(join(folder, 'etcd'), etcdArguments(directory, etcdUrl, `http://127.0.0.1:${peerPort}`)))
    await until(() => isHealthy(started, etcdUrl), START_MS, outputs)
    const token = randomBytes(24).toString('hex')
    await writeCredentials(directory, token)
    const startApiServer = async (api: ApiAdmin, onPort: number): Promise<Program> => {
      const program = new Program(
        join(folder, 'kube-apiserver'),
        apiServerArguments(directory, etcdUrl, onPort, options),
      )
      started.push(program)
      let why: string | undefined
      const isReady = async (): Promise<boolean> => {
        for (const one of started) one.throwIfEnded()
        why = await api.unreadiness()
        return why === undefined
      }
      await until(isReady, START_MS, () => `${why}\n${outputs()}`)
      return program
    }
    const end = async (program: Program, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
      started.splice(started.indexOf(program), 1)
      await program.stop(signal)
    }
    const certificatePath = join(directory, 'apiserver.crt')
    const api = new ApiAdmin(port!, token, certificatePath)
    let apiServer = await startApiServer(api, port!)
    await api.installCrd(options.crdVersions ?? ['v1beta1', 'v1alpha1'])
    return {
      url: api.url,
      apply: (object) => api.apply(object),
      applyMany: (objects) => api.applyMany(objects),
      remove: (kind, namespace, name) => api.remove(kind, namespace, name),
      installCrd: (versions) => api.installCrd(versions),
      removeCrd: () => api.removeCrd(),
      kubeconfig: (options = { token }) => {
        const path = join(directory, `kubeconfig-${randomBytes(4).toString('hex')}`)
        return writeKubeconfig(path, api.url, options, api.certificatePath)
      },
      restart: async (signal, meanwhile) => {
        await end(apiServer, signal)
        if (meanwhile !== undefined) {
          const other = new ApiAdmin(otherPort!, token, certificatePath)
          const program = await startApiServer(other, otherPort!)
          await meanwhile(other)
          await end(program, 'SIGTERM')
        }
        apiServer = await startApiServer(api, port!)
      },
      compact: () => compact(etcdUrl),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** etcd has a leader (of one). An API server that does not find it gives up after a while. */
async function isHealthy(started: readonly Program[], etcdUrl: string): Promise<boolean> {
  for (const program of started) program.throwIfEnded()
  try {
    return (await fetch(`${etcdUrl}/health`)).ok
  } catch {
    // It does not listen yet.
    return false
  }
}

async function compact(etcdUrl: string): Promise<void> {
  const ask = async (what: string, body: object): Promise<{ header: { revision: string } }> => {
    const response = await fetch(`${etcdUrl}/v3/kv/${what}`, { method: 'POST', body: JSON.stringify(body) })
    if (!response.ok) throw new Error(`etcd ${what}: ${response.status} ${await response.text()}`)
    return (await response.json()) as { header: { revision: string } }
  }
  const { revision } = (await ask('range', { key: Buffer.from('/').toString('base64'), limit: 1 })).header
  await ask('compaction', { revision, physical: true })
}

function etcdArguments(directory: string, clientUrl: string, peerUrl: string): string[] {
  return [
    `--data-dir=${join(directory, 'etcd')}`,
    `--listen-client-urls=${clientUrl}`,
    `--advertise-client-urls=${clientUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    // Nothing here has to survive a power cut.
    '--unsafe-no-fsync',
  ]
}

function apiServerArguments(
  directory: string,
  etcdUrl: string,
  port: number,
  { featureGates, flags = [] }: RealApiServerOptions,
): string[] {
  const key = join(directory, 'service-account.key')
  return [
    `--etcd-servers=${etcdUrl}`,
    '--bind-address=127.0.0.1',
    // Without it the address of a default route is looked for, and there may be none.
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    // It makes its own certificate there, for the address it binds.
    `--cert-dir=${directory}`,
    `--token-auth-file=${join(directory, 'tokens.csv')}`,
    '--authorization-mode=RBAC',
    // No controller makes service accounts here, and Pods are not created.
    '--disable-admission-plugins=ServiceAccount',
    '--service-account-issuer=https://127.0.0.1',
    `--service-account-key-file=${key}`,
    `--service-account-signing-key-file=${key}`,
    '--service-cluster-ip-range=10.96.0.0/24',
    ...(featureGates === undefined ? [] : [`--feature-gates=${featureGates}`]),
    ...flags,
  ]
}

async function writeCredentials(directory: string, token: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
  })
  await writeFile(join(directory, 'service-account.key'), privateKey, { mode: 0o600 })
  await writeFile(join(directory, 'tokens.csv'), `${token},admin,admin,"system:masters"\n`, { mode: 0o600 })
}

/** Neither program tells which port it got, so ports are chosen here, as envtest does: all at once, that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(
    servers.map((server) => {
      server.close()
      return once(server, 'close')
    }),
  )
  return ports
}

class Program {
  readonly #child: ChildProcess
  readonly #path: string
  #failure = ''
  output = ''

  constructor(path: string, args: readonly string[]) {
    this.#path = path
    this.#child = spawn(path, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child.on('error', (error) => (this.#failure = error.message))
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-OUTPUT_OCTETS_MAX)))
    }
  }

  get #hasEnded(): boolean {
    return this.#failure !== '' || this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  throwIfEnded(): void {
    if (!this.#hasEnded) return
    const why = this.#failure || `ended with ${this.#child.exitCode ?? this.#child.signalCode}`
    throw new Error(`${this.#path}: ${why}\n${this.output}`)
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.#hasEnded) return
    const exited = once(this.#child, 'exit')
    this.#child.kill(signal)
    // Open watches keep the API server for as long as it lets them.
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS)
    await exited
    clearTimeout(killer)
  }
}
