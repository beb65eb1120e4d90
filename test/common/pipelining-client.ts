/**
 * Clients over TCP that ask without waiting for answers and go on until their time is over, and what they lost, as a line of JSON.
 * Each query has edns-tcp-keepalive (RFC 7828). With `heed` a connection that is told a timeout of 0 is asked nothing more, and
 * closed once it has answered; with `ignore` it is asked as before. Run in a network namespace:
 *
 *     node pipelining-client.ts ADDRESS PORT SECONDS QUERIES_PER_SECOND heed|ignore
 */

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface PipeliningResult {
  readonly sent: number
  /** Never answered. */
  readonly lost: number
  /** Connections that were told to end. */
  readonly told: number
  readonly reconnections: number
}

const CONNECTIONS = 20
const TICK_MS = 4
const LAST_ANSWERS_MS = 5_000

const [address, port, seconds, perSecond, whether] = process.argv.slice(2)
const heeds = whether === 'heed'

/** One question, and an OPT that has the option without a timeout. */
function queryOf(id: number, number: number): Buffer {
  const labels = [`svc-${number}`, 'default', 'svc', 'cluster', 'local']
  const name = labels.map((text) => `${String.fromCodePoint(text.length)}${text}`).join('')
  const message = Buffer.concat([
    Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]),
    Buffer.from(`${name}\0`, 'latin1'),
    Buffer.from([0, 1, 0, 1]),
    Buffer.from([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 4, 0, 11, 0, 0]),
  ])
  return Buffer.concat([Buffer.from([message.length >> 8, message.length & 0xff]), message])
}

const counts = { sent: 0, lost: 0, told: 0, reconnections: 0 }
let isOver = false

class Connection {
  readonly #socket: Socket
  readonly #waiting = new Set<number>()
  readonly #replace: () => void
  #nextId = 0
  #held = Buffer.alloc(0)
  #isReplaced = false

  constructor(replace: () => void) {
    this.#replace = replace
    this.#socket = connect({ host: address!, port: Number(port), noDelay: true })
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk))
    this.#socket.on('error', () => this.#socket.destroy())
    this.#socket.on('end', () => this.#socket.destroy())
    this.#socket.on('close', () => {
      counts.lost += this.#waiting.size
      this.#waiting.clear()
      this.#leave()
    })
  }

  get waiting(): number {
    return this.#waiting.size
  }

  ask(number: number): void {
    this.#nextId = (this.#nextId + 1) & 0xffff
    this.#waiting.add(this.#nextId)
    counts.sent++
    this.#socket.write(queryOf(this.#nextId, number))
  }

  close(): void {
    this.#socket.end()
  }

  #read(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk])
    while (this.#held.length >= 2 && this.#held.length >= 2 + this.#held.readUInt16BE(0)) {
      const end = 2 + this.#held.readUInt16BE(0)
      this.#take(this.#held.subarray(2, end))
      this.#held = this.#held.subarray(end)
    }
  }

  #take(response: Buffer): void {
    this.#waiting.delete(response.readUInt16BE(0))
    // The option is the last thing in a response of the agent: code, length, timeout.
    const isTold = response.subarray(-6).toString('hex') === '000b00020000'
    if (isTold && !this.#isReplaced) {
      counts.told++
      if (heeds) this.#leave()
    }
    if (this.#isReplaced && this.waiting === 0) this.close()
  }

  #leave(): void {
    if (this.#isReplaced) return
    this.#isReplaced = true
    if (!isOver) this.#replace()
  }
}

const open: Connection[] = []
const all: Connection[] = []
function openAt(place: number): void {
  const connection = new Connection(() => {
    counts.reconnections++
    openAt(place)
  })
  open[place] = connection
  all.push(connection)
}
for (let place = 0; place < CONNECTIONS; place++) openAt(place)

const startMs = performance.now()
let asked = 0
for (;;) {
  const passedMs = performance.now() - startMs
  if (passedMs > Number(seconds) * 1000) break
  for (; asked < (passedMs / 1000) * Number(perSecond); asked++) open[asked % CONNECTIONS]!.ask(asked % 200)
  await sleep(TICK_MS)
}
isOver = true
const endMs = performance.now() + LAST_ANSWERS_MS
while (performance.now() < endMs && !all.every(({ waiting }) => waiting === 0)) await sleep(TICK_MS)
counts.lost += all.reduce((sum, connection) => sum + connection.waiting, 0)
process.stdout.write(`${JSON.stringify(counts satisfies PipeliningResult)}\n`)
process.exit(0)
