/** An explanation as a person reads it at night: the verdict first, then the road of the query, a door a paragraph. Pure. */

import type {
  ExplainedClusterset,
  ExplainedEntry,
  ExplainedRecordCache,
  ExplainedResponse,
  ExplainedRoute,
  ExplainedSection,
  ExplainedServicePart,
  ExplainedUpstream,
  ExplainedUpstreams,
  Explanation,
  Verdict,
} from './explanation.ts'

/** Where the lines behind a door's name begin. */
const INDENT = 14

export function textOfExplanation(explanation: Explanation): string {
  const { question, verdict, notes } = explanation
  const doors = [
    door('packet cache', packetCacheLines(explanation)),
    door('accept', [acceptLine(explanation)]),
    ...(explanation.route === null ? [] : [door('route', routeLines(explanation.route))]),
    ...(explanation.searchSuffix === null
      ? []
      : [door('short cut', [`denied for ${explanation.searchSuffix.zone}: no name of its schema is so long`])]),
    ...(explanation.clusterset === null ? [] : clustersetDoors(explanation.clusterset)),
    ...(explanation.recordCache === null ? [] : [door('record cache', recordCacheLines(explanation.recordCache))]),
    ...(explanation.upstreams === null
      ? []
      : [door('upstreams', upstreamLines(explanation.upstreams, explanation.recordCache?.isUpstreamAsked === true))]),
    ...(explanation.response === null ? [] : [door('response', responseLines(explanation.response))]),
    door('agent', [agentLine(explanation)]),
  ]
  const bits = [
    question.recursionDesired ? '' : ' +norecurse',
    question.dnssecOk ? ' +dnssec' : '',
    question.checkingDisabled ? ' +cdflag' : '',
  ].join('')
  const head = [
    `${question.name} ${question.type}${bits}`,
    `=> ${verdictText(verdict)}`,
    ...notes.map((note) => ` ! ${note}`),
  ]
  return `${[...head, '', ...doors.flat()].join('\n')}\n`
}

export function verdictText({ rcode, by, reason, text }: Verdict): string {
  return `${rcode ?? 'an upstream decides'} (${by}, ${reason}): ${text}`
}

function door(name: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => `${(i === 0 ? name : '').padEnd(INDENT)}${line}`)
}

function agentLine({ agent: { version, instance, listening } }: Explanation): string {
  const places = listening
    .filter(({ transport }) => transport === 'udp')
    .map(({ address, port }) => `${address} port ${port}`)
  return `version ${version}, instance ${instance}, listening on ${places.join(', ') || 'nothing'}`
}

function packetCacheLines({ packetCache: { implementation, hit } }: Explanation): string[] {
  if (implementation === 'dgram') return ['none: UDP is served by node:dgram, without a fast path']
  if (hit === null) return ['no copy of the response: UDP clients take the slow path too']
  return [
    `hit: the fast path tells UDP clients ${hit.rcode}, kept ${hit.ageSeconds} s ago, for ${hit.leftSeconds} s more; ${hit.hits} hits`,
  ]
}

function acceptLine({ accept }: Explanation): string {
  return accept.verdict === 'take' ? 'taken' : `refused with ${accept.rcode}`
}

function routeLines({ zone, matches }: ExplainedRoute): string[] {
  if (zone === null) return ['none: no zone of `forward` or `clusterset` holds the name']
  return matches.map((match, i) => {
    const upstreams = match.upstreams.length === 0 ? '' : ` to ${match.upstreams.join(', ')}`
    return `${i === 0 ? '' : 'behind it: '}${match.zone} (${match.kind}${upstreams})`
  })
}

function clustersetDoors(clusterset: ExplainedClusterset): string[][] {
  const { name, service } = clusterset
  const doors = [door('zone', [...zoneLines(clusterset), ...nameLines(name)])]
  if (service !== null) doors.push(door('objects', serviceLines(service)))
  return doors
}

