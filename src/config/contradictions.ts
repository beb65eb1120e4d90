/**
 * Settings that are each right and wrong together. Works on the raw value, whatever its shape, so that an operator
 * hears of these at the same time as of everything else. Pure.
 */

import { canonicalAddress, parseUpstream, splitHostPort } from './syntax.ts'

/** One thing that is wrong, with its place in the file: `forward[0].upstreams[1]`. */
export interface Problem {
  readonly path: readonly (string | number)[]
  readonly text: string
}

/** Everything in the value that contradicts something else in it. */
export function contradictionsIn(value: unknown): Problem[] {
  return [
    ...addressesTwice(value),
    ...zonesTwice(value),
    ...serverNamesUnverified(value),
    ...authoritiesUnused(value),
    ...ttlsCrossed(value),
    ...connectionsCrossed(value),
    ...portsTwice(value),
    ...hostCrossed(value),
    ...fallbackCrossed(value),
    ...wildcardsCrossed(value),
    ...watchdogCrossed(value),
  ]
}

function* addressesTwice(value: unknown): Generator<Problem> {
  const seen = new Set<string>()
  const texts = [...strings(at(value, 'listen', 'addresses'))]
  const all = new Set(texts.map(([, text]) => canonicalAddress(text) ?? text))
  for (const [index, text] of texts) {
    const address = canonicalAddress(text) ?? text
    const wildcard = wildcardOf(address)
    const path = ['listen', 'addresses', index]
    if (seen.has(address)) yield { path, text: `${text} stands here twice` }
    else if (address !== wildcard && all.has(wildcard)) yield { path, text: `${text} is in ${wildcard} already` }
    seen.add(address)
  }
}

/** The address that stands for all of its family. */
function wildcardOf(address: string): string {
  return address.includes(':') ? '::' : '0.0.0.0'
}

function* zonesTwice(value: unknown): Generator<Problem> {
  const owners = new Map<string, string>()
  const claim = function* (zones: unknown, path: readonly (string | number)[], owner: string): Generator<Problem> {
    for (const [index, text] of strings(zones)) {
      const zone = text.toLowerCase().replace(/(.)\.$/, '$1')
      const before = owners.get(zone)
      if (before === undefined) owners.set(zone, owner)
      else yield { path: [...path, index], text: `${zone} is already ${before}` }
    }
  }
  const clusterset = at(value, 'clusterset', 'zones') ?? ['clusterset.local']
  yield* claim(clusterset, ['clusterset', 'zones'], 'a clusterset zone')
  for (const [index, route] of items(at(value, 'forward'))) {
    yield* claim(at(route, 'zones'), ['forward', index, 'zones'], `routed by forward[${index}]`)
  }
}

function* serverNamesUnverified(value: unknown): Generator<Problem> {
  for (const [index, route] of items(at(value, 'forward'))) {
    if (at(route, 'transport') === 'tls') continue
    for (const [position, text] of strings(at(route, 'upstreams'))) {
      const upstream = parseUpstream(text)
      if (upstream.kind !== 'address' || upstream.serverName === undefined) continue
      yield { path: ['forward', index, 'upstreams', position], text: 'has a #name, which only transport tls verifies' }
    }
  }
}

function* authoritiesUnused(value: unknown): Generator<Problem> {
  for (const [index, route] of items(at(value, 'forward'))) {
    if (at(route, 'transport') === 'tls' || typeof at(route, 'caFile') !== 'string') continue
    yield { path: ['forward', index, 'caFile'], text: 'is set, but only transport tls verifies certificates' }
  }
}

function* ttlsCrossed(value: unknown): Generator<Problem> {
  const min = at(value, 'cache', 'minTtlSeconds') ?? 0
  const max = at(value, 'cache', 'maxTtlSeconds') ?? 30
  if (typeof min === 'number' && typeof max === 'number' && min > max) {
    yield { path: ['cache', 'minTtlSeconds'], text: `is ${min}, above maxTtlSeconds, which is ${max}` }
  }
}

function* connectionsCrossed(value: unknown): Generator<Problem> {
  const all = at(value, 'tcp', 'connectionsMax') ?? 1000
  const perClient = at(value, 'tcp', 'connectionsPerClientMax') ?? 100
  if (typeof all === 'number' && typeof perClient === 'number' && perClient > all) {
    yield { path: ['tcp', 'connectionsPerClientMax'], text: `is ${perClient}, above connectionsMax, which is ${all}` }
  }
}

/** Two listeners on one TCP port: the second would fail at start, when the check should have said so. */
function* portsTwice(value: unknown): Generator<Problem> {
  const owners: { owner: string; address: string; port: number }[] = []
  const port = at(value, 'listen', 'port') ?? 5353
  for (const [, text] of strings(at(value, 'listen', 'addresses') ?? ['127.0.0.1'])) {
    if (typeof port === 'number') owners.push({ owner: 'listen', address: canonicalAddress(text) ?? text, port })
  }
  for (const [name, byDefault] of [
    ['metrics', '127.0.0.1:9253'],
    ['health', '127.0.0.1:8099'],
  ] as const) {
    const text = at(value, name, 'address') ?? byDefault
    const pair = typeof text === 'string' ? splitHostPort(text) : undefined
    if (pair === undefined || pair.port === 0) continue
    const taken = owners.find((other) => other.port === pair.port && overlap(other.address, pair.address))
    if (taken === undefined) owners.push({ owner: name, ...pair })
    else yield { path: [name, 'address'], text: `is taken by ${taken.owner} already` }
  }
}

