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

/** Opens those of one place, yielding each as soon as it listens: what failed second must not leave the first behind. */
export async function* openAgentHttp(
  config: Config,
  where: HttpPlace,
  parts: AgentHttpParts,
): AsyncGenerator<NamedHttpListener> {
  const { metrics, log } = parts
  const open = async (what: string, text: string, pages: HttpPages): Promise<NamedHttpListener> => {
    const { address, port } = splitHostPort(text)!
    const listener = await openHttpListener(
      { address, port, reusePort: config.host.stateDirectory !== null, purpose: what },
      pages,
      (path, error) => log.error('http-failed', { path, error: textOf(error) }),
    )
    log.info('http-listening', { what, address: listener.address, port: listener.port })
    return { what, listener }
  }
  const isHere = (text: string): boolean => {
    const isOnInterface =
      config.host.interface !== null && config.listen.addresses.includes(splitHostPort(text)!.address)
    return isOnInterface === (where === 'on the interface')
  }
  if (isHere(config.metrics.address)) {
    yield await open('metrics', config.metrics.address, {
      '/metrics': restingPage(async () => ({
        status: 200,
        contentType: metrics.contentType,
        body: await metrics.render(),
      })),
    })
  }
  if (isHere(config.health.address)) {
    yield await open('health', config.health.address, {
      ...probePages({ alive: () => parts.alive(), ready: () => parts.ready() }),
      // Pods may reach the probes; what is cached, and that it stays so, is not theirs to ask for.
      ...localOnly({ ...cachePages(parts.cache), ...explainPage(parts.explain) }),
    })
  }
}
