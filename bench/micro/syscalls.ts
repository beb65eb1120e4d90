// Question: what does each system call of the hot path cost through koffi, on a loopback socket of ours?

import { datagramCalls, EPOLL_EVENT_OCTETS } from '../../src/host/syscalls.ts'
import { datagramPair } from '../../test/common/datagram-pair.ts'
import { bench, heading } from '../harness.ts'

const OCTETS = 51
const calls = datagramCalls()
const pair = datagramPair(calls)
const { server, client } = pair
const poll = calls.createPoll()
const event = calls.createEvent()
calls.watch(poll, server, 1)
const events = new Uint8Array(16 * EPOLL_EVENT_OCTETS)
const datagram = new Uint8Array(OCTETS).fill(7)
const received = new Uint8Array(2_048)
const headers = new Uint8Array(64)

function expect(call: string, result: number, wanted: number): void {
  if (result !== wanted) throw new Error(`${call}: ${result} instead of ${wanted}`)
}
const EAGAIN = -11

heading('System calls')
bench('epoll_wait, nothing there, no wait', () => expect('epoll_wait', calls.poll(poll, events, 16, 0), 0))
bench('recvmmsg, nothing there', () => expect('recvmmsg', calls.receiveMessages(server, headers, 1), EAGAIN))
bench('an event raised and taken', () => {
  expect('write', calls.raise(event), 8)
  expect('read', calls.clear(event), 8)
})
bench(`a datagram of ${OCTETS} octets sent and received`, () => {
  expect('send', calls.sendOctets(client, datagram, OCTETS), OCTETS)
  expect('recv', calls.receiveOctets(server, received), OCTETS)
})
bench('the same, waited for by epoll_wait', () => {
  expect('send', calls.sendOctets(client, datagram, OCTETS), OCTETS)
  expect('epoll_wait', calls.poll(poll, events, 16, 1_000), 1)
  expect('recv', calls.receiveOctets(server, received), OCTETS)
})
for (const descriptor of [poll, event]) calls.close(descriptor)
pair.close()
