/** The smallest HTTP server that a scraper and the kubelet need: GET (and HEAD) of a few fixed paths, everything bounded. */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isIPv6, type Socket } from 'node:net'

export interface HttpReply {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

export interface HttpClient {
  readonly address: string
}

/** Makes one reply from the query string. */
export type HttpPage = (query: URLSearchParams, client: HttpClient) => HttpReply | Promise<HttpReply>

/** By exact path without query string, for GET and HEAD; `POST /path` for what changes something. */
export type HttpPages = Readonly<Record<string, HttpPage>>

export interface HttpOptions {
  readonly address: string
  /** 0: the kernel picks one. */
  readonly port: number
  /** SO_REUSEPORT: the next process may listen beside us while we leave. */
  readonly reusePort: boolean
  /** What is listened for, in errors: `metrics`, `health`. */
  readonly purpose: string
}

/** Connections that were closed on purpose. */
export interface HttpRefusals {
  /** There were too many: those that had been silent for longest went. */
  connections: number
  /** They asked again before they were answered; scrapers and kubelets never do, and each request would be worked on at once. */
  pipelined: number
}

export interface HttpListener {
  readonly address: string
  readonly port: number
  readonly refused: Readonly<HttpRefusals>
  /** Ends idle connections at once and the others after their response, at the latest after `drainMs`. Idempotent. */
  stop(drainMs: number): Promise<void>
}

/** The world refused to let us listen. */
export class HttpListenError extends Error {
  readonly code: 'ADDRESS_IN_USE' | 'ADDRESS_NOT_LOCAL' | 'LISTEN_FAILED'

  constructor(code: HttpListenError['code'], message: string, cause: unknown) {
    super(message, { cause })
    this.name = 'HttpListenError'
    this.code = code
  }
}

/** Connections at a time; with one more the one goes that has been silent for longest. Two Prometheus servers and a kubelet need three. */
export const HTTP_CONNECTIONS_MAX = 32
/** Milliseconds for the whole of a request to arrive. */
export const HTTP_REQUEST_MS = 5_000
/** Milliseconds between two requests of a connection; longer than usual scrape intervals would pin dead ones. */
export const HTTP_IDLE_MS = 15_000
/** Milliseconds without progress on a connection. */
export const HTTP_STALL_MS = 30_000
/** Octets of a request's headers. */
export const HTTP_HEADER_BYTES_MAX = 8 * 1024
/** Milliseconds between two looks for connections that have overstayed. */
const CHECK_MS = 1_000

/** Serves the pages; rejects with an `HttpListenError`. `onFailure` is told when a page throws; the client gets a 500. */
export async function openHttpListener(
  options: HttpOptions,
  pages: HttpPages,
  onFailure: (path: string, error: unknown) => void,
): Promise<HttpListener> {
  const byPath = new Map(Object.entries(pages))
  const connections = new Connections()
  const server = createServer(
    {
      requestTimeout: HTTP_REQUEST_MS,
      headersTimeout: HTTP_REQUEST_MS,
      keepAliveTimeout: HTTP_IDLE_MS,
      connectionsCheckingInterval: CHECK_MS,
      maxHeaderSize: HTTP_HEADER_BYTES_MAX,
    },
    (request, response) => {
      if (!connections.takes(request.socket, response)) return
      answer(request, response, byPath, onFailure).catch((error: unknown) => {
        onFailure(request.url ?? '', error)
        response.destroy()
      })
    },
  )
  server.on('connection', (socket) => connections.admit(socket))
  server.setTimeout(HTTP_STALL_MS)
  server.listen({
    host: options.address,
    port: options.port,
    ipv6Only: isIPv6(options.address) && options.address !== '::',
    reusePort: options.reusePort,
    exclusive: true,
  })
  try {
    await once(server, 'listening')
  } catch (error) {
    throw listenError(options, error)
  }
  const bound = server.address()
  let stopped: Promise<void> | undefined
  return {
    address: options.address,
    port: bound !== null && typeof bound === 'object' ? bound.port : options.port,
    refused: connections.refused,
    stop(drainMs) {
      stopped ??= stop(server, drainMs)
      return stopped
    },
  }
}

/** Who is connected, and whose request is being answered. */
class Connections {
  readonly refused: HttpRefusals = { connections: 0, pipelined: 0 }
  /** Those that nobody answers at the moment, the one that has been silent for longest first. */
  readonly #silent = new Set<Socket>()
  readonly #answered = new Set<Socket>()

