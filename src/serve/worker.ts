/**
 * HOT. A worker thread: waits for datagrams, answers the hits of each batch in place, passes on the misses.
 *
 * It blocks in system calls and so reads no messages: everything it is told stands in shared memory, and an event
 * descriptor wakes it. It owns no socket: one that is closed has been taken from its poll before.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { MessageSlots } from '../host/message-slots.ts'
import { sweepHeap } from '../host/sweep-heap.ts'
import { datagramCalls, EPOLL_DATA_AT, EPOLL_EVENT_OCTETS } from '../host/syscalls.ts'
import { CounterLabels, TrafficCounters } from '../observe/counters.ts'
import { PacketCacheReader } from './cache/packet-cache-reader.ts'
import { FastPath, type MissTaker } from './fast-path.ts'
import { Gathering } from './gathering.ts'
import { MissKind, MissQueue } from './miss-queue.ts'
import {
  clockZeroSeconds,
  EVENT_TAG,
  PEER_OCTETS,
  SOCKET_WORDS,
  SocketWord,
  type WorkerStart,
  WorkerWord,
} from './worker-contract.ts'

/** Sockets that one wait may tell of. */
const EVENTS_MAX = 16

/** Batches taken from one socket before the others have their turn. */
const BATCHES_IN_A_ROW_MAX = 16

/** Milliseconds after which the wait ends without anything to do: bounds how long the end of the process can take. */
const WAIT_MS = 500

/** The errno of nothing to receive. */
const EAGAIN = 11

const start = workerData as WorkerStart
const calls = datagramCalls()
const control = new Int32Array(start.control)
const misses = new MissQueue(start.misses)
const counters = new TrafficCounters(new CounterLabels(), start.counters)
const slots = new MessageSlots(start.batchSlots, PEER_OCTETS, calls)
const clockOffsetSeconds = clockZeroSeconds() - start.clockZeroSeconds
const parts = {
  reader: new PacketCacheReader(start.packetCache),
  seed: start.seed,
  counters,
  cells: new Int32Array(start.cells),
  nowSeconds: () => performance.now() / 1000 + clockOffsetSeconds,
}
const fastPaths = [new FastPath({ ...parts, family: 0 }), new FastPath({ ...parts, family: 1 })] as const

let socket = 0
const passOn = (kind: MissKind, slot: number): void => {
  const at = slots.receivedAt(slot)
  const octets = slots.receivedOctets(slot)
  const dropped = misses.put(kind, socket, slots.bytes, slots.peerAt(slot), PEER_OCTETS, at, octets)
  if (dropped > 0) counters.dropped('overloaded', dropped)
}
const missTaker: MissTaker = {
  miss: (slot) => passOn(MissKind.Query, slot),
  renew: (slot) => passOn(MissKind.Renewal, slot),
}

serve()

function serve(): void {
  calls.exactPauses()
  const gathering = new Gathering(start.gatherMicros)
  const events = new Uint8Array(EVENTS_MAX * EPOLL_EVENT_OCTETS)
  let isSwept = false
  while (Atomics.load(control, WorkerWord.IsToldToStop) === 0) {
    const ready = calls.poll(start.poll, events, EVENTS_MAX, WAIT_MS)
    let datagrams = 0
    for (let i = 0; i < ready; i++) {
      const at = i * EPOLL_EVENT_OCTETS + EPOLL_DATA_AT
      const tag = events[at]! | (events[at + 1]! << 8)
      if (tag === EVENT_TAG) calls.clear(start.event)
      else datagrams += serveSocket(tag)
    }
    Atomics.add(control, WorkerWord.Turns, 1)
    const pauseMicros = gathering.pauseAfter(datagrams, performance.now() / 1000)
    if (pauseMicros > 0) calls.pause(pauseMicros)
    if (ready > 0 || isSwept) continue
    // The first wait that ended without anything: nobody is kept from an answer.
    sweepHeap()
    isSwept = true
  }
}

/** Answers what a socket has; returns how many datagrams these were. */
function serveSocket(tag: number): number {
  socket = tag
  const word = WorkerWord.Sockets + tag * SOCKET_WORDS
  const descriptor = control[word + SocketWord.Descriptor]!
  const server = control[word + SocketWord.Server]!
  const fastPath = control[word + SocketWord.Family] === 0 ? fastPaths[0] : fastPaths[1]
  let datagrams = 0
  for (let batch = 0; batch < BATCHES_IN_A_ROW_MAX; batch++) {
    const received = slots.receive(descriptor)
    // Nothing left; or an error that the kernel kept for us, such as a client's port that is closed by now.
    if (received <= 0) {
      if (received !== -EAGAIN) Atomics.add(control, WorkerWord.ReceiveFailed, 1)
      break
    }
    datagrams += received
    Atomics.add(control, word + SocketWord.Datagrams, received)
    fastPath.answerHits(slots, received, server, missTaker)
    if (slots.queued > 0) {
      const failed = slots.send(descriptor)
      if (failed > 0) Atomics.add(control, WorkerWord.SendFailed, failed)
    }
    if (misses.mustTell()) parentPort!.postMessage(null)
    if (received < slots.count) break
  }
  return datagrams
}
