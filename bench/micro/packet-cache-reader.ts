// Question: what does it cost to find one response among ten thousand and to copy it for a client?

import { HEADER_OCTETS } from '../../src/dns/wire/header.ts'
import { skipName } from '../../src/dns/wire/name.ts'
import { PacketCache } from '../../src/serve/cache/packet-cache.ts'
import { finishHash, hashOctet, QuestionBit, questionWord } from '../../src/serve/cache/packet-cache-layout.ts'
import { type AskedQuestion, PacketCacheReader } from '../../src/serve/cache/packet-cache-reader.ts'
import { packetOfAddresses } from '../../test/common/fast-path-bench.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const NAMES = 10_000
const RESPONSE_AT = 512
const A = 1

const cache = new PacketCache(16 * 1024 * 1024, 12_345)
const reader = new PacketCacheReader(cache.memory)
const memory = new ArrayBuffer(4_096)
const bytes = new Uint8Array(memory)
const words = new Int32Array(memory)

/** What the fast path would have read. */
function asked(name: string): AskedQuestion {
  const query = queryBytes({ name: `${name}.`, type: A, class: 1 })
  const end = skipName(query, HEADER_OCTETS, query.length)
  let hash = cache.seed
  for (let at = HEADER_OCTETS; at < end; at++) hash = hashOctet(hash, query[at]!)
  return {
    nameAt: HEADER_OCTETS,
    nameOctets: end - HEADER_OCTETS,
    hash: finishHash(hash),
    word: questionWord(A, QuestionBit.RecursionDesired),
    octetsMax: 1232,
    hasOpt: false,
    dnssecOk: false,
    wantsAuthenticData: false,
  }
}

heading(`Packet cache, ${NAMES} names`)
for (const [question, prefix, records, seconds] of [
  ['an A record', 'a', 1, 0],
  ['an A record, its TTL counted down', 'a', 1, 60],
  ['three A records, rotated', 'c', 3, 0],
  ['none of that name', undefined, 0, 0],
] as const) {
  const name = (i: number) => `${prefix ?? 'nobody'}${i}.bench.example`
  if (prefix !== undefined) for (let i = 0; i < NAMES; i++) cache.keep(packetOfAddresses(name(i), records), 0)
  const questions = Array.from({ length: NAMES }, (_, i) => ({
    asked: asked(name(i)),
    query: queryBytes({ name: `${name(i)}.`, type: A, class: 1 }),
  }))
  let next = 0
  let found = 0
  let calls = 0
  bench(question, () => {
    const { asked, query } = questions[next++ % NAMES]!
    bytes.set(query)
    calls++
    if (reader.copyResponse(asked, bytes, words, 0, RESPONSE_AT, seconds) > 0) found++
  })
  if (found !== (prefix === undefined ? 0 : calls)) throw new Error(`${found} of ${calls} were found`)
}