function zoneLines(clusterset: ExplainedClusterset): string[] {
  const { zone, state, source, serial, services, ttlSeconds, apiVersion, lastEventSecondsAgo, watchErrors } = clusterset
  const from = clusterset.isFromSnapshot ? ', from a snapshot' : ''
  const how = [
    apiVersion ?? '',
    source === 'none' ? '' : clusterset.isConnected ? 'connected' : 'NOT connected',
    lastEventSecondsAgo === null ? '' : `last event ${lastEventSecondsAgo} s ago`,
    ...Object.entries(watchErrors).map(([code, count]) => `${count} failures ${code}`),
  ].filter((text) => text !== '')
  return [
    `${zone} is ${state}${from} (${[`source ${source}`, ...how].join(', ')})`,
    `serial ${serial}, ${services} services, ttl ${ttlSeconds} s`,
  ]
}

function nameLines({ owner, rrsets }: ExplainedClusterset['name']): string[] {
  if (owner === 'nobody') return ['the name is not there']
  if (rrsets.length === 0) return [`the name is there (${owner}), without records`]
  return [
    `the name is there (${owner}):`,
    ...rrsets.flatMap(({ type, ttlSeconds, count, records }) => [
      ...records.map(
        ({ data, from }) => `  ${ttlSeconds} ${type} ${data}${from.length === 0 ? '' : `   from ${from.join(', ')}`}`,
      ),
      ...more(count, records.length, type),
    ]),
  ]
}

function more(count: number, told: number, what: string): string[] {
  return count > told ? [`  ... ${count - told} more ${what}`] : []
}

function serviceLines(service: ExplainedServicePart): string[] {
  const { serviceImport, slices, endpointSlices, readyEndpoints, ignored } = service
  const first =
    serviceImport === null
      ? `ServiceImport ${service.namespace}/${service.name}: none`
      : `ServiceImport ${serviceImport.object}: ${serviceImport.type}, ${counted(serviceImport.addresses, 'address', 'addresses')}${ports(serviceImport.ports)}`
  return [
    first,
    `${counted(endpointSlices, 'EndpointSlice', 'EndpointSlices')}, ${readyEndpoints} endpoints ready`,
    ...slices.map((slice) => {
      const notReady = slice.notReady === null ? '' : `, ${slice.notReady} not ready`
      const kind = slice.isServiceAddress ? ', a service address' : ''
      return `  ${slice.object} from ${slice.cluster ?? 'no cluster'}: ${slice.ready} ready${notReady}${ports(slice.ports)}${kind}`
    }),
    ...more(endpointSlices, slices.length, 'EndpointSlices'),
    ...ignored.map(
      ({ object, reason, detail, count }) =>
        `  ignored: ${object}: ${reason}, ${detail}${count > 1 ? ` (${count})` : ''}`,
    ),
  ]
}

function counted(count: number, one: string, several: string): string {
  return `${count} ${count === 1 ? one : several}`
}

function ports(texts: readonly string[]): string {
  return texts.length === 0 ? '' : `, ports ${texts.join(', ')}`
}

function recordCacheLines(cache: ExplainedRecordCache): string[] {
  const { entry, others } = cache
  const lines = [entry === null ? 'nothing kept' : entryText(entry)]
  if (entry !== null && cache.isUpstreamAsked) {
    lines.push(
      cache.staleAfterMs === null
        ? 'an upstream is asked first'
        : `an upstream is asked first; this is told when it has not answered within ${cache.staleAfterMs} ms`,
    )
  }
  if (cache.isPrefetchDue) lines.push('due for renewal: the next who asks has it renewed')
  if (cache.isRefreshing) lines.push('being renewed now')
  if (cache.failedRefreshSecondsAgo !== null) lines.push(`last renewal failed ${cache.failedRefreshSecondsAgo} s ago`)
  return [...lines, ...others.map((other) => `also kept ${bitsOf(other)}: ${entryText(other)}`)]
}

