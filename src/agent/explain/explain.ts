/**
 * How this agent would answer a question now, and why: walks the road of a query and looks at every door, without going
 * through. Asks no upstream, counts nothing, and leaves every cache as it is.
 */

import type { Config } from '../../config/config.ts'
import type { ControlPlane } from '../../control/control-plane.ts'
import { accept } from '../../dns/policy/accept.ts'
import { rcodeName } from '../../dns/wire/header.ts'
import { textOfName } from '../../dns/wire/name.ts'
import type { Query } from '../../dns/wire/query.ts'
import { RecordClass, typeName } from '../../dns/wire/record-type.ts'
import { type UpstreamQuestion, upstreamQuery } from '../../dns/wire/upstream-query.ts'
import type { Zone } from '../../dns/zone/zone.ts'
import type { Condition } from '../../observe/probes.ts'
import type { RecordCache } from '../../serve/cache/record-cache.ts'
import type { Look } from '../../serve/look.ts'
import type { Resolver } from '../../serve/resolve.ts'
import type { Route } from '../../serve/resolve-parts.ts'
import type { AgentFastPath } from '../fast-path.ts'
import type { ListeningOn } from '../listeners.ts'
import { OWN_ZONE } from '../own-query.ts'
import type { FollowedGroup } from '../upstreams.ts'
import { explainClusterset } from './clusterset.ts'
import type {
  ExplainedAgent,
  ExplainedPacketCache,
  ExplainedRoute,
  Explanation,
  RouteKind,
  Verdict,
} from './explanation.ts'
import { explainRecordCache, explainResponse, explainUpstreams } from './forwarding.ts'
import { rounded } from './rounded.ts'
import { notesOf, verdictOf } from './verdict.ts'

/** The agent's parts that are looked at; what a reload replaces is asked for each time. */
export interface ExplainParts {
  readonly version: string
  readonly instance: string
  readonly zone: Zone
  readonly recordCache: RecordCache
  readonly fastPath: Pick<AgentFastPath, 'peek' | 'status'>
  config(): Config
  resolver(): Resolver
  groups(): readonly FollowedGroup[]
  controlPlane(): ControlPlane | undefined
  listening(): readonly ListeningOn[]
  ready(): readonly Condition[]
  /** Monotonic: the clock of the caches. */
  nowSeconds(): number
}

/** What is asked about: a name and type, and the bits of a query that may change the answer. */
export type AskedQuestion = Omit<UpstreamQuestion, 'class'>

export async function explain(asked: AskedQuestion, parts: ExplainParts): Promise<Explanation> {
  const question: UpstreamQuestion = { ...asked, class: RecordClass.IN }
  const { name, type, recursionDesired, dnssecOk, checkingDisabled } = question
  const told = {
    version: 1 as const,
    question: {
      name: textOfName(name),
      type: typeName(type),
      class: 'IN' as const,
      recursionDesired,
      dnssecOk,
      checkingDisabled,
    },
    agent: explainAgent(parts),
    packetCache: explainPacketCache(question, parts),
  }
  // The very bytes that a client would send, through the very door.
  const acceptance = accept(upstreamQuery(question, 0, true))
  if (acceptance.kind !== 'take') {
    const rcode = acceptance.kind === 'refuse' ? rcodeName(acceptance.rcode) : null
    const verdict: Verdict = {
      rcode,
      by: 'accept',
      reason: 'refused-type',
      text: `questions of type ${told.question.type} are refused, whatever the name: nothing that a cache or a forwarder may answer`,
    }
    return { ...told, verdict, notes: notesOf(told, null), accept: { verdict: 'refuse', rcode }, ...NOTHING_FURTHER }
  }
  const walked = {
    ...told,
    accept: { verdict: 'take' as const, rcode: null },
    ...(await walk(question, acceptance.query, parts)),
  }
  return { ...walked, notes: notesOf(walked, walked.clusterset) }
}

const NOTHING_FURTHER = {
  route: null,
  searchSuffix: null,
  clusterset: null,
  recordCache: null,
  upstreams: null,
  response: null,
}

async function walk(
  question: UpstreamQuestion,
  query: Query,
  parts: ExplainParts,
): Promise<Omit<Explanation, 'version' | 'question' | 'agent' | 'packetCache' | 'accept' | 'notes'>> {
  const look = parts.resolver().lookAt(question)
  const route = explainRoute(look, parts)
  const apex = look.matches[0]?.[0]
  const isOfClusterset = route.kind === 'clusterset' && apex !== undefined
  const { part: clusterset, denial } = isOfClusterset
    ? await explainClusterset(question, apex, parts)
    : { part: null, denial: undefined }
  const group = look.kind === 'forward' ? groupOf(look.matches[0]![1], parts) : undefined
  const upstreams = group === undefined ? null : explainUpstreams(group, question)
  const recordCache = look.kind === 'forward' ? explainRecordCache(question, look, parts) : null
  const response = look.resolution === undefined ? null : explainResponse(query, look.resolution)
  return {
    verdict: verdictOf({ look, route, response, upstreams, recordCache, denial }),
    route,
    searchSuffix: look.kind === 'short-cut' && look.denying !== undefined ? { zone: textOfName(look.denying) } : null,
    clusterset,
    recordCache,
    upstreams,
    response,
  }
}

function explainRoute(look: Look, parts: ExplainParts): ExplainedRoute {
  const matches = look.matches.map(([zone, route]) => ({
    zone: textOfName(zone),
    kind: kindOf(route),
    upstreams: groupOf(route, parts)?.route.upstreams ?? [],
  }))
  return { zone: matches[0]?.zone ?? null, kind: matches[0]?.kind ?? 'none', matches }
}

function kindOf(route: Route): RouteKind {
  if (route.kind !== 'zone') return route.kind
  return route.label === `${OWN_ZONE}.` ? 'own' : 'clusterset'
}

function groupOf(route: Route, parts: ExplainParts): FollowedGroup | undefined {
  return route.kind === 'forward' ? parts.groups().find(({ group }) => group === route.upstreams) : undefined
}

function explainAgent({ version, instance, listening, ready }: ExplainParts): ExplainedAgent {
  const notReady = ready().filter(({ isMet }) => !isMet)
  return {
    version,
    instance,
    listening: listening(),
    notReady: notReady.map(({ name, detail }) => ({ name, detail: detail ?? null })),
  }
}

function explainPacketCache(question: UpstreamQuestion, { fastPath, nowSeconds }: ExplainParts): ExplainedPacketCache {
  const kept = fastPath.peek(question)
  const now = nowSeconds()
  const isHit = kept !== undefined && now < kept.freshUntilSeconds
  return {
    implementation: fastPath.status().implementation,
    hit: isHit
      ? {
          rcode: rcodeName(kept.rcode),
          ageSeconds: rounded(now - kept.keptAtSeconds),
          leftSeconds: rounded(kept.freshUntilSeconds - now),
          hits: kept.hits,
          octets: kept.octets,
        }
      : null,
  }
}
