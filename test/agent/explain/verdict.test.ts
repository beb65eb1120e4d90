import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { type ExplainedEntry, type ExplainedUpstream, REASONS } from '../../../src/agent/explain/explanation.ts'
import { type Findings, notesOf, verdictOf } from '../../../src/agent/explain/verdict.ts'

const UPSTREAM: ExplainedUpstream = {
  to: '10.96.0.11:53',
  isHealthy: true,
  isAmongFirst: true,
  roundTripMs: 1,
  answeredSecondsAgo: 1,
  inFlight: 0,
  openConnections: 1,
  isWithoutEdns: false,
  requests: 9,
  timeouts: 0,
  unreachable: 0,
}
const DEAD = { ...UPSTREAM, to: '10.96.0.12:53', isHealthy: false, isAmongFirst: false }
const ENTRY: ExplainedEntry = {
  recursionDesired: true,
  dnssecOk: false,
  checkingDisabled: false,
  kind: 'positive',
  rcode: 'NOERROR',
  freshness: 'fresh',
  ageSeconds: 3,
  ttlLeftSeconds: 27,
  staleLeftSeconds: 3600,
  hits: 1,
  upstream: UPSTREAM.to,
  octets: 60,
}

interface Situation {
  readonly entry?: Partial<ExplainedEntry>
  readonly isUpstreamAsked?: boolean
  readonly staleAfterMs?: number
  readonly order?: readonly ExplainedUpstream[]
  readonly passedOver?: readonly ExplainedUpstream[]
  readonly waiters?: number
  readonly isFull?: boolean
}

function forwarded(situation: Situation): Findings {
  const { entry, isUpstreamAsked = true, staleAfterMs = null, order = [UPSTREAM], passedOver = [] } = situation
  return {
    look: { kind: 'forward' },
    route: { zone: 'cluster.local.', kind: 'forward', matches: [] },
    response: null,
    recordCache: {
      entry: entry === undefined ? null : { ...ENTRY, ...entry },
      isUpstreamAsked,
      staleAfterMs,
      isPrefetchDue: false,
      isRefreshing: false,
      failedRefreshSecondsAgo: 4,
      others: [],
    },
    upstreams: {
      configured: ['10.96.0.11'],
      transport: 'tcp',
      waiters: situation.waiters ?? 0,
      isFull: situation.isFull ?? false,
      order,
      passedOver,
    },
    denial: undefined,
  }
}

const cases: { situation: Situation; reason: string; rcode: string | null; says: RegExp }[] = [
  { situation: {}, reason: 'ask-upstream', rcode: null, says: /^not kept: 10\.96\.0\.11:53 would be asked over tcp$/ },
  { situation: { order: [DEAD] }, reason: 'ask-upstream', rcode: null, says: /though every upstream is dead/ },
  { situation: { order: [UPSTREAM, DEAD] }, reason: 'ask-upstream', rcode: null, says: /asked over tcp$/ },
  { situation: { waiters: 3 }, reason: 'in-flight', rcode: null, says: /3 waiting/ },
  { situation: { isFull: true }, reason: 'overloaded', rcode: 'SERVFAIL', says: /too many/ },
  {
    situation: { order: [] },
    reason: 'no-upstreams',
    rcode: 'SERVFAIL',
    says: /has no upstream now \(10\.96\.0\.11\)/,
  },
  { situation: { order: [], passedOver: [UPSTREAM] }, reason: 'upstreams-loop', rcode: 'SERVFAIL', says: /leads back/ },
  {
    situation: { entry: { freshness: 'stale' }, staleAfterMs: 1_800 },
    reason: 'refresh-stale',
    rcode: null,
    says: /a stale answer after 1800 ms without/,
  },
  // A failure is not told while there is something stale.
  {
    situation: { entry: {}, staleAfterMs: 1_800, order: [] },
    reason: 'no-upstreams',
    rcode: null,
    says: /a stale answer/,
  },
  { situation: { entry: {}, isUpstreamAsked: false }, reason: 'cached', rcode: null, says: /fresh for 27 s more/ },
  {
    situation: { entry: { kind: 'negative', rcode: 'NXDOMAIN' }, isUpstreamAsked: false },
    reason: 'cached-denial',
    rcode: null,
    says: /^a denial from the record cache/,
  },
  {
    situation: { entry: { kind: 'failure', rcode: 'SERVFAIL', upstream: '' }, isUpstreamAsked: false },
    reason: 'cached-failure',
    rcode: null,
    says: /^no upstream answered/,
  },
  {
    situation: { entry: { freshness: 'stale' }, isUpstreamAsked: false },
    reason: 'stale',
    rcode: null,
    says: /no upstream had a better one 4 s ago/,
  },
]

suite('the verdict over a forwarded name', () => {
  for (const { situation, reason, rcode, says } of cases) {
    test(`${JSON.stringify(situation).slice(0, 90)}: ${reason}`, () => {
      const verdict = verdictOf(forwarded(situation))
      assert.deepEqual([verdict.reason, verdict.rcode], [reason, rcode])
      assert.match(verdict.text, says)
    })
  }
})

suite('notes', () => {
  const agent = { version: '1', instance: 'a', listening: [], notReady: [] }
  const hit = { rcode: 'NOERROR', ageSeconds: 1, leftSeconds: 4, hits: 1, octets: 60 }
  const verdict = { rcode: 'NXDOMAIN', by: 'zone', reason: 'no-service-import', text: '' } as const

  test('a condition that does not hold is said', () => {
    const notReady = [{ name: 'zone-synced', detail: 'unsynced' }]
    const packetCache = { implementation: 'mmsg', hit: null } as const
    assert.deepEqual(notesOf({ agent: { ...agent, notReady }, packetCache }, null), [
      'the agent is not ready: zone-synced (unsynced)',
    ])
  })

  test('what UDP clients are told is said where it is something else', () => {
    const packetCache = { implementation: 'mmsg', hit } as const
    assert.deepEqual(notesOf({ agent, packetCache, verdict: { ...verdict, rcode: 'NOERROR' } }, null), [])
    assert.match(notesOf({ agent, packetCache, verdict }, null)[0]!, /UDP clients are told NOERROR .* for 4 s more/)
  })
})

suite('documentation of explain', () => {
  const operations = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8')
  for (const reason of REASONS) {
    test(`the reason ${reason} is explained to operators`, () => assert.ok(operations.includes(`\`${reason}\``)))
  }

  test('every field of an explanation is documented', () => {
    const shape = readFileSync(new URL('../../../src/agent/explain/explanation.ts', import.meta.url), 'utf8')
    const [, fields] = /export interface Explanation \{(.*?)\n\}/s.exec(shape)!
    for (const [, field] of fields!.matchAll(/readonly (\w+):/g)) assert.ok(operations.includes(`\`${field}\``), field)
  })
})
