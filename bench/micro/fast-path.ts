// Question: what does one hit cost, from query bytes to response bytes, in a full batch, sockets left out; what of it is
// counting; and what does it cost to keep a response for the workers?

import { FastPathBench, packetOfAddresses } from '../../test/common/fast-path-bench.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const SLOTS = 64
const NAMES = 1_000
const fast = new FastPathBench(16 * 1024 * 1024, () => performance.now() / 1000)

heading('Fast path, batches of 64')
for (const records of [1, 3]) {
  for (let i = 0; i < NAMES; i++) fast.packetCache.keep(packetOfAddresses(`h${i}.bench.example`, records), 0)
  let next = 0
  const queries = Array.from({ length: NAMES }, (_, i) =>
    queryBytes({ name: `h${i}.bench.example.`, type: 1, class: 1 }),
  )
  const place = () => {
    for (let slot = 0; slot < SLOTS; slot++) fast.slots.place(slot, queries[next++ % NAMES]!)
  }
  place()
  bench(
    `a hit of ${records} A record${records > 1 ? 's, rotated' : ''}`,
    () => {
      fast.answer(SLOTS)
      fast.slots.clear()
    },
    SLOTS,
  )
}
if (fast.misses.length > 0) throw new Error('the bench measures misses')

const { counters } = fast
bench('of that, the counting', () => {
  counters.request(1, 0, 0, 1, 40, false)
  counters.responseOf(1, 0, 1, 0.000_02, 60, 0)
  counters.cacheHit(1, 'success')
})

const misses = new FastPathBench(65_536)
const query = queryBytes({ name: 'nobody.bench.example.', type: 1, class: 1 })
for (let slot = 0; slot < SLOTS; slot++) misses.slots.place(slot, query)
bench(
  'finding out that there is no hit',
  () => {
    misses.answer(SLOTS)
    misses.misses.length = 0
  },
  SLOTS,
)

let number = 0
const packets = Array.from({ length: 50_000 }, (_, i) => packetOfAddresses(`r${i}.bench.example`, 1))
const small = new FastPathBench(1024 * 1024)
bench(
  'keeping a response, an eviction with it',
  () => void small.packetCache.keep(packets[number++ % packets.length]!, 0),
)
