/** Requests to an API server over TLS, as whoever a kubeconfig of the tests names: for what manifests need that the API suites do not. */

import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { parse } from 'yaml'

export interface ApiReply {
  readonly status: number
  readonly body: unknown
}

export interface AppliedObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
}

const REQUEST_MS = 30_000

export class ApiRequests {
  readonly #server: URL
  readonly #token: string
  readonly #authority: Buffer
  readonly #resources = new Map<string, Promise<readonly unknown[]>>()

  /** `kubeconfig`: a file as `kubeconfig.ts` writes it, with a token and an authority. */
  constructor(kubeconfig: string) {
    const config = parse(readFileSync(kubeconfig, 'utf8')) as {
      clusters: { cluster: { server: string; 'certificate-authority': string } }[]
      users: { user: { token: string } }[]
    }
    const { cluster } = config.clusters[0]!
    this.#server = new URL(cluster.server)
    this.#token = config.users[0]!.user.token
    this.#authority = readFileSync(cluster['certificate-authority'])
  }

  get authority(): Buffer {
    return this.#authority
  }

  /** Server-side apply. Fields that the kind does not have are errors, as is what admission and validation refuse. */
  async apply(object: AppliedObject, options: { readonly dryRun: boolean }): Promise<ApiReply> {
    const query = `fieldManager=manifests&force=true&fieldValidation=Strict${options.dryRun ? '&dryRun=All' : ''}`
    return await this.send('PATCH', `${await this.pathOf(object)}?${query}`, object, 'application/apply-patch+yaml')
  }

  /** Where an object of this kind stands; rejects when the kind is not served. */
  async pathOf({ apiVersion, kind, metadata: { name, namespace } }: AppliedObject): Promise<string> {
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
    const asked = this.#resources.get(root) ?? this.#resourcesOf(root)
    this.#resources.set(root, asked)
    const resource = ((await asked) as { name: string; kind: string; namespaced: boolean }[]).find(
      (one) => one.kind === kind && !one.name.includes('/'),
    )
    if (resource === undefined) throw new Error(`the API server does not serve ${kind} of ${apiVersion}`)
    if (resource.namespaced && namespace === undefined) throw new Error(`${kind} ${name} names no namespace`)
    return `${root}${resource.namespaced ? `/namespaces/${namespace}` : ''}/${resource.name}/${name}`
  }

  async send(method: string, path: string, body?: object, contentType = 'application/json'): Promise<ApiReply> {
    const { promise, resolve, reject } = Promise.withResolvers<ApiReply>()
    const headers = {
      authorization: `Bearer ${this.#token}`,
      accept: 'application/json',
      ...(body !== undefined && { 'content-type': contentType }),
    }
    const url = new URL(path, this.#server)
    const sent = request(url, { method, headers, ca: this.#authority, timeout: REQUEST_MS }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: parse(text) }))
      response.on('error', reject)
    })
    sent.on('timeout', () => sent.destroy(new Error(`no response to ${method} ${path} within ${REQUEST_MS} ms`)))
    sent.on('error', reject)
    // JSON is YAML, and every content type here takes one of them.
    sent.end(body === undefined ? undefined : JSON.stringify(body))
    return await promise
  }

  async #resourcesOf(root: string): Promise<readonly unknown[]> {
    const { status, body } = await this.send('GET', root)
    return status === 200 ? (body as { resources: readonly unknown[] }).resources : []
  }
}
