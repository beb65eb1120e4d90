/** One query to a server on loopback and its response's bytes, over either transport. */

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'

const ANSWER_MS = 5_000

/** Over UDP with an OPT for 1232 octets. */
export async function askUdp(port: number, query: Buffer, address = '127.0.0.1'): Promise<Buffer> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  try {
    const withOpt = Buffer.concat([query, Buffer.from('00002904d0000000000000', 'hex')])
    withOpt.writeUInt16BE(1, 10)
    socket.send(withOpt, port, address)
    const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(ANSWER_MS) })) as [Buffer]
    return message
  } finally {
    socket.close()
  }
}

/** Over TCP, on a connection of its own that is half-closed behind the query. */
export async function askTcp(port: number, query: Buffer, address = '127.0.0.1'): Promise<Buffer> {
  const socket = connect(port, address)
  socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error(`no answer over TCP within ${ANSWER_MS} ms`)))
  try {
    const length = Buffer.alloc(2)
    length.writeUInt16BE(query.length)
    socket.end(Buffer.concat([length, query]))
    const chunks: Buffer[] = []
    for await (const chunk of socket) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks).subarray(2)
  } finally {
    socket.destroy()
  }
}
