/** Who waits for whom, of several agents of a node. */

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { Presence } from '../../src/agent/presence.ts'
import { configFromText } from '../../src/config/config.ts'
import { Instances } from '../../src/host/instances.ts'
import { createLog } from '../../src/observe/log.ts'
import { until } from '../common/until.ts'

interface Waiting {
  readonly directory: string
  /** What it logged. */
  said(): string
  knowsEnough(): void
  isToStop(): void
  /** Resolves when it goes on. */
  goesOn(): Promise<void>
  readonly isWaiting: boolean
}

async function presenceIn(
  t: TestContext,
  isOver: () => boolean = () => false,
): Promise<{ directory: string; presence: Presence; said(): string }> {
  const directory = await mkdtemp(join(tmpdir(), 'nlm-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const loaded = configFromText(`host: { stateDirectory: ${directory} }`, 'c.yaml')
  if (loaded.kind !== 'config') throw new Error(JSON.stringify(loaded))
  const lines: string[] = []
  const presence = new Presence(loaded.config, {
    log: createLog('info', { write: (line) => void lines.push(line) }),
    listening: () => [],
    conditions: () => [],
    isOver,
    datagramsAnswered: () => 0,
    workers: () => [],
    replaceWorker() {},
  })
  return { directory, presence, said: () => lines.join('') }
}

async function waitingIn(t: TestContext): Promise<Waiting> {
  let [knowsTooLittle, isOver, isWaiting] = [true, false, false]
  const { directory, presence, said } = await presenceIn(t, () => isOver)
  return {
    directory,
    said,
    knowsEnough: () => (knowsTooLittle = false),
    isToStop: () => (isOver = true),
    async goesOn() {
      await presence.join()
      t.after(() => presence.cleanUp())
      isWaiting = true
      await presence.whileOthersAnswer(() => knowsTooLittle)
      isWaiting = false
    },
    get isWaiting() {
      return isWaiting
    },
  }
}

/** Another one that is asked for its phase, and tells nothing: the first `times`, after which it is gone. */
async function sayingNothing(t: TestContext, directory: string, times: number): Promise<void> {
  let asked = 0
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.destroy()
    if (++asked === times) server.close()
  })
  t.after(() => server.close())
  await new Promise<void>((listening) => server.listen(join(directory, 'silent.instance'), listening))
}

suite('an agent that ends', () => {
  for (const { promise, times, isLeft } of [
    {
      promise: 'takes one that told nothing, and is gone, for gone: what they shared is taken away',
      times: 1,
      isLeft: false,
    },
    { promise: 'leaves what they share to one that tells nothing and stays', times: Number.NaN, isLeft: true },
  ]) {
    test(promise, async (t) => {
      const { directory, presence, said } = await presenceIn(t)
      await presence.join()
      await sayingNothing(t, directory, times)
      presence.sayNotReady()
      await presence.cleanUp()
      assert.equal(said().includes('interface-left'), isLeft, said())
    })
  }
})

suite('an agent that does not know the zone yet', () => {
  for (const { promise, end } of [
    { promise: 'until it knows enough', end: (waiting: Waiting) => waiting.knowsEnough() },
    { promise: 'until it is told to stop', end: (waiting: Waiting) => waiting.isToStop() },
    { promise: 'until that one is gone', end: (_: Waiting, other: Instances) => other.leave() },
    {
      promise: 'until that one has left the rest to others',
      end: (_: Waiting, other: Instances) => void (other.phase = 'left'),
    },
  ] as const) {
    test(`waits while another answers, ${promise}`, async (t) => {
      const waiting = await waitingIn(t)
      const other = await Instances.join(waiting.directory, 'other')
      t.after(() => other.leave())
      other.phase = 'ready'
      const gone = waiting.goesOn()
      await until(() => waiting.said().includes('waits-beside-others'))
      // One that was told to stop still answers.
      other.phase = 'leaving'
      assert.equal(waiting.isWaiting, true)
      await end(waiting, other)
      await gone
      assert.equal(waiting.said().split('waits-beside-others').length, 2)
    })
  }

  test('waits for nobody who is not ready himself, or tells nothing of himself', async (t) => {
    const waiting = await waitingIn(t)
    const starting = await Instances.join(waiting.directory, 'starting')
    t.after(() => starting.leave())
    // As one whose event loop stands still: the kernel accepts for it.
    const still = createServer((socket) => void socket.on('error', () => socket.destroy()))
    await new Promise<void>((listening) => still.listen(join(waiting.directory, 'still.instance'), listening))
    t.after(() => still.close())
    await waiting.goesOn()
    assert.match(waiting.said(), /"phase":"unknown"/)
    assert.doesNotMatch(waiting.said(), /waits-beside-others/)
  })

  test('waits for nobody where it is alone', async (t) => {
    const waiting = await waitingIn(t)
    await waiting.goesOn()
    assert.doesNotMatch(waiting.said(), /waits-beside-others/)
  })
})
