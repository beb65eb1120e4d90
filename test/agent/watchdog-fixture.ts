/** A process with the watchdog and a server that answers its queries, until it is told what shall go wrong. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { startWatchdog } from '../../src/agent/watchdog.ts'
import { countOf } from '../../src/observe/histogram.ts'
import { LifeSign } from '../../src/observe/life-sign.ts'
import { OwnQueryCounters } from '../../src/observe/own-query-counters.ts'

const INSTANCE = 'fixture'
const server = createSocket('udp4')
const count = { answers: 0 }
server.on('message', (query, client) => {
  const text = Buffer.from(INSTANCE)
  const record = Buffer.from([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 0, 0, text.length + 1, text.length])
  const response = Buffer.concat([query, record, text])
  response[2] = 0x85
  response.writeUInt16BE(1, 6)
  server.send(response, client.port, client.address)
  count.answers++
})
server.bind(0, '127.0.0.1')
await once(server, 'listening')

const targets = [{ transport: 'udp' as const, address: '127.0.0.1', port: server.address().port }]
const counters = new OwnQueryCounters()
const lifeSign = new LifeSign()
startWatchdog(
  {
    targets,
    instance: INSTANCE,
    intervalMs: 100,
    deadlineMs: Number(process.argv[2] ?? 1_000),
    udpSources: 2,
    counts: counters.memory,
    lifeSign: lifeSign.memory,
    areLedHere: false,
    workers: [],
  },
  {
    onFailure: (error) => {
      throw error
    },
    onStillWorker: () => undefined,
  },
)
while (count.answers < 4) await once(server, 'message')
process.stdout.write('watched\n')

for await (const command of createInterface(process.stdin)) {
  switch (command) {
    case 'spin':
      for (;;);
    case 'talk':
      // Until standard output takes no more: from then on the event loop stands still.
      for (;;) writeSync(1, 'x'.repeat(1 << 16))
    case 'go deaf':
      server.removeAllListeners('message')
      break
    case 'be flooded': {
      server.removeAllListeners('message')
      let answered = 0
      setInterval(() => lifeSign.tell((answered += 1_000)), 20)
      break
    }
    case 'count':
      process.stdout.write(`answers ${count.answers}\n`)
      break
    case 'told': {
      const { durations, failures } = counters.snapshot()
      process.stdout.write(`told ${countOf(durations)} answered, ${failures} failed\n`)
      break
    }
    default:
      process.exit(0)
  }
}
