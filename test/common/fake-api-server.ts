/**
 * A small Kubernetes API server for tests, over plain HTTP on loopback: discovery, list and watch of ServiceImports and
 * EndpointSlices as kube-apiserver documents and does them, and everything that can go wrong with them on demand.
 *
 * It reads only: objects change through `apply` and `remove`. What it leaves out: field selectors, aggregated discovery, Table
 * and protobuf encodings, and admission (objects are not validated, so that tests can serve malformed ones).
 */

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { BodyWriter, type RequestLogEntry } from './api-server/body-writer.ts'
import { objectJson } from './api-server/encode.ts'
import { Faults } from './api-server/faults.ts'
import { pageOf, sendPage } from './api-server/list.ts'
import { listOptions } from './api-server/list-options.ts'
import { ObjectStore } from './api-server/object-store.ts'
import { type ResourceName, resourceOfKind, SERVICE_IMPORTS, ServedVersions } from './api-server/resources.ts'
import { ApiError, refusal } from './api-server/status.ts'
import { type Target, targetOf } from './api-server/target.ts'
import { type Break, Watch } from './api-server/watch.ts'
import type { ApiUnderTest, CrdVersion, KubernetesObject } from './api-under-test.ts'
import { writeKubeconfig } from './kubeconfig.ts'
import { type Access, textOfAccess } from './rbac.ts'

export interface FakeApiServerOptions {
  /** Versions of the ServiceImport CRD there are at the start. Default: both. */
  readonly crdVersions?: readonly CrdVersion[]
  /** Whether `sendInitialEvents` is known, the WatchList feature, by default from Kubernetes 1.32 (not in 1.33). Default: true. */
  readonly hasWatchList?: boolean
  /** Between two bookmarks of a watch. Default: 60,000, as in the API server. */
  readonly bookmarkEveryMs?: number
  /** Bearer tokens it accepts. Default: any, and none. */
  readonly tokens?: readonly string[]
  /** PEM texts; without them it speaks plain HTTP. Clients may show a certificate of the authority. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly authority: string }
  /** Common names of client certificates it accepts, beside `tokens`. Default: any, and none. */
  readonly clients?: readonly string[]
  /** What whoever was let in may do with a resource, as RBAC says. Default: everything. Discovery is everybody's. */
  readonly allows?: (asked: Access) => boolean
  /** Default: chosen by the system. */
  readonly port?: number
  /** Called before every piece of a body is handed to the kernel. */
  readonly onSend?: () => void
}

export interface FakeApiServer extends ApiUnderTest {
  readonly faults: Faults
  /** Newest last; the oldest are forgotten beyond `REQUESTS_MAX`. */
  readonly requests: readonly RequestLogEntry[]
  /** What was asked of resources (`textOfAccess`), allowed or not; recorded where `allows` is given. */
  readonly accesses: ReadonlySet<string>
  /** Open watches, of one resource or of all. */
  watches(resource?: ResourceName): number
  /** The newest resource version. */
  readonly resourceVersion: number
  /** Forgets all changes so far: older versions and `continue` tokens are answered with 410. */
  compact(): void
  /** The resource version grows as it does in a busy cluster, with no change of what is served. */
  passTime(): void
  /** Sends a bookmark now to every watch that allows them. */
  bookmark(): void
  /** Breaks every open watch, or those of one resource. New ones are served as ever. */
  cutWatches(how: Break, resource?: ResourceName): void
  /** Sends octets as they are into every open watch, or those of one resource. */
  sendRaw(text: string, resource?: ResourceName): void
  /** From now on only these bearer tokens; undefined: any, and none. Open watches stay. */
  acceptTokens(tokens: readonly string[] | undefined): void
  /** As `acceptTokens`, for the common names of client certificates. */
  acceptClients(clients: readonly string[] | undefined): void
  setWatchList(hasWatchList: boolean): void
}

/** Requests remembered. */
export const REQUESTS_MAX = 10_000
const BOOKMARK_EVERY_MS = 60_000

