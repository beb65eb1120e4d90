/** A real unbound on a loopback port of its own, with the records of the test and nothing else. */

import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encode } from 'dns-packet'
import { until } from './agent-process.ts'

export interface Unbound {
  readonly port: number
  stop(): Promise<void>
}

/** `records` in zone-file notation; every other name gets NXDOMAIN. Extra configuration lines go into the server clause. */
export async function startUnbound(records: readonly string[], extra: readonly string[] = []): Promise<Unbound> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryToStart(records, extra)
    } catch (error) {
      // Somebody else had the port for TCP, or took it just now.
      if (attempt === PORTS_TRIED_MAX || !String(error).includes('Address already in use')) throw error
    }
  }
}

const PORTS_TRIED_MAX = 5

async function tryToStart(records: readonly string[], extra: readonly string[]): Promise<Unbound> {
  const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-unbound-'))
  const port = await freePort()
  const config = [
    'server:',
    `  interface: 127.0.0.1@${port}`,
    '  do-daemonize: no',
    '  username: ""',
    '  chroot: ""',
    '  use-syslog: no',
    `  directory: "${directory}"`,
    `  pidfile: "${join(directory, 'unbound.pid')}"`,
    '  module-config: "iterator"',
    '  do-not-query-localhost: no',
    '  local-zone: "." static',
    '  local-data: ". 60 IN SOA ns.root. admin.root. 1 2 3 4 5"',
    ...records.map((record) => `  local-data: '${record}'`),
    ...extra.map((line) => `  ${line}`),
    'remote-control:',
    '  control-enable: no',
  ].join('\n')
  const path = join(directory, 'unbound.conf')
  await writeFile(path, config)
  const child = spawn('/usr/sbin/unbound', ['-d', '-c', path], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await until(
      () => {
        if (child.exitCode !== null) throw new Error(`unbound ended with ${child.exitCode}: ${output}`)
        return answers(port)
      },
      10_000,
      () => output,
    )
  } catch (error) {
    await stop()
    throw error
  }
  return { port, stop }
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  return port
}

/** Whether anything answers DNS on the port within 200 ms. */
async function answers(port: number): Promise<boolean> {
  const socket = createSocket('udp4')
  try {
    return await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), 200)
      const end = (value: boolean) => {
        clearTimeout(timer)
        resolve(value)
      }
      socket.on('message', () => end(true))
      socket.on('error', () => end(false))
      socket.connect(port, '127.0.0.1', () => {
        socket.send(encode({ type: 'query', id: 1, flags: 0x0100, questions: [{ type: 'SOA', name: '.' }] }))
      })
    })
  } finally {
    socket.close()
  }
}
