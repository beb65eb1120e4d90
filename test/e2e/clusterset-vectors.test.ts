/** The tables of `test/vectors/clusterset`, asked of the agent as a process over UDP and TCP. */

import assert from 'node:assert/strict'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { type AgentProcess, startAgentProcess } from '../common/agent-process.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { checkVector, readVectors, responseFromBytes, type VectorCase, type VectorQuestion } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'

/** Those whose state a running agent reaches with manifests. */
const TABLES = ['zone', 'cluster-set-ip', 'headless', 'long-names', 'several-zones', 'submariner', 'submariner-off']

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
