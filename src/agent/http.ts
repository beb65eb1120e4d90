/** What the agent says over HTTP: metrics for the scraper, probes for the kubelet, caches and explanations for the operator. */

import type { Config } from '../config/config.ts'
import { splitHostPort } from '../config/syntax.ts'
import { type HttpListener, type HttpPages, localOnly, openHttpListener } from '../observe/http.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import { type Condition, probePages } from '../observe/probes.ts'
import { restingPage } from '../observe/resting-page.ts'
import { type CachePagesParts, cachePages } from './cache-pages.ts'
import { textOf } from './error-text.ts'
import type { ExplainParts } from './explain/explain.ts'
import { explainPage } from './explain/page.ts'

export interface AgentHttpParts {
  readonly metrics: Metrics
  readonly cache: CachePagesParts
  readonly explain: ExplainParts
  alive(): Promise<readonly Condition[]>
  ready(): readonly Condition[]
  readonly log: Log
}

export interface NamedHttpListener {
  readonly what: string
  readonly listener: HttpListener
}

/** An address that our interface carries cannot be listened on before it is there. */
export type HttpPlace = 'on the interface' | 'elsewhere'

/** Milliseconds that a scrape or a probe has to finish when everything else has stopped. */
const DRAIN_MS = 500

export class AgentHttp {
  readonly #config: Config
  readonly #parts: AgentHttpParts
  readonly #open: NamedHttpListener[] = []

  /** Addresses are those of `config`: a change of them waits for a restart. */
  constructor(config: Config, parts: AgentHttpParts) {
    this.#config = config
    this.#parts = parts
  }

  get listeners(): readonly NamedHttpListener[] {
    return this.#open
  }

  /** Opens those of one place. What was open before one failed stays so until the stop. */
  async open(where: HttpPlace): Promise<void> {
    const { metrics, health } = this.#config
    if (this.#isAt(where, metrics.address))
      await this.#listen('metrics', metrics.address, metricsPage(this.#parts.metrics))
    if (this.#isAt(where, health.address)) await this.#listen('health', health.address, healthPages(this.#parts))
  }

  async stop(): Promise<void> {
    await Promise.all(this.#open.map(({ listener }) => listener.stop(DRAIN_MS)))
  }

  #isAt(where: HttpPlace, text: string): boolean {
    const { host, listen } = this.#config
    const isOnInterface = host.interface !== null && listen.addresses.includes(splitHostPort(text)!.address)
    return isOnInterface === (where === 'on the interface')
  }

  async #listen(what: string, text: string, pages: HttpPages): Promise<void> {
    const { log } = this.#parts
    const { address, port } = splitHostPort(text)!
    const listener = await openHttpListener(
      { address, port, reusePort: this.#config.host.stateDirectory !== null, purpose: what },
      pages,
      (path, error) => log.error('http-failed', { path, error: textOf(error) }),
    )
    this.#open.push({ what, listener })
    log.info('http-listening', { what, address: listener.address, port: listener.port })
  }
}

function metricsPage(metrics: Metrics): HttpPages {
  return {
    '/metrics': restingPage(async () => ({
      status: 200,
      contentType: metrics.contentType,
      body: await metrics.render(),
    })),
  }
}

function healthPages(parts: AgentHttpParts): HttpPages {
  return {
    ...probePages({ alive: () => parts.alive(), ready: () => parts.ready() }),
    // Pods may reach the probes; what is cached, and that it stays so, is not theirs to ask for.
    ...localOnly({ ...cachePages(parts.cache), ...explainPage(parts.explain) }),
  }
}
