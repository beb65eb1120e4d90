// Question: what do the kernel's structures cost without the kernel, and what with it, over loopback, in batches of 64?

import { MessageSlots } from '../../src/host/message-slots.ts'
import { datagramCalls } from '../../src/host/syscalls.ts'
import { datagramPair } from '../../test/common/datagram-pair.ts'
import { bench, heading } from '../harness.ts'

const SLOTS = 64
const OCTETS = 51
const calls = datagramCalls()
const pair = datagramPair(calls)
const { server, client } = pair
const slots = new MessageSlots(SLOTS, 16, calls)
const query = new Uint8Array(OCTETS).fill(7)
const response = new Uint8Array(2_048)

heading(`Message slots, datagrams of ${OCTETS} octets`)
bench(
  'a response queued',
  () => {
    for (let slot = 0; slot < SLOTS; slot++) slots.queue(slot, OCTETS)
    slots.clear()
  },
  SLOTS,
)
let answered = 0
const fill = () => {
  for (let i = 0; i < SLOTS; i++) calls.sendOctets(client, query, OCTETS)
}
const drain = () => {
  while (calls.receiveOctets(client, response) > 0) answered++
}
bench(
  'a datagram sent by a client, a response taken by it',
  () => {
    fill()
    const received = slots.receive(server)
    for (let slot = 0; slot < received; slot++) slots.queue(slot, OCTETS)
    if (slots.send(server) > 0) throw new Error('the kernel took not all')
    drain()
  },
  SLOTS,
)
if (answered === 0) throw new Error('the bench answers nothing')
pair.close()
