/** Clients that never stop asking while agents come and go, and what they lost. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PipeliningResult } from './pipelining-client.ts'
import { CLUSTER_IP, type TestNode } from './test-node.ts'

const PIPELINING_CLIENT = new URL('./pipelining-client.ts', import.meta.url).pathname

export interface Load {
  readonly transport: 'udp' | 'tcp'
  readonly address: string
  readonly queriesPerSecond: number
  readonly seconds: number
}

export interface LoadResult {
  readonly sent: number
  readonly lost: number
  /** By rcode. */
  readonly responses: Readonly<Record<string, number>>
  readonly text: string
}

/** Sockets, or connections, that dnsperf asks from. */
export const LOAD_CLIENTS = 20

/** Seconds after which dnsperf calls a query lost: as long as a resolver in a Pod waits. */
const LOST_SECONDS = 5

/** Starts dnsperf in the pod; the result comes when its time is over. */
export async function startLoad(node: TestNode, load: Load): Promise<{ readonly result: Promise<LoadResult> }> {
  const path = join(node.directory, 'queries')
  await writeFile(path, Array.from({ length: 200 }, (_, i) => `svc-${i}.default.svc.cluster.local A\n`).join(''))
  const child = node.spawn('pod', 'dnsperf', [
    `-s${load.address}`,
    `-m${load.transport}`,
    `-d${path}`,
    `-c${LOAD_CLIENTS}`,
    `-Q${load.queriesPerSecond}`,
    `-l${load.seconds}`,
    `-t${LOST_SECONDS}`,
    '-q1000',
  ])
  return { result: resultOf(child) }
}

/** Clients over TCP with edns-tcp-keepalive, which heed what they are told or not. */
export async function pipeliningClients(
  node: TestNode,
  { queriesPerSecond, seconds, heeds }: { queriesPerSecond: number; seconds: number; heeds: boolean },
): Promise<PipeliningResult> {
  const args = [CLUSTER_IP, '53', `${seconds}`, `${queriesPerSecond}`, heeds ? 'heed' : 'ignore']
  return JSON.parse(await node.in('pod', process.execPath, PIPELINING_CLIENT, ...args)) as PipeliningResult
}

/** UDP datagrams that the kernel of a namespace threw away since it exists, by why: full sockets, no socket. */
export async function udpDrops(
  node: TestNode,
  where: 'node' | 'pod' | 'dns',
): Promise<{ full: number; nobody: number }> {
  const [names, values] = (await node.shell(where, 'cat /proc/net/snmp'))
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '))
  const of = (name: string) => Number(values?.[names?.indexOf(name) ?? -1] ?? 0)
  return { full: of('RcvbufErrors'), nobody: of('NoPorts') }
}

async function resultOf(child: ChildProcess): Promise<LoadResult> {
  let text = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await once(child, 'close')
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN)
  const codes = /Response codes:\s+(.*)/.exec(text)?.[1] ?? ''
  return {
    sent: number(/Queries sent:\s+(\d+)/),
    lost: number(/Queries lost:\s+(\d+)/),
    responses: Object.fromEntries([...codes.matchAll(/([A-Z]+) (\d+)/g)].map((match) => [match[1]!, Number(match[2])])),
    text,
  }
}
