// Question: what does a hit cost that the event loop answers itself, the kernel's part and the client's calls included, alone
// and when sixteen wait? How the event loop gets to know of them is left out: that is libuv's.

import { datagramCalls } from '../../src/host/syscalls.ts'
import { PacketCache } from '../../src/serve/cache/packet-cache.ts'
import { DirectService } from '../../src/serve/direct-service.ts'
import { datagramPair } from '../../test/common/datagram-pair.ts'
import { packetOfAddresses } from '../../test/common/fast-path-bench.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const NAMES = 1_000
const calls = datagramCalls()
const pair = datagramPair(calls)
const packetCache = new PacketCache(4 * 1024 * 1024, 12_345)
let answerWhatIsThere = (): void => undefined
let misses = 0

const service = new DirectService({
  calls: {
    ...calls,
    watchOnEventLoop(_descriptor, ready) {
      answerWhatIsThere = ready
      return { pause: () => undefined, resume: () => undefined, end: () => undefined }
    },
  },
  packetCache,
  cells: new Int32Array(128),
  perSecondMax: Number.POSITIVE_INFINITY,
})
const held = service.hold({
  descriptor: pair.server,
  server: 0,
  family: 0,
  take: () => void misses++,
  toWorker: () => undefined,
  fromWorker: () => undefined,
  workerDatagrams: () => 0,
})
const queries = Array.from({ length: NAMES }, (_, i) => {
  packetCache.keep(packetOfAddresses(`h${i}.bench.example`, 1), 0)
  return queryBytes({ name: `h${i}.bench.example.`, type: 1, class: 1 })
})
const response = new Uint8Array(2_048)
let next = 0
let asked = 0
let answered = 0

heading('Direct service')
for (const batch of [1, 16]) {
  bench(
    `a hit, ${batch} at a time`,
    () => {
      for (let i = 0; i < batch; i++, asked++) {
        const query = queries[next++ % NAMES]!
        calls.sendOctets(pair.client, query, query.length)
      }
      answerWhatIsThere()
      while (calls.receiveOctets(pair.client, response) > 0) answered++
    },
    batch,
  )
}
if (misses > 0 || answered !== asked) throw new Error(`${answered} of ${asked} answered, ${misses} misses`)
held.end()
pair.close()
