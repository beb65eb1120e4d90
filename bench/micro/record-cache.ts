// Question: what does keeping, finding and evicting an answer cost, and what is left of the names that a node really
// asks for when a flood of random names goes through a full cache?

import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import { upstreamResponse } from '../../test/common/wire.ts'
import { bench, heading } from '../harness.ts'

const { answer } = upstreamResponse({
  name: 'www.example',
  answers: [{ type: 'A', name: 'www.example', ttl: 60, data: '192.0.2.1' }],
})
const entry = (key: string) => ({
  key,
  answer,
  kind: 'positive' as const,
  upstream: 'u',
  route: 1,
  keptAtSeconds: 0,
  lifetimeSeconds: 60,
})

const BYTES_MAX = 16 * 1024 * 1024
const cache = new RecordCache(BYTES_MAX)
let number = 0
while (cache.status().evictions === 0) cache.keep(entry(`name${number++}.example`), 3600)

heading('Record cache of 16 MiB, full')
bench('keep a new answer, one eviction with it', () => void cache.keep(entry(`name${number++}.example`), 3600))
const last = `name${number - 1}.example`
bench('find an answer that is there', () => void cache.find(last))
bench('look for an answer that is not there', () => void cache.find('nobody.example'))

const HOT_NAMES = 1_000
const FLOOD = 200_000
const hot = Array.from({ length: HOT_NAMES }, (_, i) => `hot${i}.example`)
for (const key of hot) cache.keep(entry(key), 3600)
let hits = 0
let asked = 0
for (let i = 0; i < FLOOD; i++) {
  cache.keep(entry(`random${number++}.example`), 3600)
  if (i % 4 !== 0) continue
  const key = hot[asked++ % HOT_NAMES]!
  if (cache.find(key) === undefined) cache.keep(entry(key), 3600)
  else hits++
}
const { positiveEntries, bytes } = cache.status()
console.log(
  `\n${FLOOD} random names through ${positiveEntries} entries (${(bytes / 1048576).toFixed(1)} MiB by its own account), ` +
    `${HOT_NAMES} names asked for once every ${4 * HOT_NAMES} insertions: ${((100 * hits) / asked).toFixed(1)} % hits among them`,
)
cache.close()
