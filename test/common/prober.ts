/**
 * A client that asks addresses again and again over UDP and TCP, each time from a socket of its own, and writes a line for each:
 * milliseconds of the clock, transport, address, and who answered. `PERIOD_MS` lie between two queries, and `SILENCE_MS` without an answer are silence.
 * Run in a network namespace: `node prober.ts SECONDS PERIOD_MS SILENCE_MS ADDRESS...`.
 */

import { createSocket } from 'node:dgram'
import { connect, isIPv6 } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const [seconds, periodMs, silenceMs, ...addresses] = process.argv.slice(2)
/** id 0, RD, one question: who.self.nodelocal-mcs.invalid IN TXT; only the agent has an answer. */
const labels = ['who', 'self', 'nodelocal-mcs', 'invalid'].map((text) => `${String.fromCodePoint(text.length)}${text}`)
const query = Buffer.concat([
  Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
  Buffer.from(`${labels.join('')}\0`, 'latin1'),
  Buffer.from([0, 16, 0, 1]),
])
const ANCOUNT_AT = 6

const lines: string[] = []
const asked: Promise<void>[] = []
const endMs = performance.now() + Number(seconds) * 1000
for (let nextMs = performance.now(); nextMs < endMs; nextMs += Number(periodMs)) {
  if (nextMs > performance.now()) await sleep(nextMs - performance.now())
  for (const address of addresses) for (const ask of [askOverUdp, askOverTcp]) asked.push(tell(ask, address))
}
await Promise.all(asked)
process.stdout.write(`${lines.toSorted().join('\n')}\n`)

interface Asking {
  readonly transport: 'udp' | 'tcp'
  readonly answerer: Promise<string>
  end(): void
}

async function tell(ask: (address: string) => Asking, address: string): Promise<void> {
  const at = Date.now()
  const { transport, answerer, end } = ask(address)
  const timer = Promise.withResolvers<string>()
  const timeout = setTimeout(() => timer.resolve('silence'), Number(silenceMs))
  const state = await Promise.race([answerer, timer.promise])
  clearTimeout(timeout)
  end()
  lines.push(`${at} ${transport} ${address} ${state}`)
}

function askOverUdp(address: string): Asking {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  const { promise, resolve } = Promise.withResolvers<string>()
  // Connected, so that an ICMP error is heard.
  socket.connect(53, address)
  socket.on('connect', () => socket.send(query))
  socket.on('message', (message) => resolve(answererIn(message)))
  socket.on('error', (error: NodeJS.ErrnoException) => resolve(stateOf(error)))
  return { transport: 'udp', answerer: promise, end: () => void socket.close() }
}

function askOverTcp(address: string): Asking {
  const socket = connect(53, address)
  const { promise, resolve } = Promise.withResolvers<string>()
  const length = Buffer.alloc(2)
  length.writeUInt16BE(query.length)
  socket.write(Buffer.concat([length, query]))
  // The answer is small, and is written in one piece.
  socket.on('data', (data) => resolve(answererIn(data.subarray(length.length))))
  socket.on('error', (error: NodeJS.ErrnoException) => resolve(stateOf(error)))
  socket.on('end', () => resolve('ended'))
  return { transport: 'tcp', answerer: promise, end: () => void socket.destroy() }
}

function answererIn(message: Buffer): string {
  return message.readUInt16BE(ANCOUNT_AT) === 1 ? 'agent' : 'kube-dns'
}

/** A reset before there is a connection is a refusal; behind that it ends one. */
function stateOf({ code }: NodeJS.ErrnoException): string {
  return (
    { ECONNREFUSED: 'refused', ECONNRESET: 'reset', EHOSTUNREACH: 'unreachable', ENETUNREACH: 'unreachable' }[
      code ?? ''
    ] ?? `${code}`
  )
}
