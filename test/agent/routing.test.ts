import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { ConfigInForce } from '../../src/agent/config-in-force.ts'
import { Routing } from '../../src/agent/routing.ts'
import { type Config, configFromText } from '../../src/config/config.ts'
import { nameFromText } from '../../src/dns/wire/name.ts'
import { Zone } from '../../src/dns/zone/zone.ts'
import type { Log } from '../../src/observe/log.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import type { ForwardResult } from '../../src/serve/forward/forwarder-contract.ts'
import { questionFor } from '../common/wire.ts'

const KUBE_DNS = '{ zones: [cluster.local], upstreams: [127.0.0.1:1], transport: tcp }'
const RESOLVERS = '{ zones: ["."], upstreams: [127.0.0.1:2] }'
const OTHERS = '{ zones: ["."], upstreams: [127.0.0.1:3] }'

function configOf(text: string): Config {
  const loaded = configFromText(text, 'a test')
  if (loaded.kind === 'problems') throw new Error(loaded.problems.join())
  return loaded.config
}

function logOf(events: string[]): Log {
  const note = (event: string): void => void events.push(event)
  return { debug: note, info: note, warn: note, error: note, setLevel: () => note('level') } as unknown as Log
}

function routing(t: TestContext, config: Config): Routing {
  const recordCache = new RecordCache(1 << 20)
  const made = new Routing(config, {
    zone: new Zone(1),
    recordCache,
    instance: 'a',
    log: logOf([]),
    observer: {
      exchangeEnded() {},
      healthcheckFailed() {},
      connectionReused() {},
      connectionOpened() {},
      know() {},
    },
    onRenewed() {},
    onPanic() {},
  })
  t.after(async () => {
    await made.stop(0)
    recordCache.close()
  })
  return made
}

const kindOf = ({ resolver }: Routing, name: string) => resolver.routeOf(nameFromText(name)!)?.kind

suite('routing', () => {
  test('a route that stays as it is keeps its upstreams over a change, another one gets its own', (t) => {
    const it = routing(t, configOf(`forward: [${KUBE_DNS}, ${RESOLVERS}]`))
    const [kubeDns, resolvers] = it.groups
    it.use(configOf(`forward: [${OTHERS}, ${KUBE_DNS}]`))
    assert.equal(it.groups[1], kubeDns)
    assert.notEqual(it.groups[0], resolvers)
    assert.deepEqual(
      it.groups.map(({ group }) => group.status().upstreams.map(({ to }) => to)),
      [['127.0.0.1:3'], ['127.0.0.1:1']],
    )
  })

  test('a configuration without a route refuses what it led somewhere before', (t) => {
    const it = routing(t, configOf(`forward: [${RESOLVERS}]`))
    assert.equal(kindOf(it, 'www.example'), 'forward')
    it.use(configOf('forward: []'))
    assert.equal(kindOf(it, 'www.example'), undefined)
    assert.equal(kindOf(it, 'web.shop.svc.clusterset.local'), 'zone')
  })

  test('a change that fails leaves everything as it was, and nothing that was begun for it', async (t) => {
    const it = routing(t, configOf(`forward: [${RESOLVERS}]`))
    const { groups, resolver } = it
    const good = configOf(`forward: [${OTHERS}]`)
    assert.throws(() => it.use({ ...good, clusterset: { ...good.clusterset, zones: ['not..a.name'] } }))
    assert.equal(it.groups, groups)
    assert.equal(it.resolver, resolver)
    // What is stopped says so; what is in use tries its upstream.
    const result = await new Promise<ForwardResult>((told) =>
      groups[0]!.group.forward(questionFor('www.example'), told),
    )
    assert.ok(result.kind === 'failure' && result.detail !== 'stopping')
  })

  test('counts the short cuts', (t) => {
    const it = routing(t, configOf(`forward: [${KUBE_DNS}]`))
    const name = 'web.shop.svc.clusterset.local.svc.cluster.local'
    const question = questionFor(name)
    assert.equal(it.resolver.lookAt(question).kind, 'short-cut')
    assert.equal(it.shortCuts, 0)
    const listener = {
      resolved() {},
      failed: assert.ifError,
      cacheHit() {},
      cacheMiss() {},
      staleServed() {},
      prefetched() {},
    }
    it.resolver.resolve(question, it.resolver.routeOf(question.name), listener)
    assert.equal(it.shortCuts, 1)
  })
})

suite('the configuration in force', () => {
  test('stays when a part cannot use another one, and the failure is counted', (t) => {
    const events: string[] = []
    const first = configOf(`forward: [${RESOLVERS}]`)
    const it = new ConfigInForce(first, 'hash', undefined, {
      log: logOf(events),
      apply: () => {
        throw new Error('a part cannot')
      },
    })
    t.after(() => it.stop())
    assert.equal(it.config, first)
    it.reload({ kind: 'config', config: configOf('forward: []'), hash: 'other' })
    assert.equal(it.config, first)
    assert.deepEqual(events, ['config-failed'])
    assert.deepEqual(
      { ...it.status(), appliedAtSeconds: 0 },
      { hash: 'hash', appliedAtSeconds: 0, reloadsFailed: 1, errors: 1 },
    )
  })

  test('is given to the parts when it is good, and reported when it is not', () => {
    const events: string[] = []
    const applied: Config[] = []
    const first = configOf(`forward: [${RESOLVERS}]`)
    const it = new ConfigInForce(first, 'hash', undefined, {
      log: logOf(events),
      apply: (config) => void applied.push(config),
    })
    it.reload({ kind: 'problems', problems: ['one', 'two'] })
    assert.deepEqual(
      [events, applied.length, it.hash],
      [['config-problem', 'config-problem', 'config-refused'], 0, 'hash'],
    )
    const second = configOf('forward: []')
    it.reload({ kind: 'config', config: second, hash: 'other' })
    assert.deepEqual(applied, [second])
    assert.equal(it.hash, 'other')
    assert.equal(it.status().reloadsFailed, 1)
  })
})