export async function startFakeApiServer(options: FakeApiServerOptions = {}): Promise<FakeApiServer> {
  const store = new ObjectStore()
  const faults = new Faults()
  const served = new ServedVersions([])
  served.setCrd(options.crdVersions ?? ['v1beta1', 'v1alpha1'])
  const watches = new Set<Watch>()
  const requests: RequestLogEntry[] = []
  const accesses = new Set<string>()
  let hasWatchList = options.hasWatchList ?? true
  let tokens = options.tokens
  let clients = options.clients

  const ofResource = (resource?: ResourceName): Watch[] =>
    [...watches].filter(({ request }) => resource === undefined || request.resource.name === resource)

  function checkAccess(entry: RequestLogEntry): void {
    if (tokens === undefined && clients === undefined) return
    if (clients?.includes(entry.client) === true) return
    // Nobody in particular is recognised, but may do nothing.
    if (entry.authorization === '' && entry.client === '')
      throw new ApiError(403, 'Forbidden', 'forbidden: User "system:anonymous" cannot do this')
    if (tokens?.some((token) => entry.authorization === `Bearer ${token}`) !== true) throw refusal(401)
  }

  function checkPermission({ verb, group, name, namespace }: Target): void {
    if (options.allows === undefined || verb === 'discovery' || verb === 'other') return
    const asked = { verb, group: group ?? '', resource: name ?? '', namespace }
    accesses.add(textOfAccess(asked))
    if (!options.allows(asked)) throw new ApiError(403, 'Forbidden', `forbidden: cannot ${textOfAccess(asked)}`)
  }

  async function serve(target: Target, writer: BodyWriter, entry: RequestLogEntry, response: ServerResponse) {
    const { verb, group, version, query } = target
    const met = { verb, resource: target.resource }
    await faults.untilReleased(met)
    // The client may have gone meanwhile, and would leave a watch that nobody closes.
    if (!writer.isOpen) return
    checkAccess(entry)
    checkPermission(target)
    const refused = faults.refusalOf(met)
    if (refused !== undefined) throw refused
    writer.cutAfterOctets = faults.bodyCutOf(met)
    if (entry.method !== 'GET') throw new ApiError(405, 'MethodNotAllowed', 'this API server is read only')
    if (verb === 'discovery') {
      const document = served.discover(group, version)
      return document === undefined ? await sendNothingHere(writer) : await sendJson(writer, 200, document)
    }
    const resource = target.name === undefined ? undefined : served.find(group ?? '', version ?? '', target.name)
    if (resource === undefined || version === undefined) {
      // Within a built-in group it is the API's business.
      if (target.name !== undefined && served.isBuiltIn(group ?? '', version ?? '')) throw refusal(404)
      return await sendNothingHere(writer)
    }
    const { namespace, objectName } = target
    if (verb === 'get') {
      const stored = store.find(resource, namespace ?? '', objectName ?? '')
      if (stored === undefined) throw notFound(resource.group, resource.name, objectName ?? '')
      return await sendText(writer, 200, `${objectJson(resource, version, stored)}\n`)
    }
    const request = { resource, version, namespace, options: listOptions(query, hasWatchList) }
    if (!request.options.isWatch) return await sendPage(pageOf(store, faults, request), request, writer, faults)
    const watch = new Watch(store, faults, writer, request)
    response.once('close', () => {
      watches.delete(watch)
      watch.close()
    })
    watch.start(options.bookmarkEveryMs ?? BOOKMARK_EVERY_MS)
    watches.add(watch)
  }

  async function onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request
    const entry: RequestLogEntry = {
      method,
      path: url,
      userAgent: headers['user-agent'] ?? '',
      authorization: headers.authorization ?? '',
      client: clientOf(request.socket),
      acceptsGzip: /\bgzip\b/.test(String(headers['accept-encoding'])),
      status: 0,
      bytes: 0,
      isOpen: true,
    }
    requests.push(entry)
    if (requests.length > REQUESTS_MAX) requests.shift()
    response.once('close', () => (entry.isOpen = false))
    response.setHeader('audit-id', randomUUID())
    response.setHeader('cache-control', 'no-cache, private')
    const writer = new BodyWriter(response, entry, faults, options.onSend)
    try {
      await serve(targetOf(url), writer, entry, response)
    } catch (error) {
      const told = error instanceof ApiError ? error : new ApiError(500, 'InternalError', String(error))
      const { retryAfterSeconds, status } = told
      if (!(error instanceof ApiError)) process.emitWarning(String((error as Error).stack))
      if (entry.status !== 0) await writer.cut(false)
      else {
        await sendJson(
          writer,
          status.code,
          status,
          retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) },
        )
      }
    }
  }

  const listener = (request: IncomingMessage, response: ServerResponse): void => void onRequest(request, response)
  const { tls } = options
  const server =
    tls === undefined
      ? createServer(listener)
      : createSecureServer(
          // Who shows none, or one of nobody's, is let in as far as an authorization: header takes him.
          { cert: tls.certificate, key: tls.key, ca: tls.authority, requestCert: true, rejectUnauthorized: false },
          listener,
        )
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`
  const directory = await mkdtemp(join(tmpdir(), 'fake-api-server-'))
  let kubeconfigs = 0

  const apply = (object: KubernetesObject): void => {
    const resource = resourceOfKind(object.kind)
    const version = object.apiVersion.split('/')[1] ?? ''
    if (served.find(resource.group, version, resource.name) === undefined) {
      throw new Error(`no matches for kind "${object.kind}" in version "${object.apiVersion}"`)
    }
    store.apply(resource, object)
  }
  const endCrdWatches = (): void => {
    for (const watch of ofResource('serviceimports')) watch.break('end')
  }

  return {
    url,
    faults,
    requests,
    accesses,
    get resourceVersion() {
      return store.version
    },
    watches: (resource) => ofResource(resource).length,
    compact: () => store.compact(),
    passTime: () => store.passTime(),
    bookmark: () => ofResource().forEach((watch) => watch.bookmark()),
    cutWatches: (how, resource) => ofResource(resource).forEach((watch) => watch.break(how)),
    sendRaw: (text, resource) => ofResource(resource).forEach((watch) => watch.raw(text)),
    acceptTokens: (accepted) => void (tokens = accepted),
    acceptClients: (accepted) => void (clients = accepted),
    setWatchList: (has) => void (hasWatchList = has),
    apply: promising(apply),
    applyMany: promising((objects) => objects.forEach(apply)),
    remove: promising((kind, namespace, name) => {
      if (!store.remove(resourceOfKind(kind), namespace, name)) {
        throw new Error(`there is no ${kind} ${namespace}/${name}`)
      }
    }),
    installCrd: promising((versions) => {
      served.setCrd(versions)
      // The storage of the old versions is torn down, and their watches with it.
      endCrdWatches()
    }),
    removeCrd: promising(() => {
      store.removeAll(SERVICE_IMPORTS)
      served.setCrd([])
      endCrdWatches()
    }),
    kubeconfig: async (options = {}) => {
      const path = join(directory, `kubeconfig-${kubeconfigs++}`)
      return await writeKubeconfig(path, url, options)
    },
    stop: async () => {
      faults.lift()
      for (const watch of watches) watch.close()
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** The common name of a client's certificate, if our authority made it. */
function clientOf(socket: Socket): string {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return ''
  const name: unknown = socket.getPeerCertificate().subject?.CN
  return typeof name === 'string' ? name : ''
}

/** What is done at once here takes a round trip with a real server. */
function promising<Given extends unknown[]>(step: (...given: Given) => void): (...given: Given) => Promise<void> {
  return (...given) =>
    new Promise((resolve) => {
      step(...given)
      resolve()
    })
}

async function sendJson(
  writer: BodyWriter,
  status: number,
  document: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  await sendText(writer, status, `${JSON.stringify(document)}\n`, { 'content-type': 'application/json', ...headers })
}

/** Paths under which nothing is served are not the API's business: plain text, no Status. */
async function sendNothingHere(writer: BodyWriter): Promise<void> {
  await sendText(writer, 404, '404 page not found\n', { 'content-type': 'text/plain; charset=utf-8' })
}

async function sendText(
  writer: BodyWriter,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = { 'content-type': 'application/json' },
): Promise<void> {
  writer.head(status, { ...headers, 'content-length': String(Buffer.byteLength(text)) })
  await writer.write(text)
  await writer.end()
}

function notFound(group: string, resource: string, name: string): ApiError {
  return new ApiError(404, 'NotFound', `${resource}.${group} "${name}" not found`, {
    details: { name, group, kind: resource },
  })
}
