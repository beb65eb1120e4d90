/**
 * @kubernetes/client-node's door: who the API server is and who we are to it, and GET requests whose bodies stream.
 *
 * The package reads kubeconfigs, service accounts, tokens, exec plugins, certificates and proxies. Its own Watch is not
 * used: it swallows lines it cannot parse, bounds none of them and hides the headers that say when to come back; lists
 * through its generated API keep a whole list in memory. Objects leave this file as bytes, not as its classes.
 */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request as requestHttp } from 'node:http'
import { Agent, type RequestOptions, request as requestHttps } from 'node:https'
import { dirname, resolve } from 'node:path'
import { createGunzip } from 'node:zlib'
import { KubeConfig, loadYaml } from '@kubernetes/client-node'
import { fieldOf } from './object-intake.ts'

export interface KubernetesApiSettings {
  /** A kubeconfig file; null: the pod's service account. */
  readonly kubeconfig: string | null
  readonly userAgent: string
  /** Below which the pod's service account is; none: the root of the file system. */
  readonly serviceAccountRoot?: string
  readonly observer?: ApiObserver | undefined
}

/** Who counts requests; `host` is the API server's name or address with its port. */
export interface ApiObserver {
  /** Who will be asked. */
  knows(host: string): void
  /** A request had the head of its response after so many seconds, or failed (`status` undefined). */
  requestEnded(host: string, status: number | undefined, seconds: number): void
}

export interface ApiRequest {
  /** Beginning with a slash. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** Milliseconds for credentials, and again until the response's headers. */
  readonly headersTimeoutMs: number
  /** Milliseconds without an octet of the body; it then fails with `IDLE`. A function is asked again after every piece. */
  readonly idleTimeoutMs: number | (() => number)
  readonly signal: AbortSignal
}

export type ApiReply =
  /** 200. The body must be read or left (`return`), else its connection stays open. */
  | { readonly kind: 'ok'; readonly body: AsyncIterable<Buffer> }
  /** Any other status; `message` is of the Status object, bounded. */
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly message: string
      readonly retryAfterSeconds: number | undefined
    }
  | { readonly kind: 'unreachable'; readonly code: string; readonly message: string }

export interface KubernetesApi {
  get(request: ApiRequest): Promise<ApiReply>
  /** Forgets what was read of configuration, tokens and certificates: the next request reads them anew. */
  forgetCredentials(): void
  close(): void
}

/** Octets of an error's body that are read. */
const ERROR_OCTETS_MAX = 16 * 1024

/** Idle connections that are kept between two requests. */
const FREE_SOCKETS_MAX = 2

/** Milliseconds after which an exec plugin that hangs is not waited for any more, and a second one started. */
const STUCK_MS = 120_000

/** Milliseconds without traffic after which the kernel probes the connection. */
const KEEP_ALIVE_MS = 30_000

/** Opens the door: reads the kubeconfig or the service account, and throws when there is neither. Asks nobody yet. */
export function openKubernetesApi(settings: KubernetesApiSettings): KubernetesApi {
  return new ClientNodeApi(settings)
}

interface Credentials {
  readonly server: string
  readonly options: RequestOptions
}

interface Reading {
  readonly beganMs: number
  readonly credentials: Promise<Credentials>
}

class ClientNodeApi implements KubernetesApi {
  readonly #settings: KubernetesApiSettings
  #config: KubeConfig | undefined
  #fingerprint = ''
  /** The reading of credentials that is under way: exec plugins take their time, and are not started twice. */
  #reading: Reading | undefined

  constructor(settings: KubernetesApiSettings) {
    this.#settings = settings
    this.#config = loadConfig(settings)
    const { server } = this.#config.getCurrentCluster()!
    // What is no URL fails at the first request, which says so.
    if (URL.canParse(server)) settings.observer?.knows(hostOf(new URL(server)))
  }

  forgetCredentials(): void {
    this.#config = undefined
  }

  close(): void {
    this.#config = undefined
  }