function entryText(entry: ExplainedEntry): string {
  const { kind, rcode, freshness, ageSeconds, ttlLeftSeconds, staleLeftSeconds, upstream, hits } = entry
  const left =
    freshness === 'fresh'
      ? `${ttlLeftSeconds} s left`
      : freshness === 'stale'
        ? `may be served for ${staleLeftSeconds} s more`
        : 'no longer served'
  const from = upstream === '' ? 'no upstream' : upstream
  return `${kind} ${rcode} from ${from}, ${freshness}, ${ageSeconds} s old, ${left}; ${hits} hits`
}

function bitsOf({ recursionDesired, dnssecOk, checkingDisabled }: ExplainedEntry): string {
  const bits = [recursionDesired ? '' : '+norecurse', dnssecOk ? '+dnssec' : '', checkingDisabled ? '+cdflag' : '']
  return bits.filter((bit) => bit !== '').join(' ') || 'plain'
}

function upstreamLines(upstreams: ExplainedUpstreams, isAsked: boolean): string[] {
  const { order, passedOver, configured, transport, waiters, isFull } = upstreams
  const lines = [
    `${isAsked ? 'asked' : 'not asked; if they were,'} over ${transport}, in this order (${configured.join(', ')}):`,
  ]
  if (order.length === 0) lines.push('  nobody')
  lines.push(...order.map((upstream, i) => `  ${i + 1}. ${upstreamText(upstream)}`))
  const first = order.filter(({ isAmongFirst }) => isAmongFirst)
  if (first.length > 1) lines.push(`  about equally fast are the first ${first.length}: chance decides among them`)
  lines.push(...passedOver.map((upstream) => `  passed over, for it asks us: ${upstreamText(upstream)}`))
  if (waiters > 0) lines.push(`  ${waiters} clients wait for this answer now`)
  if (isFull) lines.push('  the limit of queries under way is reached')
  return lines
}

function upstreamText(upstream: ExplainedUpstream): string {
  const { to, isHealthy, requests, roundTripMs, answeredSecondsAgo, timeouts, unreachable } = upstream
  if (requests === 0) return `${to}: not asked yet`
  const answered = answeredSecondsAgo === null ? 'never answered' : `answered ${answeredSecondsAgo} s ago`
  return [
    `${to}: ${isHealthy ? 'alive' : 'DEAD'}`,
    ...(roundTripMs === null || answeredSecondsAgo === null ? [] : [`round trip ${roundTripMs} ms`]),
    answered,
    `${requests} asked, ${timeouts} timed out, ${unreachable} unreachable`,
    `${upstream.inFlight} in flight, ${upstream.openConnections} connections`,
    ...(upstream.isWithoutEdns ? ['without EDNS'] : []),
  ].join('; ')
}

export function responseLines(response: Omit<ExplainedResponse, 'isTruncated'> & Partial<ExplainedResponse>): string[] {
  const { rcode, flags, octets, isTruncated, extendedErrors } = response
  const truncated = [
    isTruncated?.plain === true ? 'over UDP without EDNS' : '',
    isTruncated?.edns === true ? 'over UDP with EDNS' : '',
  ].filter((text) => text !== '')
  return [
    `${rcode}, flags ${flags.join(' ')}, ${octets} octets`,
    ...(truncated.length === 0 ? [] : [`truncated ${truncated.join(' and ')}: the client has to come by TCP`]),
    ...extendedErrors.map(({ code, text }) => `extended error ${code}${text === '' ? '' : `: ${text}`}`),
    ...sectionLines('answer', response.answer),
    ...sectionLines('authority', response.authority),
    ...sectionLines('additional', response.additional),
  ]
}

function sectionLines(name: string, { count, records }: ExplainedSection): string[] {
  if (count === 0) return []
  return [
    `${name}:`,
    ...records.map((record) => `  ${record.name} ${record.ttlSeconds} ${record.type} ${record.data}`),
    ...more(count, records.length, 'records'),
  ]
}
