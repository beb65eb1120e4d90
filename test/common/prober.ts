/**
 * A client that asks one address again and again, each time from a socket of its own, and writes a line for each: milliseconds of
 * the clock, and who answered. Run in a network namespace: `node prober.ts ADDRESS SECONDS`.
 */

import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const PERIOD_MS = 10
const ANSWER_MS = 500

const [address, seconds] = process.argv.slice(2)
/** id 0, RD, one question: who.self.nodelocal-mcs.invalid IN TXT; only the agent has an answer. */
const labels = ['who', 'self', 'nodelocal-mcs', 'invalid'].map((text) => `${String.fromCodePoint(text.length)}${text}`)
const query = Buffer.concat([
  Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
  Buffer.from(`${labels.join('')}\0`, 'latin1'),
  Buffer.from([0, 16, 0, 1]),
])

const lines: string[] = []
const asked: Promise<void>[] = []
const endMs = performance.now() + Number(seconds) * 1000
for (let nextMs = performance.now(); nextMs < endMs; nextMs += PERIOD_MS) {
  if (nextMs > performance.now()) await sleep(nextMs - performance.now())
  asked.push(ask())
}
await Promise.all(asked)
process.stdout.write(`${lines.toSorted().join('\n')}\n`)

async function ask(): Promise<void> {
  const at = Date.now()
  const socket = createSocket(isIPv6(address!) ? 'udp6' : 'udp4')
  const { promise, resolve } = Promise.withResolvers<string>()
  // Connected, so that an ICMP error is heard.
  socket.connect(53, address)
  socket.on('connect', () => socket.send(query))
  socket.on('message', (message) => resolve(message.readUInt16BE(6) === 1 ? 'agent' : 'kube-dns'))
  socket.on('error', (error: NodeJS.ErrnoException) =>
    resolve(error.code === 'ECONNREFUSED' ? 'refused' : `${error.code}`),
  )
  const timer = setTimeout(() => resolve('silence'), ANSWER_MS)
  const answerer = await promise
  clearTimeout(timer)
  socket.close()
  lines.push(`${at} ${answerer}`)
}