  async get(request: ApiRequest): Promise<ApiReply> {
    try {
      const { url, options } = await this.#optionsFor(request)
      const response = await this.#send(url, options, request)
      if (response.statusCode === 200) return { kind: 'ok', body: bodyOf(response, request.idleTimeoutMs) }
      return await refusalOf(response)
    } catch (failure) {
      // A file that moved, an exec plugin that failed, a server that is away: the next try begins from the file.
      this.forgetCredentials()
      const { code, message } = failure as NodeJS.ErrnoException
      return { kind: 'unreachable', code: code ?? 'ERROR', message }
    }
  }

  async #optionsFor(request: ApiRequest): Promise<{ url: URL; options: RequestOptions }> {
    if (this.#reading === undefined || performance.now() - this.#reading.beganMs > STUCK_MS) {
      const reading: Reading = { beganMs: performance.now(), credentials: this.#readCredentials() }
      this.#reading = reading
      const forget = (): void => {
        if (this.#reading === reading) this.#reading = undefined
      }
      reading.credentials.then(forget, forget)
    }
    const { server, options } = await within(this.#reading.credentials, request.headersTimeoutMs, request.signal)
    const agent = options.agent
    if (agent instanceof Agent) Object.assign(agent, { keepAlive: true, maxFreeSockets: FREE_SOCKETS_MAX })

    const url = new URL(server.replace(/\/+$/, '') + request.path)
    for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value)
    const headers: Record<string, string> = {
      ...(options.headers as Record<string, string> | undefined),
      Accept: 'application/json',
      'Accept-Encoding': 'gzip',
      'User-Agent': this.#settings.userAgent,
    }
    // A token file may end in a newline, which no header may hold.
    if (headers['Authorization'] !== undefined) headers['Authorization'] = headers['Authorization'].trim()
    return { url, options: { ...options, headers, method: 'GET', signal: request.signal } }
  }

  async #readCredentials(): Promise<Credentials> {
    let config = (this.#config ??= loadConfig(this.#settings))
    let options: RequestOptions = {}
    await config.applyToHTTPSOptions(options)
    // Its agents remember certificates as they were made with; rotated ones need a new agent.
    const fingerprint = fingerprintOf(options)
    if (this.#fingerprint !== '' && this.#fingerprint !== fingerprint) {
      config = this.#config = loadConfig(this.#settings)
      options = {}
      await config.applyToHTTPSOptions(options)
    }
    this.#fingerprint = fingerprintOf(options)
    return { server: config.getCurrentCluster()!.server, options }
  }

  #send(url: URL, options: RequestOptions, request: ApiRequest): Promise<IncomingMessage> {
    const beganMs = performance.now()
    let isCounted = false
    // What goes wrong after the head of a response is a matter of its body.
    const count = (status: number | undefined): void => {
      if (isCounted) return
      isCounted = true
      this.#settings.observer?.requestEnded(hostOf(url), status, (performance.now() - beganMs) / 1000)
    }
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'http:' ? requestHttp : requestHttps
      const outgoing = send(url, options, (response) => {
        clearTimeout(timer)
        count(response.statusCode)
        resolve(response)
      })
      const timer = setTimeout(() => {
        outgoing.destroy(errorWithCode('HEADERS_TIMEOUT', `no response within ${request.headersTimeoutMs} ms`))
      }, request.headersTimeoutMs)
      outgoing.on('socket', (socket) => socket.setKeepAlive(true, KEEP_ALIVE_MS))
      outgoing.on('error', (failure) => {
        clearTimeout(timer)
        count(undefined)
        reject(failure)
      })
      outgoing.end()
    })
  }
}

/** Waits no longer than so many milliseconds, and not beyond an abort. What is waited for goes on. */
async function within<Value>(promise: Promise<Value>, ms: number, signal: AbortSignal): Promise<Value> {
  const ended = Promise.withResolvers<never>()
  const abort = (): void => ended.reject(errorWithCode('ABORTED', 'stopped while reading credentials'))
  const timer = setTimeout(() => {
    ended.reject(errorWithCode('CREDENTIALS_TIMEOUT', `no credentials within ${ms} ms: an exec plugin that hangs`))
  }, ms)
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([promise, ended.promise])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}