  admit(socket: Socket): void {
    if (this.#silent.size + this.#answered.size >= HTTP_CONNECTIONS_MAX) {
      const [longestSilent = socket] = this.#silent
      this.refused.connections++
      this.#forget(longestSilent)
      longestSilent.destroy()
      if (longestSilent === socket) return
    }
    this.#silent.add(socket)
    socket.on('close', () => this.#forget(socket))
  }

  /** Whether the request is to be answered; false where another one of its connection is. */
  takes(socket: Socket, response: ServerResponse): boolean {
    if (socket.destroyed) return false
    if (this.#answered.has(socket)) {
      this.refused.pipelined++
      socket.destroy()
      return false
    }
    this.#silent.delete(socket)
    this.#answered.add(socket)
    response.on('close', () => {
      if (this.#answered.delete(socket) && !socket.destroyed) this.#silent.add(socket)
    })
    return true
  }

  #forget(socket: Socket): void {
    this.#silent.delete(socket)
    this.#answered.delete(socket)
  }
}

/** The same pages, for clients of this machine alone: what they say or do is the operator's. */
export function localOnly(pages: HttpPages): HttpPages {
  return Object.fromEntries(
    Object.entries(pages).map(([path, page]) => [
      path,
      (query: URLSearchParams, client: HttpClient) =>
        LOOPBACK.test(client.address) ? page(query, client) : plain(403, "ask from the agent's own network namespace"),
    ]),
  )
}

/** As the kernel writes the addresses of its own machine. */
const LOOPBACK = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  pages: ReadonlyMap<string, HttpPage>,
  onFailure: (path: string, error: unknown) => void,
): Promise<void> {
  // Nothing that we serve takes a body.
  request.resume()
  const [path, queryString] = (request.url ?? '').split('?', 2)
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  const page = pages.get(isRead ? path! : `${request.method} ${path}`)
  const allowed = [pages.has(path!) ? 'GET, HEAD' : '', pages.has(`POST ${path}`) ? 'POST' : '']
    .filter(Boolean)
    .join(', ')
  if (page === undefined && allowed === '') {
    send(response, plain(404, `nothing here; try ${[...pages.keys()].join(' or ')}`))
  } else if (page === undefined) {
    response.setHeader('allow', allowed)
    send(response, plain(405, allowed.replace(', ', ' or ')))
  } else {
    try {
      send(response, await page(new URLSearchParams(queryString), { address: request.socket.remoteAddress ?? '' }))
    } catch (error) {
      onFailure(path!, error)
      send(response, plain(500, 'failed; see the log'))
    }
  }
}

function plain(status: number, text: string): HttpReply {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${text}\n` }
}

function send(response: ServerResponse, { status, contentType, body }: HttpReply): void {
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  })
  // For HEAD node:http keeps the body to itself.
  response.end(body)
}

async function stop(server: Server, drainMs: number): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  const deadline = setTimeout(() => server.closeAllConnections(), drainMs)
  await closed
  clearTimeout(deadline)
}

function listenError({ address, port, purpose }: HttpOptions, cause: unknown): HttpListenError {
  const where = `cannot listen on ${address} port ${port} (${purpose})`
  const systemCode = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (systemCode === 'EADDRINUSE')
    return new HttpListenError('ADDRESS_IN_USE', `${where}: another process has it`, cause)
  if (systemCode === 'EADDRNOTAVAIL') {
    return new HttpListenError('ADDRESS_NOT_LOCAL', `${where}: no interface of this machine has the address`, cause)
  }
  return new HttpListenError(
    'LISTEN_FAILED',
    `${where}: ${cause instanceof Error ? cause.message : String(cause)}`,
    cause,
  )
}