/** Whether one port cannot be had on both: the same address, or one of them stands for all. */
function overlap(one: string, other: string): boolean {
  if (wildcardOf(one) !== wildcardOf(other)) return false
  return one === other || one === wildcardOf(one) || other === wildcardOf(other)
}

/** Settings of the host that only mean something together. */
function* hostCrossed(value: unknown): Generator<Problem> {
  const rules = textAt(value, 'none', 'host', 'rules')
  const name = at(value, 'host', 'interface') ?? null
  const addresses = [...strings(at(value, 'listen', 'addresses') ?? ['127.0.0.1'])].map(([, text]) => text)
  const own = addresses.filter((text) => !isUnownable(text))
  if (rules !== 'none' && name === null) {
    yield {
      path: ['host', 'rules'],
      text: `is ${rules} without host.interface: untracked traffic needs the addresses to be on this node`,
    }
  }
  if (rules !== 'none' && at(value, 'listen', 'port') === 0) {
    yield {
      path: ['host', 'rules'],
      text: `is ${rules} while listen.port is 0: rules need a port that is known`,
    }
  }
  if (name !== null && own.length === 0) {
    yield { path: ['host', 'interface'], text: 'is set, but no listen address is one that an interface could carry' }
  }
  if ((at(value, 'host', 'stateDirectory') ?? null) !== null && at(value, 'listen', 'port') === 0) {
    yield {
      path: ['host', 'stateDirectory'],
      text: 'is set while listen.port is 0: nobody can share a port that is chosen anew',
    }
  }
}

/**
 * A wildcard socket answers over UDP from whichever address routing chooses, which is right where the machine has one; and it cannot
 * be told to leave what comes next to another agent.
 */
function* wildcardsCrossed(value: unknown): Generator<Problem> {
  const hasInterface = (at(value, 'host', 'interface') ?? null) !== null
  const isShared = (at(value, 'host', 'stateDirectory') ?? null) !== null
  for (const [index, text] of strings(at(value, 'listen', 'addresses'))) {
    if (!['0.0.0.0', '::'].includes(canonicalAddress(text) ?? text)) continue
    const path = ['listen', 'addresses', index]
    if (hasInterface) {
      yield {
        path,
        text: `${text} with host.interface: responses over UDP would leave from another address than the one that was asked; name the addresses`,
      }
    }
    if (isShared) {
      yield {
        path,
        text: `${text} with host.stateDirectory: a wildcard cannot be handed over to the next agent without losing queries; name the addresses`,
      }
    }
  }
}

/** What is led to the fallback when our rules do not lead it to us: without rules that would be everything. */
function* fallbackCrossed(value: unknown): Generator<Problem> {
  const fallback = [...strings(at(value, 'host', 'fallback'))].map(([, text]) => canonicalAddress(text) ?? text)
  if (fallback.length === 0) return
  const path = ['host', 'fallback']
  const rules = textAt(value, 'none', 'host', 'rules')
  if (rules === 'none' || rules === 'iptables') {
    yield {
      path,
      text: `is set while host.rules is ${rules}: it needs auto or nftables, whose rules go when the agent is gone`,
    }
  }
  if (at(value, 'host', 'notrack') === false) {
    yield { path, text: 'is set while host.notrack is false: everything would go there' }
  }
  const isV6 = (text: string): boolean => text.includes(':')
  if (fallback.length === 2 && isV6(fallback[0]!) === isV6(fallback[1]!)) {
    yield { path, text: 'has two addresses of one IP version' }
  }
  for (const text of fallback) {
    if (isUnownable(text)) yield { path, text: `${text} is no ClusterIP` }
  }
  const addresses = [...strings(at(value, 'listen', 'addresses') ?? ['127.0.0.1'])]
    .map(([, text]) => canonicalAddress(text) ?? text)
    .filter((text) => !isUnownable(text) && !fallback.includes(text))
  for (const text of fallback) {
    if (addresses.some((address) => isV6(address) === isV6(text))) continue
    yield { path, text: `has ${text}, but no other listen address of that IP version is there to lead to it` }
  }
}

/** The wildcard and loopback are on no interface of ours. */
function isUnownable(text: string): boolean {
  const address = canonicalAddress(text) ?? text
  return ['0.0.0.0', '::', '::1'].includes(address) || address.startsWith('127.')
}

function* watchdogCrossed(value: unknown): Generator<Problem> {
  const interval = at(value, 'watchdog', 'intervalMs') ?? 2000
  const deadline = at(value, 'watchdog', 'deadlineMs') ?? 15_000
  if (typeof interval === 'number' && typeof deadline === 'number' && deadline < interval * 3) {
    yield {
      path: ['watchdog', 'deadlineMs'],
      text: `is ${deadline}, less than three times intervalMs, which is ${interval}`,
    }
  }
}

/** The text at a path; what is no text is somebody else's finding. */
function textAt(value: unknown, byDefault: string, ...path: readonly string[]): string {
  const text = at(value, ...path)
  return typeof text === 'string' ? text : byDefault
}

/** What stands at a path, or undefined where something else is in the way. */
function at(value: unknown, ...path: readonly string[]): unknown {
  let here = value
  for (const step of path) {
    if (typeof here !== 'object' || here === null) return undefined
    here = (here as Readonly<Record<string, unknown>>)[step]
  }
  return here
}

function items(value: unknown): Iterable<[number, unknown]> {
  return Array.isArray(value) ? (value as unknown[]).entries() : []
}

function* strings(value: unknown): Generator<[number, string]> {
  for (const [index, item] of items(value)) if (typeof item === 'string') yield [index, item]
}
