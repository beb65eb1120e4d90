/**
 * A real kube-apiserver with its etcd on loopback, where KUBEBUILDER_ASSETS names a folder that has both (the convention of
 * controller-runtime's envtest). No controllers run: what `removeCrd` and `remove` leave behind is what the API server itself does.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { until } from './agent-process.ts'
import { resourceOfKind } from './api-server/resources.ts'
import type { ApiUnderTest, CrdVersion, KubernetesObject, ObjectKind } from './api-under-test.ts'
import { writeKubeconfig } from './kubeconfig.ts'

const CRDS = ['serviceimports', 'serviceexports'].map((plural) => ({
  name: `${plural}.multicluster.x-k8s.io`,
  file: new URL(`../vectors/crds/multicluster.x-k8s.io_${plural}.yaml`, import.meta.url),
}))
const CRD_PATH = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const START_MS = 60_000
const SETTLE_MS = 30_000
const STOP_MS = 10_000
/** Requests of `applyMany` under way at once; below what the API server's priority and fairness lets one user do. */
const APPLIES_MAX = 16
/** Octets kept of what the two processes write, for the message when they do not start. */
const OUTPUT_OCTETS_MAX = 64 * 1024

export interface RealApiServerOptions {
  /** Versions of the ServiceImport CRD there are at the start. Default: both. */
  readonly crdVersions?: readonly CrdVersion[]
  /** For instance `WatchList=false`. */
  readonly featureGates?: string
}

/** The folder with `etcd` and `kube-apiserver`; undefined when there is none. */
export function realApiServerFolder(): string | undefined {
  const folder = process.env['KUBEBUILDER_ASSETS']
  if (folder === undefined || folder === '') return undefined
  // A folder that was named and lacks them is a mistake to be told, not a reason to skip.
  for (const program of ['etcd', 'kube-apiserver']) accessSync(join(folder, program), constants.X_OK)
  return folder
}