function loadConfig({ kubeconfig, serviceAccountRoot }: KubernetesApiSettings): KubeConfig {
  const config = new KubeConfig()
  if (kubeconfig !== null) {
    config.loadFromFile(kubeconfig)
    readTokenFiles(config, kubeconfig)
  } else if (process.env['KUBERNETES_SERVICE_HOST'] === undefined) {
    throw errorWithCode('NOT_IN_CLUSTER', 'no kubeconfig is set and KUBERNETES_SERVICE_HOST is not there: not in a Pod')
  } else config.loadFromCluster(serviceAccountRoot)
  if (config.getCurrentCluster() === null) {
    throw errorWithCode('NO_CLUSTER', `the current context of ${kubeconfig ?? 'the service account'} names no cluster`)
  }
  // As kubectl does, the scheme is taken for what it says; the package insists on skipping a verification there is not.
  config.clusters = config.clusters.map((cluster) =>
    cluster.server.startsWith('http:') ? { ...cluster, skipTLSVerify: true } : cluster,
  )
  return config
}

/**
 * The package overlooks `tokenFile` of a kubeconfig's user; the provider it has for service accounts does what is
 * wanted: it reads the file again once a minute, as client-go does.
 */
function readTokenFiles(config: KubeConfig, kubeconfig: string): void {
  const users = fieldOf(loadYaml(readFileSync(kubeconfig, 'utf8')), 'users')
  if (!Array.isArray(users)) return
  const files = new Map(users.map((entry) => [fieldOf(entry, 'name'), fieldOf(fieldOf(entry, 'user'), 'tokenFile')]))
  config.users = config.users.map((user) => {
    const file = files.get(user.name)
    if (typeof file !== 'string' || file === '') return user
    const tokenFile = resolve(dirname(kubeconfig), file)
    // As in client-go, the file goes before a token that stands beside it.
    return { ...user, token: '', authProvider: { name: 'tokenFile', config: { tokenFile } } }
  })
}

function fingerprintOf({ ca, cert, key }: RequestOptions): string {
  const hash = createHash('sha256')
  // Buffers from files and data, texts from exec plugins; a separator that none of them holds.
  for (const part of [ca, cert, key]) {
    if (typeof part === 'string' || Buffer.isBuffer(part)) hash.update(part)
    hash.update('\0')
  }
  return hash.digest('base64')
}

/** The body as it comes, unpacked; fails with `IDLE` when nothing came for too long. */
async function* bodyOf(response: IncomingMessage, idleTimeoutMs: ApiRequest['idleTimeoutMs']): AsyncGenerator<Buffer> {
  const isPacked = response.headers['content-encoding'] === 'gzip'
  const unpacked = isPacked ? response.pipe(createGunzip()) : response
  // A pipe does not pass on errors: a cut connection must not look like a body that is still coming.
  if (isPacked) response.on('error', (failure) => unpacked.destroy(failure))
  let idleMs = typeof idleTimeoutMs === 'number' ? idleTimeoutMs : idleTimeoutMs()
  response.setTimeout(idleMs, () => {
    response.destroy(errorWithCode('IDLE', `no octet within ${idleMs} ms`))
  })
  try {
    for await (const chunk of unpacked) {
      yield chunk as Buffer
      if (typeof idleTimeoutMs === 'number' || idleTimeoutMs() === idleMs) continue
      idleMs = idleTimeoutMs()
      response.setTimeout(idleMs)
    }
  } finally {
    response.destroy()
  }
}

async function refusalOf(response: IncomingMessage): Promise<ApiReply> {
  const chunks: Buffer[] = []
  let octets = 0
  for await (const chunk of bodyOf(response, 5_000)) {
    chunks.push(chunk)
    octets += chunk.length
    if (octets > ERROR_OCTETS_MAX) break
  }
  const text = Buffer.concat(chunks).toString('utf8', 0, ERROR_OCTETS_MAX)
  const retryAfter = Number(response.headers['retry-after'])
  return {
    kind: 'refused',
    status: response.statusCode ?? 0,
    message: messageOf(text),
    retryAfterSeconds: Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : undefined,
  }
}

function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown }
    if (typeof message === 'string') return message.slice(0, 500)
  } catch {
    // Proxies and load balancers answer in their own words; those are the message then.
  }
  return text.slice(0, 200)
}

function hostOf({ protocol, hostname, port }: URL): string {
  return `${hostname}:${port || (protocol === 'http:' ? '80' : '443')}`
}

function errorWithCode(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}
