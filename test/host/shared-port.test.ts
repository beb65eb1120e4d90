/** Sockets that share a port, on this kernel: who gets what comes next, what stays with whom, and what may be passed on. */

import assert from 'node:assert/strict'
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { DescriptorReceiver, DescriptorSender } from '../../src/host/pass-descriptors.ts'
import { leadConnectionsTo, socketAddress, spreadConnections, takeNothingNew } from '../../src/host/shared-port.ts'
import { closeDescriptor, connectSocket, datagramCalls, openSocket, SyscallError } from '../../src/host/syscalls.ts'
import { descriptorsOf } from '../../src/serve/listen/descriptor.ts'
import { until } from '../common/until.ts'

const DATAGRAMS = 60

async function udp(t: TestContext, address: string, port: number): Promise<{ socket: UdpSocket; received: string[] }> {
  const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', reusePort: true })
  const received: string[] = []
  socket.on('message', (message, client) => {
    received.push(message.toString())
    socket.send(message, client.port, client.address)
  })
  socket.bind(port, address)
  await once(socket, 'listening')
  t.after(() => socket.close())
  return { socket, received }
}

async function tcp(t: TestContext, port: number): Promise<{ server: Server; accepted: Socket[] }> {
  const accepted: Socket[] = []
  const server = createServer((socket) => accepted.push(socket))
  server.listen({ host: '127.0.0.1', port, reusePort: true })
  await once(server, 'listening')
  t.after(() => {
    for (const socket of accepted) socket.destroy()
    server.close()
  })
  return { server, accepted }
}

