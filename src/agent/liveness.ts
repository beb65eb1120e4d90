/**
 * Whether we answer, by real queries: what `/healthz` and `nodelocal-mcs healthcheck` say.
 *
 * As the watchdog sees it: without rules every listen address has to be answered over both transports; with rules, which may be away
 * for a moment, one of each transport. That somebody else answers on some of them no restart would mend; on all, nobody is served.
 * No upstream is asked.
 */

import { isIPv6 } from 'node:net'
import type { Config } from '../config/config.ts'
import type { Condition } from '../observe/probes.ts'
import { addressesWithFallback } from './own-addresses.ts'
import { askOurselves, type OwnTarget } from './own-query.ts'

/** Milliseconds for an answer, and how often one target is asked: together less than a probe waits (`timeoutSeconds: 5`). */
const ANSWER_MS = 1_000
const TRIES = 3

/** Where somebody who knows only the configuration has to ask; a wildcard address is asked by loopback. */
export function targetsOf(config: Config): OwnTarget[] {
  const { listen } = config
  const withFallback = addressesWithFallback(config)
  return listen.addresses.flatMap((listened) => {
    const address = listened === '0.0.0.0' ? '127.0.0.1' : listened === '::' ? '::1' : listened
    return (['udp', 'tcp'] as const).map((transport) => ({
      transport,
      address,
      port: listen.port,
      isFromLoopback: withFallback.includes(listened),
    }))
  })
}

/** One condition for each transport. Takes three seconds at most. */
export async function liveness(targets: readonly OwnTarget[], areLedHere: boolean): Promise<Condition[]> {
  const asked = await Promise.all(targets.map(async (target) => ({ target, ...(await answerOf(target)) })))
  return (['udp', 'tcp'] as const).flatMap((transport) => {
    const ofTransport = asked.filter(({ target }) => target.transport === transport)
    if (ofTransport.length === 0) return []
    const isSilent = ofTransport.some(({ isAnswered }) => !isAnswered)
    const isMet = ofTransport.some(({ isAgent }) => isAgent) && (areLedHere || !isSilent)
    const detail = ofTransport.flatMap(({ target, isAgent, why }) => (isAgent ? [] : [`${whereOf(target)}: ${why}`]))
    return [{ name: `answers-over-${transport}`, isMet, ...(detail.length > 0 && { detail: detail.join('; ') }) }]
  })
}

interface Answered {
  readonly isAnswered: boolean
  /** By this agent, or another one of the node. */
  readonly isAgent: boolean
  readonly why: string
}

async function answerOf(target: OwnTarget): Promise<Answered> {
  let last: Answered = { isAnswered: false, isAgent: false, why: '' }
  for (let tries = 0; tries < TRIES && !last.isAgent; tries++) {
    const answer = await askOurselves(target, '', ANSWER_MS)
    last =
      answer.kind === 'none'
        ? { isAnswered: false, isAgent: false, why: answer.why }
        : { isAnswered: true, isAgent: answer.author !== undefined, why: 'somebody answered who is no agent' }
  }
  return last
}

function whereOf({ address, port }: OwnTarget): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
}
