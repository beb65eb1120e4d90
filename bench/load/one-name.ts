// Question: a thousand clients ask one name that is not cached, all at once: how many queries does the upstream get?
//
//   node bench/load/one-name.ts [--clients 1000] [--names 20]
//
// Every client is a UDP socket of its own. The upstream is a small one in this process that counts what it is asked, and
// answers 50 ms late, so that the clients have asked before the answer is there.

import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { encode } from 'dns-packet'
import { startUpstream } from '../../test/common/upstream.ts'
import { startUs } from './servers.ts'

const { values } = parseArgs({
  options: { clients: { type: 'string', default: '1000' }, names: { type: 'string', default: '20' } },
})
const [clientCount, nameCount] = [Number(values.clients), Number(values.names)]
const LATE_MS = 50
const ANSWER_MS = 5_000

console.log(
  '| upstream over | clients on one name | answered | upstream queries a name, median | at most |\n| --- | --- | --- | --- | --- |',
)
for (const transport of ['udp', 'tcp'] as const) {
  const upstream = await startUpstream({
    script: (query) => void setTimeout(() => query.answer(), query.name === 'ready.bench.example' ? 0 : LATE_MS),
  })
  const us = await startUs(upstream, transport)
  const clients = await Promise.all(Array.from({ length: clientCount }, open))
  const queries: number[] = []
  let answered = 0
  for (let n = 0; n < nameCount; n++) {
    const name = `n${n}.one.bench.example`
    const query = encode({ type: 'query', id: n, flags: 0x0100, questions: [{ type: 'A', name }] })
    const answers = clients.map((client) => once(client, 'message', { signal: AbortSignal.timeout(ANSWER_MS) }))
    for (const client of clients) client.send(query, us.port, '127.0.0.1')
    answered += (await Promise.allSettled(answers)).filter(({ status }) => status === 'fulfilled').length
    queries.push(upstream.queries.filter((asked) => asked.name === name).length)
  }
  queries.sort((one, other) => one - other)
  const median = queries[Math.floor(queries.length / 2)]!
  console.log(
    `| ${transport} | ${clientCount} | ${answered} of ${clientCount * nameCount} | ${median} | ${queries.at(-1)} |`,
  )
  for (const client of clients) client.close()
  await us.stop()
  await upstream.stop()
}

async function open(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return socket
}
