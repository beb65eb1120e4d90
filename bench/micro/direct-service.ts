// Question: what does a hit cost that the event loop answers itself, the kernel's part and the client's calls included, alone
// and when sixteen wait? How the event loop gets to know of them is left out: that is libuv's.

import { DirectServiceBench } from '../../test/common/direct-service-bench.ts'
import { packetOfAddresses } from '../../test/common/fast-path-bench.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const NAMES = 1_000
const direct = new DirectServiceBench()
const queries = Array.from({ length: NAMES }, (_, i) => {
  direct.packetCache.keep(packetOfAddresses(`h${i}.bench.example`, 1), 0)
  return queryBytes({ name: `h${i}.bench.example.`, type: 1, class: 1 })
})
let asked = 0
let answered = 0

heading('Direct service')
for (const batch of [1, 16]) {
  bench(
    `a hit, ${batch} at a time`,
    () => {
      for (let i = 0; i < batch; i++) direct.ask(queries[asked++ % NAMES]!)
      direct.turn()
      answered += direct.responses()
    },
    batch,
  )
}
if (direct.misses > 0 || answered !== asked) throw new Error(`${answered} of ${asked} answered`)
direct.close()
