/** What went over the wire, and whose loss a query is that was never answered: tcpdump and tshark say. */

import { once } from 'node:events'
import { join } from 'node:path'
import { until } from './agent-process.ts'
import type { TestNode } from './test-node.ts'

export interface TcpLosses {
  readonly queries: number
  /** Sent after the server's end of the connection had arrived in the client's kernel: the client could have known. */
  readonly afterEnd: number
  /** Sent before it, and not answered. */
  readonly beforeEnd: number
  /** Packets that the capture missed; then the rest says nothing. */
  readonly missed: number
}

/** Begins to capture DNS over TCP on the pod's link, as its kernel sees it; the result ends it. */
export async function captureTcp(node: TestNode): Promise<() => Promise<TcpLosses>> {
  const path = join(node.directory, 'tcp.pcap')
  const link = (await node.shell('pod', 'basename /sys/class/net/v1i*')).trim()
  const child = node.spawn('pod', 'tcpdump', ['-Z', 'root', '-i', link, '-w', path, '-B', '65536', 'tcp port 53'])
  let said = ''
  child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await until(
    () => said.includes('listening on'),
    10_000,
    () => said,
  )
  return async () => {
    const ended = once(child, 'close')
    child.kill('SIGINT')
    await ended
    const missed = Number(/(\d+) packets? dropped by kernel/.exec(said)?.[1] ?? Number.NaN)
    return { ...(await lossesIn(node, path)), missed }
  }
}

async function lossesIn(node: TestNode, path: string): Promise<Omit<TcpLosses, 'missed'>> {
  const fields = ['tcp.stream', 'tcp.dstport', 'tcp.flags.fin', 'dns.id'].flatMap((field) => ['-e', field])
  const options = ['-o', 'tcp.desegment_tcp_streams:TRUE', '-2', '-n']
  const text = await node.in('pod', 'tshark', '-r', path, ...options, '-T', 'fields', ...fields)
  const waiting = new Map<string, { isAfterEnd: boolean }>()
  const ended = new Set<string>()
  let queries = 0
  for (const line of text.split('\n')) {
    const [stream, to, fin, ids = ''] = line.split('\t')
    if (stream === undefined || to === undefined) continue
    const isQuery = to === '53'
    for (const id of ids.split(',').filter((each) => each !== '')) {
      const key = `${stream} ${id}`
      if (!isQuery) waiting.delete(key)
      else {
        queries++
        waiting.set(key, { isAfterEnd: ended.has(stream) })
      }
    }
    if (!isQuery && (fin === '1' || fin === 'True')) ended.add(stream)
  }
  const lost = [...waiting.values()]
  const afterEnd = lost.filter(({ isAfterEnd }) => isAfterEnd).length
  return { queries, afterEnd, beforeEnd: lost.length - afterEnd }
}
