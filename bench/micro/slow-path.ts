// Question: what does one query cost on the event loop, from its bytes to the response's bytes, sockets left out?

import { accept } from '../../src/dns/policy/accept.ts'
import { nameFromText } from '../../src/dns/wire/name.ts'
import { responseTo, TTLS_AS_THEY_ARE, udpOctetsMax } from '../../src/dns/wire/response.ts'
import { readUpstreamResponse } from '../../src/dns/wire/upstream-response.ts'
import { answerFromZone } from '../../src/dns/zone/answer.ts'
import { readVectors } from '../../test/common/vectors.ts'
import { responseBytes, upstreamResponse } from '../../test/common/wire.ts'
import { queryBytes, zoneOf } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const table = readVectors('clusterset/headless')
const zone = zoneOf(table.objects, table.settings)
const settings = { apex: nameFromText('clusterset.local')!, ttlSeconds: 5, serverAddresses: { ipv4: [], ipv6: [] } }
let rotation = 0

heading('Slow path')
for (const [type, name] of [
  [1, 'db.shop.svc.clusterset.local.'],
  [33, '_sql._tcp.db.shop.svc.clusterset.local.'],
  [1, 'nobody.shop.svc.clusterset.local.'],
] as const) {
  const message = queryBytes({ name, type, class: 1 })
  bench(`zone answer, type ${type}, ${name}`, () => {
    const acceptance = accept(message)
    if (acceptance.kind !== 'take') throw new Error('the bench asks nonsense')
    const { query } = acceptance
    const answer = answerFromZone(zone, settings, query.question, rotation++)
    responseTo(query, answer, TTLS_AS_THEY_ARE, {
      octetsMax: udpOctetsMax(query.edns),
      keepaliveDeciseconds: undefined,
    })
  })
}

const parts = {
  name: 'www.example',
  answers: [1, 2].map((i) => ({ type: 'A' as const, name: 'www.example', ttl: 60, data: `192.0.2.${i}` })),
}
const bytes = responseBytes(parts)
bench('an upstream response of 2 A records read and checked', () => void readUpstreamResponse(bytes))

const kept = upstreamResponse(parts).answer
const cached = accept(queryBytes({ name: 'www.example.', type: 1, class: 1 }))
if (cached.kind !== 'take') throw new Error('the bench asks nonsense')
const view = { ageSeconds: 3, minSeconds: 0, maxSeconds: 30 }
bench('a cached answer of 2 A records made a response', () => {
  responseTo(cached.query, kept, view, { octetsMax: 512, keepaliveDeciseconds: undefined })
})
