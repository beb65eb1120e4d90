/**
 * The tables of `test/vectors/clusterset`, asked of the agent as a process over UDP and TCP, its objects from manifests, from
 * the in-repo API server and from a real one. That one does not admit all of the malformed objects that the tables are about:
 * what is asked of a service with such an object is skipped there, and the skip says what the server said.
 */

import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { after, before, suite, test } from 'node:test'
import { type AgentProcess, startAgentProcess } from '../common/agent-process.ts'
import type { KubernetesObject } from '../common/api-under-test.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { realApiServerFolder } from '../common/real-api-server.ts'
import { checkVector, readVectors, responseFromBytes, type VectorCase } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'
import { IN_REPO_API, MANIFESTS, type OpenedOrigin, type Origin, realApi, refusalBehind } from './clusterset-origins.ts'

const TABLES = [
  'zone',
  'cluster-set-ip',
  'headless',
  'long-names',
  'several-zones',
  'submariner',
  'submariner-off',
  'unsynced',
  'partial',
  'absent',
]

/** Cases of a table that a server may keep us from, one of so many: with more, the table would say nothing of it. */
const SKIPPED_ONE_OF = 5

const realFolder = realApiServerFolder()
const ORIGINS: readonly Origin[] = [MANIFESTS, IN_REPO_API, ...(realFolder === undefined ? [] : [realApi(realFolder)])]
if (realFolder === undefined) {
  const skip = 'set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver'
  test('clusterset tables from a real API server', { skip }, () => {})
}

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((address) => address?.address === '::1')

/** Addresses of loopback in the place of those that the tables give the name server: nobody else has those here. */
function standInFor(address: string): string {
  return address.includes(':') ? '::1' : '127.0.0.1'
}

function withStandIns(vector: VectorCase, addresses: readonly string[]): VectorCase {
  const translate = (record: string): string =>
    addresses.reduce((text, address) => text.replace(new RegExp(`\\b${address}$`), standInFor(address)), record)
  const { answer, authority, additional } = vector.expected
  const expected = {
    ...vector.expected,
    answer: answer.map(translate),
    authority: authority.map(translate),
    additional: additional.map(translate),
  }
  return { ...vector, expected }
}

for (const { what, skips, open, end } of ORIGINS) {
  if (end !== undefined) after(end)
  for (const name of TABLES.filter((table) => skips[table] === undefined)) {
    const table = readVectors(`clusterset/${name}`)
    const { zones, ttlSeconds, submariner, localClusterId, serverAddresses } = table.settings
    const needsIpv6 = serverAddresses.some((address) => address.includes(':'))
    const skip = needsIpv6 && !hasIpv6 && 'loopback has no IPv6 here'

    suite(`clusterset ${name} from ${what}, asked of a process`, { skip }, () => {
      const addresses = serverAddresses.length === 0 ? ['127.0.0.1'] : serverAddresses.map(standInFor)
      let agent: AgentProcess
      let origin: OpenedOrigin
      const refusalOf = ({ question }: VectorCase): string | undefined =>
        refusalBehind(question.name, zones, { refused: origin.refused, objects: table.objects as KubernetesObject[] })

      before(async () => {
        origin = await open(table)
        const skipped = table.cases.filter((vector) => refusalOf(vector) !== undefined).length
        assert.ok(skipped * SKIPPED_ONE_OF <= table.cases.length, `${skipped} of ${table.cases.length} cases skipped`)
        agent = await startAgentProcess({
          listen: { port: 0, addresses },
          clusterset: {
            zones: zones.map((zone) => zone.replace(/\.$/, '')),
            ttlSeconds,
            submariner,
            localClusterId: localClusterId ?? null,
            ...origin.clusterset,
          },
          forward: [],
        })
        await origin.reached(agent)
      })
      after(async () => {
        try {
          if (agent !== undefined) assert.equal(await agent.stop(), 0)
        } finally {
          await origin?.close()
        }
      })

      for (const [transport, ask] of [
        ['UDP', askUdp],
        ['TCP', askTcp],
      ] as const) {
        for (const vector of table.cases) {
          test(`${vector.promise} (line ${vector.line}, ${transport})`, async (t) => {
            const refusal = refusalOf(vector)
            if (refusal !== undefined) return t.skip(refusal)
            await checkVector(withStandIns(vector, serverAddresses), async (question) =>
              responseFromBytes(await ask(agent.port, queryBytes(question), addresses[0])),
            )
          })
        }
      }
    })
  }
}
