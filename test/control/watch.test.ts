/** When a watch asks again: thousands of nodes follow the same server, and what it does to one it does to all at once. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ApiReply } from '../../src/control/kubernetes-api.ts'
import { objectKeyOf } from '../../src/control/object-intake.ts'
import { WATCH_LIMITS, Watch } from '../../src/control/watch.ts'

const CHANCE = 0.5
/** What a watch asks for, by that chance. */
const WATCH_MS = WATCH_LIMITS.watchSeconds * (1 + CHANCE) * 1000

const event = (type: string, object: object): object => ({ type, object })
const added = (name: string): object => event('ADDED', { metadata: { namespace: 'demo', name, resourceVersion: '5' } })
const END_OF_LIST = event('BOOKMARK', {
  metadata: { resourceVersion: '7', annotations: { 'k8s.io/initial-events-end': 'true' } },
})
const EXPIRED = event('ERROR', { code: 410 })

/** What the server says to one request, and how many milliseconds go by until it ends. */
interface Said {
  readonly events: readonly object[]
  readonly ms: number
}

/** Follows a server that says these things and then nothing more; returns how long it was waited before each request. */
async function waitsOf(said: readonly Said[]): Promise<number[]> {
  const abort = new AbortController()
  const waits: number[] = []
  let nowMs = 0
  let waitedMs = 0
  const left = [...said]
  const watch = new Watch({
    api: {
      get: (): Promise<ApiReply> => {
        waits.push(waitedMs)
        waitedMs = 0
        const next = left.shift()
        if (next === undefined) abort.abort()
        const body = async function* (): AsyncGenerator<Buffer> {
          for (const one of next?.events ?? []) yield await Promise.resolve(Buffer.from(`${JSON.stringify(one)}\n`))
          nowMs += next?.ms ?? 0
        }
        return Promise.resolve({ kind: 'ok', body: body() })
      },
      forgetCredentials: () => undefined,
      close: () => undefined,
    },
    path: '/apis/x/v1/things',
    labelSelector: undefined,
    limits: WATCH_LIMITS,
    put: objectKeyOf,
    remove: () => undefined,
    retain: () => Promise.resolve(),
    onListed: () => undefined,
    onWord: () => undefined,
    onConnected: () => undefined,
    onRelist: () => undefined,
    onTooLarge: () => undefined,
    onFailure: () => undefined,
    isStillRight: () => Promise.resolve(true),
    nowMs: () => nowMs,
    chance: () => CHANCE,
    wait: (ms) => {
      waitedMs += ms
      return Promise.resolve()
    },
    breathe: () => undefined,
  })
  assert.equal(await watch.run(abort.signal), 'stopped')
  return waits
}

const objects = (count: number): object[] => Array.from({ length: count }, (_, i) => added(`s${i}`))

suite('a watch asks again', () => {
  const cases: { promise: string; said: readonly Said[]; waits: readonly number[] }[] = [
    {
      promise: 'at once when its time is over',
      said: [{ events: [END_OF_LIST], ms: WATCH_MS }],
      waits: [0, 0],
    },
    {
      promise: 'at a moment of chance within a second when the server ended it early',
      said: [{ events: [END_OF_LIST], ms: WATCH_MS / 2 }],
      waits: [0, WATCH_LIMITS.resumeSpreadMs * CHANCE],
    },
    {
      promise: 'for a list, spread over as many milliseconds as it has objects, when its version expired',
      said: [
        { events: [...objects(3_000), END_OF_LIST], ms: WATCH_MS },
        { events: [EXPIRED], ms: 0 },
      ],
      waits: [0, 0, 3_000 * WATCH_LIMITS.relistSpreadMsPerObject * CHANCE],
    },
    {
      promise: 'for a list of any size within ten seconds',
      said: [
        { events: [...objects(30_000), END_OF_LIST], ms: WATCH_MS },
        { events: [EXPIRED], ms: 0 },
      ],
      waits: [0, 0, WATCH_LIMITS.relistSpreadMsMax * CHANCE],
    },
  ]
  for (const { promise, said, waits } of cases) {
    test(promise, async () => assert.deepEqual(await waitsOf(said), waits))
  }
})
