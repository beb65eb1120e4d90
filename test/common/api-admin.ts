/** What tests do with a real API server as its administrator: objects and CRDs come and go, by server-side apply. */

import { readFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { parse } from 'yaml'
import { until } from './agent-process.ts'
import { resourceOfKind } from './api-server/resources.ts'
import type { CrdVersion, KubernetesObject, ObjectKind } from './api-under-test.ts'

const CRDS = ['serviceimports', 'serviceexports'].map((plural) => ({
  name: `${plural}.multicluster.x-k8s.io`,
  file: new URL(`../vectors/crds/multicluster.x-k8s.io_${plural}.yaml`, import.meta.url),
}))
const CRD_PATH = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
/** A CRD's end waits for its objects, again and again while the storage of a new one is not ready. */
const SETTLE_MS = 90_000
/** Requests of `applyMany` under way at once; below what the API server's priority and fairness lets one user do. */
const APPLIES_MAX = 16

interface Reply {
  readonly status: number
  readonly text: string
}

/** The API server said no. */
export class ApiRefusal extends Error {
  readonly status: number
  /** Its own words: of a Status its message. */
  readonly reason: string

  constructor(what: string, { status, text }: Reply) {
    super(`${what}: ${status} ${text}`)
    this.status = status
    this.reason = messageOf(text)
  }

  /** Whether it is what the object says that was refused, by validation or by the schema; the latter is a 500 of server-side apply. */
  get isOfContent(): boolean {
    return (
      this.status === 422 || this.status === 400 || (this.status === 500 && this.reason.includes('typed patch object'))
    )
  }
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text
  } catch {
    return text
  }
}

export class ApiAdmin {
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

  /**
   * Why it is not ready; undefined when it is. Until it listens, connections are refused, and its certificate is not
   * there or half written.
   */
  async unreadiness(): Promise<string | undefined> {
    try {
      const { status, text } = await this.#send('GET', '/readyz')
      return status === 200 ? undefined : `/readyz: ${status} ${text}`
    } catch (error) {
      // Made with what was there of the certificate.
      this.#agent?.destroy()
      this.#agent = undefined
      return String(error)
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
      // A watch and no list: from version 1.31 on, lists are answered before watches are ("storage is (re)initializing").
      path: `/apis/multicluster.x-k8s.io/${version}/serviceimports?watch=true&timeoutSeconds=1`,
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
    const reply = await this.#send(method, path, body)
    if (reply.status < 200 || reply.status > 299) throw new ApiRefusal(`${method} ${path}`, reply)
    return reply.text
  }

  async #send(method: string, path: string, body?: object): Promise<Reply> {
    this.#agent ??= new Agent({ keepAlive: true, maxSockets: APPLIES_MAX, ca: await readFile(this.certificatePath) })
    const headers = {
      authorization: `Bearer ${this.#token}`,
      ...(body !== undefined && { 'content-type': 'application/apply-patch+yaml' }),
    }
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
