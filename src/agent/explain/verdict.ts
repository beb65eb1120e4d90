/** The conclusion first: the rcode, who says it, and why, in one line; and what is unusual beside it. Pure. */

import type { Look } from '../../serve/look.ts'
import type { Denial } from './clusterset.ts'
import type {
  ExplainedClusterset,
  ExplainedRecordCache,
  ExplainedResponse,
  ExplainedRoute,
  ExplainedUpstreams,
  Explanation,
  Verdict,
} from './explanation.ts'

/** What a verdict is found from. */
export interface Findings {
  readonly look: Pick<Look, 'kind'>
  readonly route: ExplainedRoute
  readonly response: ExplainedResponse | null
  readonly recordCache: ExplainedRecordCache | null
  readonly upstreams: ExplainedUpstreams | null
  readonly denial: Denial | undefined
}

export function verdictOf(findings: Findings): Verdict {
  const { look, route, response, denial } = findings
  const rcode = response?.rcode ?? null
  switch (look.kind) {
    case 'no-route':
      return { rcode, by: 'agent', reason: 'no-route', text: 'no route of `forward` holds the name' }
    case 'special':
      return { rcode, by: 'agent', reason: 'special-name', text: `names of ${route.zone} never leave the node` }
    case 'short-cut':
      return {
        rcode,
        by: 'agent',
        reason: 'search-suffix',
        text: 'a clusterset name with a search suffix behind it: no such name can exist (clusterset.searchSuffixShortcut)',
      }
    case 'zone':
      if (route.kind === 'own') return { rcode, by: 'agent', reason: 'own-name', text: 'this agent asks itself here' }
      if (denial !== undefined) return { rcode, by: 'zone', ...denial }
      return { rcode, by: 'zone', reason: 'records', text: `${records(response)} from the zone` }
    case 'forward':
      return forwardVerdict(findings, rcode)
  }
}

function forwardVerdict({ recordCache, upstreams, response, route }: Findings, rcode: string | null): Verdict {
  const entry = recordCache?.entry ?? null
  if (recordCache === null || upstreams === null) {
    return {
      rcode,
      by: 'upstream',
      reason: 'upstreams-changed',
      text: 'the upstreams are changing just now: ask again',
    }
  }
  if (!recordCache.isUpstreamAsked && entry !== null) {
    const left = `for ${entry.ttlLeftSeconds} s more`
    if (entry.freshness === 'stale') {
      const since = recordCache.failedRefreshSecondsAgo
      return {
        rcode,
        by: 'record-cache',
        reason: 'stale',
        text: `a stale answer at once, for no upstream had a better one ${since} s ago`,
      }
    }
    if (entry.kind === 'failure') {
      const who = entry.upstream === '' ? 'no upstream answered' : `${entry.upstream} answered ${entry.rcode}`
      return {
        rcode,
        by: 'record-cache',
        reason: 'cached-failure',
        text: `${who}, which is remembered ${left} (RFC 9520)`,
      }
    }
    const what = entry.kind === 'negative' ? 'a denial' : records(response)
    const reason = entry.kind === 'negative' ? 'cached-denial' : 'cached'
    return { rcode, by: 'record-cache', reason, text: `${what} from the record cache, fresh ${left}` }
  }
  return upstreamVerdict(upstreams, recordCache, route, rcode)
}

function upstreamVerdict(
  upstreams: ExplainedUpstreams,
  recordCache: ExplainedRecordCache,
  route: ExplainedRoute,
  staleRcode: string | null,
): Verdict {
  const { order, passedOver, waiters, isFull } = upstreams
  const by = 'upstream'
  const stale = recordCache.staleAfterMs === null ? '' : `; a stale answer after ${recordCache.staleAfterMs} ms without`
  // With something stale to tell, that is told instead of a failure.
  const failing = recordCache.staleAfterMs === null ? 'SERVFAIL' : staleRcode
  if (order.length === 0) {
    const text =
      passedOver.length === 0
        ? `zone ${route.zone} has no upstream now (${upstreams.configured.join(', ')})`
        : 'every upstream leads back to this agent'
    return {
      rcode: failing,
      by,
      reason: passedOver.length === 0 ? 'no-upstreams' : 'upstreams-loop',
      text: text + stale,
    }
  }
  if (isFull) return { rcode: failing, by, reason: 'overloaded', text: `too many queries under way${stale}` }
  if (waiters > 0) {
    return {
      rcode: null,
      by,
      reason: 'in-flight',
      text: `an upstream is being asked already, ${waiters} waiting${stale}`,
    }
  }
  const first = order[0]!
  const dead = order.every(({ isHealthy }) => !isHealthy) ? ', though every upstream is dead' : ''
  const what = recordCache.staleAfterMs === null ? 'not kept' : 'kept but stale'
  return {
    rcode: null,
    by,
    reason: recordCache.staleAfterMs === null ? 'ask-upstream' : 'refresh-stale',
    text: `${what}: ${first.to} would be asked over ${upstreams.transport}${dead}${stale}`,
  }
}

function records(response: ExplainedResponse | null): string {
  const count = response?.answer.count ?? 0
  return `${count} record${count === 1 ? '' : 's'}`
}

/** What is unusual and explains much, whatever the verdict. */
export function notesOf(
  { agent, packetCache, verdict }: Pick<Explanation, 'agent' | 'packetCache'> & Partial<Pick<Explanation, 'verdict'>>,
  clusterset: ExplainedClusterset | null,
): string[] {
  const notes = agent.notReady.map(
    ({ name, detail }) => `the agent is not ready: ${name}${detail === null ? '' : ` (${detail})`}`,
  )
  const { hit } = packetCache
  if (hit !== null && verdict !== undefined && verdict.rcode !== hit.rcode) {
    notes.push(`UDP clients are told ${hit.rcode} from the packet cache for ${hit.leftSeconds} s more`)
  }
  if (clusterset === null) return notes
  const { service } = clusterset
  if (clusterset.isFromSnapshot) notes.push('the zone is from the snapshot file; the API server has not been heard yet')
  else if (!clusterset.isConnected && clusterset.state !== 'unsynced') {
    notes.push(`the source (${clusterset.source}) does not answer now: the zone is as it was last seen`)
  }
  if (service?.isChangeWaiting === true) notes.push('a change of the service is not in the zone yet: ask again')
  if (service?.serviceImport?.type === 'ClusterSetIP' && service.endpointSlices > 0 && service.readyEndpoints === 0) {
    notes.push('no endpoint of the service is ready in any cluster: its address leads nowhere')
  }
  if (clusterset.suggestions.length > 0) notes.push(`imported are: ${clusterset.suggestions.join(', ')}`)
  return notes
}
