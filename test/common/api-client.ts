/** The least that talks to an API server by a kubeconfig: for tests of the API servers themselves. */

import { readFile } from 'node:fs/promises'
import * as http from 'node:http'
import * as https from 'node:https'
import { parse } from 'yaml'
import type { KubernetesObject } from './api-under-test.ts'

/** Milliseconds until a response's head, and until the end of one that is no watch. A real server thinks for seconds about a version to come. */
const HEAD_MS = 30_000
const WHOLE_MS = 30_000

export interface ApiAnswer {
  readonly status: number
  // biome-ignore format: what JSON says, as tests look at it
  readonly json: { kind: string; apiVersion: string; code: number; reason: string; items: KubernetesObject[]; metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number }; preferredVersion: { version: string } }
}

export interface WatchEvent {
  readonly type: string
  readonly object: KubernetesObject & { code?: number; reason?: string }
}

export interface WatchUnderTest {
  /** Of the response; unless 200 there are no events but one Status. */
  readonly status: number
  readonly events: readonly WatchEvent[]
  /** Types with names, as `ADDED web`, in order of arrival. */
  told(): string[]
  hasEnded(): boolean
  close(): void
}

interface Kubeconfig {
  readonly clusters: readonly { cluster: { server: string; 'certificate-authority'?: string } }[]
  readonly users: readonly { user: { token?: string } }[]
}

export class ApiClient {
  readonly #server: string
  readonly #options: https.RequestOptions

  private constructor(server: string, options: https.RequestOptions) {
    this.#server = server
    this.#options = options
  }

  static async open(kubeconfigPath: string): Promise<ApiClient> {
    const kubeconfig = parse(await readFile(kubeconfigPath, 'utf8')) as Kubeconfig
    const { server, 'certificate-authority': caPath } = kubeconfig.clusters[0]!.cluster
    const { token } = kubeconfig.users[0]!.user
    return new ApiClient(server, {
      ...(caPath !== undefined && { ca: await readFile(caPath) }),
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    })
  }

  /** Rejects when the whole of it takes too long: a server may take for a watch what it should have refused. */
  async get(path: string): Promise<ApiAnswer> {
    const response = await this.#request(path)
    const timer = setTimeout(() => response.destroy(new Error(`${path}: no end within ${WHOLE_MS} ms`)), WHOLE_MS)
    let text = ''
    try {
      for await (const chunk of response.setEncoding('utf8')) text += chunk as string
    } finally {
      clearTimeout(timer)
    }
    const json = (text.startsWith('{') ? JSON.parse(text) : {}) as ApiAnswer['json']
    return { status: response.statusCode ?? 0, json }
  }

  async names(path: string): Promise<string[]> {
    return (await this.get(path)).json.items.map((item) => item.metadata.name)
  }

  async watch(path: string): Promise<WatchUnderTest> {
    const response = await this.#request(path)
    const events: WatchEvent[] = []
    let rest = ''
    response.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      for (const line of lines) events.push(JSON.parse(line) as WatchEvent)
    })
    // Closing it ourselves is told as an error of the response.
    response.on('error', () => response.destroy())
    return {
      status: response.statusCode ?? 0,
      events,
      told: () => events.map(({ type, object }) => `${type} ${object.metadata.name ?? ''}`.trim()),
      hasEnded: () => response.complete,
      close: () => response.destroy(),
    }
  }

  #request(path: string): Promise<http.IncomingMessage> {
    const get = this.#server.startsWith('https:') ? https.get : http.get
    return new Promise((resolve, reject) => {
      const sent = get(this.#server + path, this.#options, (response) => {
        clearTimeout(timer)
        resolve(response)
      })
      const timer = setTimeout(() => sent.destroy(new Error(`${path}: no head within ${HEAD_MS} ms`)), HEAD_MS)
      sent.on('error', (failure) => {
        clearTimeout(timer)
        reject(failure)
      })
    })
  }
}
