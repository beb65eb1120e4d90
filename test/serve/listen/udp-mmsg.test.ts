import { after } from 'node:test'
import { datagramCalls } from '../../../src/host/syscalls.ts'
import { PacketCache } from '../../../src/serve/cache/packet-cache.ts'
import { mmsgListeners } from '../../../src/serve/listen/udp-mmsg.ts'
import { WorkerPool } from '../../../src/serve/worker-pool.ts'
import { behavesLikeAUdpListener } from './udp-listener-suite.ts'

for (const { threads, directPerSecondMax } of [
  { threads: 1, directPerSecondMax: 0 },
  { threads: 2, directPerSecondMax: 0 },
  { threads: 1, directPerSecondMax: 6_000 },
]) {
  const calls = datagramCalls()
  const pool = new WorkerPool(
    { threads, batchSlots: 64, gatherMicros: 200, directPerSecondMax },
    {
      calls,
      packetCache: new PacketCache(65_536, 1),
      onFallen: (error) => {
        throw new Error(error)
      },
    },
  )
  after(() => pool.stop())
  const served = directPerSecondMax === 0 ? '' : ' and the event loop in its place'
  behavesLikeAUdpListener(`udp-mmsg with ${threads} ${threads === 1 ? 'thread' : 'threads'}${served}`, {
    open: mmsgListeners({ calls, pool, serverNumber: () => 0, onRenewal: () => undefined }),
    except:
      threads === 1
        ? {}
        : {
            'says which address is in use':
              'the sockets of several threads share their port, also with others of the same user',
          },
  })
}
