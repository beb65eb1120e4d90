/**
 * A query to ourselves through a real socket: the whole way that a Pod's query goes, and no upstream. The answer names the
 * process that gave it, because two agents may share an address, and kube-proxy may lead it elsewhere.
 *
 * Used by the start and, on a thread of its own, by the watchdog: knows no other part of the agent.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, isIPv6 } from 'node:net'

/** Names below it belong to this agent; RFC 6761 keeps `invalid` out of the world, and each query has a new one out of caches. */
export const OWN_ZONE = 'self.nodelocal-mcs.invalid'

export interface OwnTarget {
  readonly transport: 'udp' | 'tcp'
  readonly address: string
  readonly port: number
  /** Asked from loopback, which no rule leads away: for addresses that others may answer while we do not. */
  readonly isFromLoopback?: boolean
}

export type OwnAnswer =
  | { readonly kind: 'ours'; readonly author: string }
  /** Somebody answered, and not this process: another agent (`author`), or who is none. */
  | { readonly kind: 'not-ours'; readonly author: string | undefined }
  | { readonly kind: 'none'; readonly why: string }

const TYPE_TXT = 16
const HEADER_OCTETS = 12
/** Octets of a record whose owner is a pointer, before its rdata. */
const RECORD_OCTETS = 12

let lastNumber = 0

/** Asks once. `source`: a UDP socket to ask from, which the caller closes; without one each query has its own. */
export async function askOurselves(
  target: OwnTarget,
  instance: string,
  timeoutMs: number,
  source?: UdpSocket,
): Promise<OwnAnswer> {
  lastNumber = (lastNumber + 1) % 0x1_0000_0000
  const query = ownQuery(
    lastNumber,
    `${lastNumber.toString(36)}-${Date.now().toString(36)}-${process.pid.toString(36)}`,
  )
  const result = await sendQuery(target, query, timeoutMs, source)
  if (typeof result === 'string') return { kind: 'none', why: result }
  const author = authorOf(query, result)
  return author === instance ? { kind: 'ours', author } : { kind: 'not-ours', author }
}

/** Sends a query and resolves to the response, or to why there is none. Over UDP any response with its id will do. */
export async function sendQuery(
  target: OwnTarget,
  query: Buffer,
  timeoutMs: number,
  source?: UdpSocket,
): Promise<Buffer | string> {
  const asked = target.transport === 'udp' ? askOverUdp(target, query, source) : askOverTcp(target, query)
  const timer = setTimeout(() => asked.fail(`no answer within ${timeoutMs} ms`), timeoutMs)
  const result = await asked.done
  clearTimeout(timer)
  return result
}

/** A UDP socket for `askOurselves`; the same source reaches the same socket of the server as long as there are as many. */
export function openSource({ address, isFromLoopback }: OwnTarget): UdpSocket {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  // Told to whoever waits; without a listener an ICMP error would end the process.
  socket.on('error', () => undefined)
  if (isFromLoopback === true) socket.bind(0, loopback(address))
  return socket
}

interface Asked {
  /** The response, or why there is none. */
  readonly done: Promise<Buffer | string>
  fail(why: string): void
}

function loopback(address: string): string {
  return isIPv6(address) ? '::1' : '127.0.0.1'
}

function askOverUdp(target: OwnTarget, query: Buffer, source: UdpSocket | undefined): Asked {
  const { address, port } = target
  const socket = source ?? openSource(target)
  const { promise, resolve } = Promise.withResolvers<Buffer | string>()
  const onMessage = (message: Buffer): void => {
    // Answers to earlier queries of this source may come late.
    if (message.length > HEADER_OCTETS && message.readUInt16BE(0) === query.readUInt16BE(0)) resolve(message)
  }
  const onError = (error: Error): void => resolve(error.message)
  socket.on('message', onMessage)
  socket.on('error', onError)
  socket.send(query, port, address, (error) => {
    if (error !== null) resolve(error.message)
  })
  const done = promise.finally(() => {
    socket.off('message', onMessage)
    socket.off('error', onError)
    if (source === undefined) socket.close()
  })
  return { done, fail: resolve }
}

function askOverTcp({ address, port, isFromLoopback }: OwnTarget, query: Buffer): Asked {
  const { promise, resolve } = Promise.withResolvers<Buffer | string>()
  const from = isFromLoopback === true ? { localAddress: loopback(address) } : {}
  const socket = connect({ host: address, port, ...from })
  let received = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) resolve(received.subarray(2))
  })
  socket.on('error', (error) => resolve(error.message))
  socket.on('close', () => resolve('the connection was closed'))
  const length = Buffer.alloc(2)
  length.writeUInt16BE(query.length)
  socket.write(Buffer.concat([length, query]))
  return { done: promise.finally(() => socket.destroy()), fail: resolve }
}

function ownQuery(id: number, label: string): Buffer {
  const labels = [label, ...OWN_ZONE.split('.')].map((text) => `${String.fromCodePoint(text.length)}${text}`).join('')
  const header = [(id >> 8) & 0xff, id & 0xff, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]
  return Buffer.concat([Buffer.from(header), Buffer.from(labels, 'latin1'), Buffer.from([0, 0, TYPE_TXT, 0, 1])])
}

/** The text of the only record of the response; undefined where there is none. */
function authorOf(query: Buffer, response: Buffer): string | undefined {
  const isAnswer = response.length >= HEADER_OCTETS && (response[3]! & 0x0f) === 0 && response.readUInt16BE(6) === 1
  // The question comes back as it was sent; behind it a record, and its text behind a length.
  const textAt = query.length + RECORD_OCTETS + 1
  if (!isAnswer || response.length < textAt) return undefined
  return response.toString('latin1', textAt, textAt + response[textAt - 1]!)
}
