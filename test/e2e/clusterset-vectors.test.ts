/**
 * The tables of `test/vectors/clusterset`, asked of the agent as a process over UDP and TCP, its objects from manifests and
 * from a Kubernetes API (the in-repo one: a real one would not admit the malformed objects that the tables are about).
 */

import assert from 'node:assert/strict'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { type AgentProcess, startAgentProcess, until } from '../common/agent-process.ts'
import type { KubernetesObject } from '../common/api-under-test.ts'
import { askTcp, askUdp } from '../common/ask.ts'
import { type FakeApiServer, startFakeApiServer } from '../common/fake-api-server.ts'
import { checkVector, readVectors, responseFromBytes, type VectorCase, type VectorTable } from '../common/vectors.ts'
import { queryBytes } from '../common/zone-server.ts'

const TABLES = [
  'zone',
  'cluster-set-ip',
  'headless',
  'long-names',
  'several-zones',
  'submariner',
  'submariner-off',
  'unsynced',
  'absent',
]

/** Where objects come from, and what it takes until the zone is in the table's state. */
interface Origin {
  readonly what: string
  /** Why a table cannot be reached from here. */
  readonly skips: Readonly<Record<string, string>>
  /** The agent's `clusterset` settings. */
  open(table: VectorTable): Promise<{
    readonly clusterset: object
    reached(agent: AgentProcess): Promise<void>
    close(): Promise<void>
  }>
}

const isInState = (agent: AgentProcess, state: string): Promise<void> =>
  until(
    async () => (await agent.metrics()).includes(`nodelocal_mcs_zone_state{state="${state}"} 1`),
    20_000,
    () => agent.output(),
  )

const ORIGINS: readonly Origin[] = [
  {
    what: 'manifests',
    skips: {
      unsynced: 'a directory is read before the first query',
      absent: 'a directory knows no CRDs',
    },
    open: async (table) => {
      const directory = await mkdtemp(join(tmpdir(), 'nodelocal-mcs-vectors-'))
      await copyFile(table.objectsFile, join(directory, 'objects.yaml'))
      return {
        clusterset: { source: 'manifests', manifests: { directory } },
        reached: (agent) => isInState(agent, 'synced'),
        close: () => rm(directory, { recursive: true, force: true }),
      }
    },
  },
  {
    what: 'the API',
    skips: {},
    open: async (table) => {
      const api = await startFakeApiServer()
      await api.applyMany(table.objects as KubernetesObject[])
      // Imports are known and slices are not: the zone is not synced and stays so.
      if (table.settings.state === 'unsynced') api.faults.hold({ resource: 'endpointslices' })
      return {
        clusterset: { source: 'kubernetes', kubernetes: { kubeconfig: await api.kubeconfig() } },
        reached: (agent) => reachedFromApi(agent, api, table),
        close: () => api.stop(),
      }
    },
  },
]

async function reachedFromApi(
  agent: AgentProcess,
  api: FakeApiServer,
  { settings, objects }: VectorTable,
): Promise<void> {
  if (settings.state === 'unsynced') {
    const imports = objects.filter((object) => (object as KubernetesObject).kind === 'ServiceImport').length
    await until(
      async () => (await agent.metrics()).includes(`nodelocal_mcs_zone_objects{kind="serviceimports"} ${imports}`),
      20_000,
      () => agent.output(),
    )
    return
  }
  await isInState(agent, 'synced')
  if (settings.state !== 'absent') return
  await api.removeCrd()
  await isInState(agent, 'absent')
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

for (const { what, skips, open } of ORIGINS) {
  for (const name of TABLES.filter((table) => skips[table] === undefined)) {
    const table = readVectors(`clusterset/${name}`)
    const { zones, ttlSeconds, submariner, localClusterId, serverAddresses } = table.settings
    const needsIpv6 = serverAddresses.some((address) => address.includes(':'))
    const skip = needsIpv6 && !hasIpv6 && 'loopback has no IPv6 here'

    suite(`clusterset ${name} from ${what}, asked of a process`, { skip }, () => {
      const addresses = serverAddresses.length === 0 ? ['127.0.0.1'] : serverAddresses.map(standInFor)
      let agent: AgentProcess
      let origin: Awaited<ReturnType<Origin['open']>>

      before(async () => {
        origin = await open(table)
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
          assert.equal(await agent?.stop(), 0)
        } finally {
          await origin?.close()
        }
      })

      for (const [transport, ask] of [
        ['UDP', askUdp],
        ['TCP', askTcp],
      ] as const) {
        for (const vector of table.cases) {
          test(`${vector.promise} (line ${vector.line}, ${transport})`, () =>
            checkVector(withStandIns(vector, serverAddresses), async (question) =>
              responseFromBytes(await ask(agent.port, queryBytes(question), addresses[0])),
            ))
        }
      }
    })
  }
}