suite('a shared port', () => {
  for (const address of ['127.0.0.1', '::1']) {
    test(`a UDP socket at ${address} takes nothing new and still answers what it has`, async (t) => {
      const old = await udp(t, address, 0)
      const { port } = old.socket.address()
      const next = await udp(t, address, port)
      const answers: string[] = []
      const ask = async (text: string): Promise<void> => {
        // Each from a port of its own, so that the kernel chooses anew.
        const client = createSocket(address.includes(':') ? 'udp6' : 'udp4')
        t.after(() => client.close())
        client.on('message', (message) => answers.push(message.toString()))
        await new Promise((sent) => client.send(text, port, address, sent))
      }
      const all = (name: string) => Promise.all(Array.from({ length: DATAGRAMS }, (_, i) => ask(`${name} ${i}`)))
      await all('before')
      for (const descriptor of descriptorsOf(old.socket)) takeNothingNew(descriptor, address, port)
      await all('after')
      await until(() => answers.length === 2 * DATAGRAMS)
      assert.ok(old.received.some((text) => text.startsWith('before')))
      assert.deepEqual(
        old.received.filter((text) => text.startsWith('after')),
        [],
      )
      assert.equal(next.received.filter((text) => text.startsWith('after')).length, DATAGRAMS)
    })
  }

  test('new connections go to the place they are led to, and to the one that is left when another is gone', async (t) => {
    const old = await tcp(t, 0)
    const { port } = old.server.address() as { port: number }
    const next = await tcp(t, port)
    const [descriptor] = descriptorsOf(old.server)
    const open = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const client = connect(port, '127.0.0.1')
        t.after(() => client.destroy())
        await once(client, 'connect')
      }
    }
    leadConnectionsTo(1, descriptor!)
    await open(20)
    await until(() => next.accepted.length === 20)
    leadConnectionsTo(0, descriptor!)
    await open(20)
    await until(() => old.accepted.length === 20)
    leadConnectionsTo(1, descriptor!)
    old.server.close()
    // Its place is the other's now, and the place that was named is nobody's.
    await open(20)
    await until(() => next.accepted.length === 40)
    const [left] = descriptorsOf(next.server)
    spreadConnections(left!)
    assert.throws(
      () => spreadConnections(left!),
      (error) => error instanceof SyscallError && error.code === 'ENOENT',
    )
  })

  test('an open connection is passed on with what is unread, and its client notices nothing', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'nlm-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const path = join(directory, 'connections')
    const { server, accepted } = await tcp(t, 0)
    const client = connect((server.address() as { port: number }).port, '127.0.0.1')
    t.after(() => client.destroy())
    await until(() => accepted.length === 1)
    const receiver = new DescriptorReceiver(path)
    t.after(() => receiver.close())
    assert.equal(receiver.receive(), undefined)
    await new Promise((written) => client.write('unread', written))
    const sender = new DescriptorSender(path)
    t.after(() => sender.close())
    const [descriptor] = descriptorsOf(accepted[0]!)
    assert.equal(sender.send({ descriptor: descriptor!, note: 'a note' }), true)
    accepted[0]!.destroy()
    const passed = receiver.receive()
    assert.equal(passed?.note, 'a note')
    const taken = new Socket({ fd: passed.descriptor })
    t.after(() => taken.destroy())
    const [read] = (await once(taken, 'data')) as [Buffer]
    assert.equal(read.toString(), 'unread')
    taken.write('answer')
    assert.equal(((await once(client, 'data')) as [Buffer])[0].toString(), 'answer')
  })

  test('a receiver is called when something comes, as often as there is something left, and never else', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'nlm-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const path = join(directory, 'connections')
    const { server } = await tcp(t, 0)
    const [descriptor] = descriptorsOf(server)
    const receiver = new DescriptorReceiver(path)
    t.after(() => receiver.close())
    const notes: string[] = []
    let calls = 0
    receiver.watch(() => {
      calls++
      const { descriptor, note } = receiver.receive()!
      closeDescriptor(descriptor)
      notes.push(note)
    })
    const sender = new DescriptorSender(path)
    t.after(() => sender.close())
    for (const note of ['one', 'two', 'three']) sender.send({ descriptor: descriptor!, note })
    await until(() => notes.length === 3)
    assert.deepEqual(notes, ['one', 'two', 'three'])
    // Everything that the kernel has to tell by now has been told after two turns.
    for (let turn = 0; turn < 3; turn++) await nextTurn()
    assert.equal(calls, 3)
  })

  test('a message without a descriptor is said to be one', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'nlm-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const path = join(directory, 'connections')
    const receiver = new DescriptorReceiver(path)
    t.after(() => receiver.close())
    const [AF_UNIX, SOCK_DGRAM] = [1, 2]
    const stranger = openSocket(AF_UNIX, SOCK_DGRAM)
    t.after(() => closeDescriptor(stranger))
    connectSocket(stranger, Buffer.from(`\u0001\0${path}\0`))
    datagramCalls().sendOctets(stranger, Buffer.from('hello'), 5)
    assert.throws(() => receiver.receive(), /without a descriptor/)
    assert.equal(receiver.receive(), undefined)
  })

  test('a sender whose receiver is gone hears so', () => {
    const sender = new DescriptorSender('/nonexistent/nodelocal-mcs')
    assert.throws(() => sender.send({ descriptor: 0, note: '' }), /sendmsg: ENOENT/)
    sender.close()
  })

  test('addresses are written as the kernel reads them', () => {
    const hex = (address: string) => socketAddress(address, 53).toString('hex')
    assert.equal(hex('169.254.20.10'), '02000035a9fe140a0000000000000000')
    assert.equal(hex('fd20::10'), '0a00003500000000fd20000000000000000000000000001000000000')
    assert.equal(hex('::1'), '0a000035000000000000000000000000000000000000000100000000')
    // Loopback's index is 1 in every network namespace; a scope may be the index itself.
    for (const scope of ['lo', '1']) {
      assert.equal(hex(`fe80::1%${scope}`), '0a00003500000000fe80000000000000000000000000000101000000')
    }
    for (const scope of ['nosuch0', '4294967295', '..']) {
      assert.throws(
        () => socketAddress(`fe80::1%${scope}`, 53),
        (error) => error instanceof SyscallError && error.code === 'ENODEV',
      )
    }
  })
})
