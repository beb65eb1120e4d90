// Question: how long does a hit take that a worker answers, from the client's call to the response in its hands, alone and when
// 64 are under way? The client is this thread and waits in the kernel; two threads take turns, so waking them is most of it.

import { datagramCalls, EPOLL_EVENT_OCTETS } from '../../src/host/syscalls.ts'
import { PacketCache } from '../../src/serve/cache/packet-cache.ts'
import { newListenCounts } from '../../src/serve/listen/listen-counts.ts'
import { mmsgListeners } from '../../src/serve/listen/udp-mmsg.ts'
import { WorkerPool } from '../../src/serve/worker-pool.ts'
import { clientOf } from '../../test/common/datagram-pair.ts'
import { packetOfAddresses } from '../../test/common/fast-path-bench.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const NAMES = 1_000
const WAIT_MS = 2_000
const calls = datagramCalls()
const packetCache = new PacketCache(4 * 1024 * 1024, 12_345)
const onFallen = (error: string): never => {
  throw new Error(error)
}
const pool = new WorkerPool({ threads: 1, batchSlots: 64, gatherMicros: 0 }, { calls, packetCache, onFallen })
const open = mmsgListeners({ calls, pool, serverNumber: () => 0, onRenewal: () => undefined })
const listener = await open(
  { address: '127.0.0.1', port: 0, reusePort: false },
  () => {
    throw new Error('the bench measures misses')
  },
  { counts: newListenCounts().udp },
)
const queries = Array.from({ length: NAMES }, (_, i) => {
  packetCache.keep(packetOfAddresses(`h${i}.bench.example`, 1), 0)
  return queryBytes({ name: `h${i}.bench.example.`, type: 1, class: 1 })
})
const client = clientOf(calls, listener.port)
const poll = calls.createPoll()
calls.watch(poll, client, 1)
const events = new Uint8Array(16 * EPOLL_EVENT_OCTETS)
const response = new Uint8Array(2_048)
let next = 0

heading('A worker')
for (const underWay of [1, 64]) {
  bench(
    `a hit, ${underWay} under way`,
    () => {
      for (let i = 0; i < underWay; i++) {
        const query = queries[next++ % NAMES]!
        calls.sendOctets(client, query, query.length)
      }
      for (let answered = 0; answered < underWay; ) {
        if (calls.poll(poll, events, 16, WAIT_MS) === 0) throw new Error('a query was not answered')
        while (calls.receiveOctets(client, response) > 0) answered++
      }
    },
    underWay,
  )
}
for (const descriptor of [poll, client]) calls.close(descriptor)
await listener.stop(0)
await pool.stop()