export async function startRealApiServer(folder: string, options: RealApiServerOptions = {}): Promise<ApiUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'real-api-server-'))
  const started: Program[] = []
  const stop = async (): Promise<void> => {
    // The API server first: without etcd it would complain for a minute.
    for (const program of started.toReversed()) await program.stop()
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const [etcdPort, peerPort, port] = await freePorts(3)
    const etcdUrl = `http://127.0.0.1:${etcdPort}`
    started.push(new Program(join(folder, 'etcd'), etcdArguments(directory, etcdUrl, `http://127.0.0.1:${peerPort}`)))
    const token = randomBytes(24).toString('hex')
    await writeCredentials(directory, token)
    const apiServer = new Program(
      join(folder, 'kube-apiserver'),
      apiServerArguments(directory, etcdUrl, port!, options.featureGates),
    )
    started.push(apiServer)
    const api = new Api(port!, token, join(directory, 'apiserver.crt'))
    await until(
      () => {
        for (const program of started) program.throwIfEnded()
        return api.isReady()
      },
      START_MS,
      () => started.map((program) => program.output).join('\n'),
    )
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
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
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

function apiServerArguments(directory: string, etcdUrl: string, port: number, featureGates?: string): string[] {
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

  async stop(): Promise<void> {
    if (this.#hasEnded) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    // Open watches keep the API server for as long as it lets them.
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS)
    await exited
    clearTimeout(killer)
  }
}

interface Reply {
  readonly status: number
  readonly text: string
}

/** What tests do with the API server, as its administrator. */
class Api {
  readonly url: string
  readonly certificatePath: string
  readonly #port: number
  readonly #token: string
  #agent: Agent | undefined
  readonly #namespaces = new Map<string, Promise<string>>()

  constructor(port: number, token: string, certificatePath: string) {
    this.#port = port
    this.#token = token
    this.certificatePath = certificatePath
    this.url = `https://127.0.0.1:${port}`
  }

  /** Until it listens, connections are refused and its certificate is not there: both mean not yet. */
  async isReady(): Promise<boolean> {
    try {
      return (await this.#send('GET', '/readyz')).status === 200
    } catch (error) {
      if (['ECONNREFUSED', 'ECONNRESET', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
      throw error
    }
  }

  async apply(object: KubernetesObject): Promise<void> {
    const { namespace, name } = object.metadata
    await this.#namespaceExists(namespace)
    const plural = resourceOfKind(object.kind).name
    await this.#apply(`/apis/${object.apiVersion}/namespaces/${namespace}/${plural}/${name}`, object)
  }

  async applyMany(objects: readonly KubernetesObject[]): Promise<void> {
    const left = objects.values()
    // The workers share one iterator; each takes the next object when it is done with its last.
    const worker = async (): Promise<void> => {
      for (const object of left) await this.apply(object)
    }
    await Promise.all(Array.from({ length: APPLIES_MAX }, worker))
  }

  async remove(kind: ObjectKind, namespace: string, name: string): Promise<void> {
    const resource = resourceOfKind(kind)
    const version = resource.isCustom ? await this.#servedVersion(resource.group) : 'v1'
    await this.#do('DELETE', `/apis/${resource.group}/${version}/namespaces/${namespace}/${resource.name}/${name}`)
  }

  async installCrd(versions: readonly CrdVersion[]): Promise<void> {
    for (const { name, file } of CRDS) {
      const crd = parse(await readFile(file, 'utf8')) as { spec: { versions: { name: string; served: boolean }[] } }
      for (const version of crd.spec.versions) version.served = (versions as string[]).includes(version.name)
      await this.#apply(`${CRD_PATH}/${name}`, crd)
    }
    const paths = (['v1beta1', 'v1alpha1'] as const).map((version) => ({
      path: `/apis/multicluster.x-k8s.io/${version}/serviceimports?limit=1`,
      status: versions.includes(version) ? 200 : 404,
    }))
    await this.#untilAnswered(paths)
  }

  async removeCrd(): Promise<void> {
    for (const { name } of CRDS) await this.#do('DELETE', `${CRD_PATH}/${name}`)
    await this.#untilAnswered([
      ...CRDS.map(({ name }) => ({ path: `${CRD_PATH}/${name}`, status: 404 })),
      { path: '/apis/multicluster.x-k8s.io', status: 404 },
    ])
  }

  /** Made once, whoever asks first; the others wait for the same request. */
  async #namespaceExists(namespace: string): Promise<void> {
    let made = this.#namespaces.get(namespace)
    if (made === undefined) {
      const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }
      made = this.#apply(`/api/v1/namespaces/${namespace}`, object)
      this.#namespaces.set(namespace, made)
    }
    await made
  }

  async #servedVersion(group: string): Promise<string> {
    const document = JSON.parse(await this.#do('GET', `/apis/${group}`)) as { preferredVersion: { version: string } }
    return document.preferredVersion.version
  }

  /** A CRD is established, and its versions come and go in discovery, some time after it was written. */
  async #untilAnswered(expected: readonly { path: string; status: number }[]): Promise<void> {
    for (const { path, status } of expected) {
      let last = ''
      const isSo = async (): Promise<boolean> => {
        const reply = await this.#send('GET', path)
        last = `${reply.status} ${reply.text}`
        return reply.status === status
      }
      await until(isSo, SETTLE_MS, () => `${path} should be ${status}, is ${last}`)
    }
  }

  /** Server-side apply: creates or changes, whichever it takes. */
  async #apply(path: string, object: object): Promise<string> {
    return await this.#do('PATCH', `${path}?fieldManager=test&force=true`, object)
  }

  async #do(method: string, path: string, body?: object): Promise<string> {
    const { status, text } = await this.#send(method, path, body)
    if (status < 200 || status > 299) throw new Error(`${method} ${path}: ${status} ${text}`)
    return text
  }

  async #send(method: string, path: string, body?: object): Promise<Reply> {
    this.#agent ??= new Agent({ keepAlive: true, maxSockets: APPLIES_MAX, ca: await readFile(this.certificatePath) })
    const headers = { authorization: `Bearer ${this.#token}`, 'content-type': 'application/apply-patch+yaml' }
    const sent = request({ host: '127.0.0.1', port: this.#port, method, path, headers, agent: this.#agent })
    const responded = Promise.withResolvers<Reply>()
    sent.on('error', responded.reject)
    sent.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => responded.resolve({ status: response.statusCode ?? 0, text }))
      response.on('error', responded.reject)
    })
    // JSON is YAML, and this is the content type that every version knows.
    sent.end(body === undefined ? undefined : JSON.stringify(body))
    return await responded.promise
  }
}
