/** A thread that reads a packet cache while another writes it, and tells how many responses were whole and how many were not. */

import { parentPort, workerData } from 'node:worker_threads'
import * as dnsPacket from 'dns-packet'
import { MessageSlots } from '../../src/host/message-slots.ts'
import { datagramCalls } from '../../src/host/syscalls.ts'
import { CounterLabels, TrafficCounters } from '../../src/observe/counters.ts'
import { ZONE_LABELS_MAX } from '../../src/serve/cache/packet-cache-layout.ts'
import { PacketCacheReader } from '../../src/serve/cache/packet-cache-reader.ts'
import { FastPath } from '../../src/serve/fast-path.ts'

const { memory, seed, queries, rounds } = workerData as {
  memory: SharedArrayBuffer
  seed: number
  queries: Uint8Array[]
  rounds: number
}
const slots = new MessageSlots(1, 28, datagramCalls())
const fastPath = new FastPath({
  reader: new PacketCacheReader(memory),
  seed,
  counters: new TrafficCounters(new CounterLabels()),
  cells: new Int32Array(ZONE_LABELS_MAX),
  family: 0,
  nowSeconds: () => 0,
})
const nothing = { miss: () => undefined, renew: () => undefined }
let hits = 0
let torn = 0
for (let round = 0; round < rounds; round++) {
  const query = queries[round % queries.length]!
  slots.place(0, query)
  fastPath.answerHits(slots, 1, 0, nothing)
  if (slots.queued === 0) continue
  const response = Buffer.from(slots.queuedAt(0))
  slots.clear()
  hits++
  if (!isWhole(response, query)) torn++
}
parentPort!.postMessage({ hits, torn })

/** All addresses are the same, as many as the version says, and the question is the one that was asked. */
function isWhole(response: Buffer, query: Uint8Array): boolean {
  try {
    const { questions = [], answers = [] } = dnsPacket.decode(response)
    const [asked] = dnsPacket.decode(Buffer.from(query)).questions!
    const addresses = (answers as { data: string; name: string }[]).map(({ data, name }) => `${name} ${data}`)
    const [, , high, low] = addresses[0]!.split('.').slice(-4).map(Number)
    const records = [1, 3, 30][((high! << 8) | low!) / 300]
    return questions[0]!.name === asked!.name && new Set(addresses).size === 1 && addresses.length === records
  } catch {
    // What cannot be decoded is torn, and counted.
    return false
  }
}
