/** The tables of `test/vectors/clusterset`, asked of the agent as a process over UDP and TCP. */

import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { type AgentProcess, startAgentProcess } from '../common/agent-process.ts'
import { checkVector, readVectors, responseFromBytes, type VectorCase, type VectorQuestion } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'

/** Those whose state a running agent reaches with manifests. */
const TABLES = ['zone', 'cluster-set-ip', 'headless', 'long-names', 'several-zones', 'submariner', 'submariner-off']

/** An EDNS query for 1232 octets, so that the tables' answers fit. */
function withOpt(query: Buffer): Buffer {
  const bytes = Buffer.concat([query, Buffer.from('00002904d0000000000000', 'hex')])
  bytes.writeUInt16BE(1, 10)
  return bytes
}

async function askUdp(port: number, query: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4')
  try {
    socket.send(withOpt(query), port, '127.0.0.1')
    const [message] = (await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })) as [Buffer]
    return message
  } finally {
    socket.close()
  }
}

async function askTcp(port: number, query: Buffer): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1')
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

/** The process listens on loopback, so what the tables say of the name server's own addresses is not asked here. */
function needsTheTablesAddresses(vector: VectorCase): boolean {
  const isNameServer = (line: string) => /^ns\.dns\./i.test(line)
  return /^(ns\.)?dns\./i.test(vector.question.name) || vector.expected.additional.some(isNameServer)
}

for (const name of TABLES) {
  suite(`clusterset ${name}, asked of a process`, () => {
    const table = readVectors(`clusterset/${name}`)
    const { zones, ttlSeconds, submariner, localClusterId } = table.settings
    let agent: AgentProcess
    let directory: string

    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-vectors-'))
      await copyFile(table.objectsFile, join(directory, 'objects.yaml'))
      agent = await startAgentProcess({
        clusterset: {
          zones: zones.map((zone) => zone.replace(/\.$/, '')),
          ttlSeconds,
          submariner,
          localClusterId: localClusterId ?? null,
          source: 'manifests',
          manifests: { directory },
        },
        forward: [],
      })
    })
    after(async () => {
      assert.equal(await agent?.stop(), 0)
      await rm(directory, { recursive: true, force: true })
    })

    for (const [transport, ask] of [
      ['UDP', askUdp],
      ['TCP', askTcp],
    ] as const) {
      for (const vector of table.cases.filter((one) => !needsTheTablesAddresses(one))) {
        test(`${vector.promise} (line ${vector.line}, ${transport})`, () =>
          checkVector(vector, async (question: VectorQuestion) =>
            responseFromBytes(await ask(agent.port, queryBytes(question))),
          ))
      }
    }
  })
}
