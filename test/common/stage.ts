/**
 * Where a conversation is played: the whole slow path with its record cache, and a clock and upstreams in the test's hand.
 *
 * Behind it stands either one group of upstreams that is nothing but a script, or, where the conversation names upstreams,
 * the real forwarder over sockets that are none: then its timers are the conversation's too.
 */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import * as dnsPacket from 'dns-packet'
import { cachePages } from '../../src/agent/cache-pages.ts'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { Flag } from '../../src/dns/wire/header.ts'
import { nameFromText } from '../../src/dns/wire/name.ts'
import { upstreamQuery } from '../../src/dns/wire/upstream-query.ts'
import { readUpstreamResponse } from '../../src/dns/wire/upstream-response.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import { createUpstreamGroup, type ForwardingGroup } from '../../src/serve/forward/forwarder.ts'
import type { UpstreamGroup } from '../../src/serve/forward/forwarder-contract.ts'
import { Resolver } from '../../src/serve/resolve.ts'
import type { Route } from '../../src/serve/resolve-parts.ts'
import { SlowPath } from '../../src/serve/slow-path.ts'
import { QUIET_TRAFFIC } from './quiet-traffic.ts'
import { heard, told, toldQuestion } from './told.ts'

const ID = 0x2a2a

/** Milliseconds by which the clock goes on where the forwarder's timers are played. */
const STEP_MS = 10

/** How far the clock goes on for a response that does not come: past the deadline of a client. */
const PATIENCE_MS = 6_000

/** RFC 7871 section 6. */
function subnetOption(subnet: string): unknown {
  const [ip, bits] = subnet.split('/')
  return { code: 'CLIENT_SUBNET', ip, sourcePrefixLength: Number(bits), scopePrefixLength: 0 }
}

const COOKIE = { code: 10, data: Buffer.from('0102030405060708', 'hex') }
const OPERATOR = { address: '127.0.0.1' }
const NSID = { code: 3, data: Buffer.from('a-name-server') }

export type Settings = Readonly<Record<string, string>>

/** A query that an upstream has got. */
interface Asked {
  readonly to: string
  readonly query: Buffer
  reply(response: Buffer): void
  fails(how: string): void
}

/** What an upstream answers, and what it says beside the records. */
export interface Reply {
  readonly rcode?: number
  readonly answers?: dnsPacket.Answer[]
  readonly authorities?: dnsPacket.Answer[]
  /** `aa`, `ad`, `tc`; `subnet` and `options`: an OPT with a subnet, or with a cookie and its name too. */
  readonly saying?: readonly string[]
  /** `id`, `name`, `type` or `case`: what of the query it gets wrong. */
  readonly forged?: string | undefined
}

/** What a client asks for, in words (`conversation.ts` has all). */
export type Wishes = readonly string[]

export class Stage {
  now = 0
  readonly waiting: Asked[] = []
  readonly responses = new Map<string, string>()
  /** The question that an upstream got last, and by which route. */
  gotQuestion = ''
  readonly #asked: Asked[] = []
  readonly #settings: Settings
  readonly #recordCache = new RecordCache(1 << 20)
  readonly #group: UpstreamGroup
  readonly #forwarder: ForwardingGroup | undefined
  readonly #test: TestContext
  readonly #slowPath: SlowPath
  #resolver: Resolver
  #timers: { at: number; call: () => void }[] = []
  /** Ids of routes by their zone. */
  readonly #routeIds = new Map<string, number>()

  constructor(t: TestContext, settings: Settings) {
    this.#test = t
    this.#settings = settings
    t.after(() => this.#recordCache.close())
    const upstreams = settings['upstreams']?.split(',')
    this.#forwarder = upstreams === undefined ? undefined : this.#makeForwarder(upstreams)
    this.#group = this.#forwarder ?? this.#scriptedGroup()
    this.#resolver = this.#makeResolver(['.', ...(settings['routes']?.split(',') ?? [])])
    const nothing = () => undefined
    this.#slowPath = new SlowPath({
      resolver: () => this.#resolver,
      traffic: QUIET_TRAFFIC,
      queryLog: () => ({ level: 'none', query: nothing }),
      nowSeconds: () => this.now,
      onPanic: (error) => {
        throw error
      },
      rotates: () => settings['rotate'] === 'on',
      keepaliveDeciseconds: () => 100,
    })
  }

  /** How often an upstream was asked, or all. */
  askedCount(upstream: string): number {
    return this.#asked.filter(({ to }) => upstream === 'upstream' || to === upstream).length
  }

  /** The last query that an upstream got, in words. */
  heard(): string {
    const asked = this.#asked.at(-1)
    assert.ok(asked, 'nothing was asked of the upstream')
    return heard(asked.query)
  }

  /** What the forwarder has counted, by name. */
  counted(name: string): number {
    const status = this.#forwarder?.status() as unknown as Record<string, number> | undefined
    assert.ok(status !== undefined && name in status, `${name} is not counted here`)
    return status[name]!
  }

  isHealthy(upstream: string): boolean {
    const index = this.#settings['upstreams']!.split(',').indexOf(upstream)
    return this.#forwarder!.status().upstreams[index]!.isHealthy
  }

  async goTo(seconds: number): Promise<void> {
    assert.ok(seconds >= this.now, 'time goes forwards')
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= seconds).toSorted((one, other) => one.at - other.at)[0]
      await this.#tickTo(next?.at ?? seconds)
      if (next === undefined) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      next.call()
    }
  }

  /** Goes on until a client has its response; as far as a client would wait. */
  async goOnUntilTold(client: string): Promise<void> {
    const until = this.now + PATIENCE_MS / 1000
    while (!this.responses.has(client) && this.now < until) {
      const next = this.#timers.toSorted((one, other) => one.at - other.at)[0]
      if (this.#forwarder !== undefined) await this.goTo(this.now + STEP_MS / 1000)
      else if (next === undefined) return
      else await this.goTo(next.at)
      await settled()
    }
  }

  ask(client: string, name: string, type: string, wishes: Wishes): void {
    const wants = (wish: string): boolean => wishes.includes(wish)
    const subnet = wishes.find((wish) => wish.startsWith('subnet='))?.slice('subnet='.length)
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1232,
      flags: wants('dnssec') ? 0x8000 : 0,
      options: [...(subnet === undefined ? [] : [subnetOption(subnet)]), ...(wants('cookie') ? [COOKIE] : [])],
    }
    const query = dnsPacket.encode({
      type: 'query',
      id: ID,
      flags:
        (wants('no-rd') ? 0 : dnsPacket.RECURSION_DESIRED) |
        (wants('cd') ? Flag.CheckingDisabled : 0) |
        (wants('ad') ? Flag.AuthenticData : 0),
      questions: [{ name, type: type as dnsPacket.RecordType, class: wants('chaos') ? 'CH' : 'IN' }],
      additionals: wants('no-opt') ? [] : [opt as unknown as dnsPacket.Answer],
    })
    this.#receive(client, query, wants('over-tcp') ? 1 : 0)
  }

  #receive(client: string, message: Buffer, transport: 0 | 1): void {
    this.responses.delete(client)
    this.#slowPath.handle({
      message,
      transport,
      family: 0,
      server: 'dns://127.0.0.1:53',
      clientAddress: client,
      respond: (response) => void this.responses.set(client, told(response)),
      drop: () => void this.responses.set(client, 'silence'),
    })
  }

  /** An answer to the oldest question that waits; a forged one leaves it waiting. */
  reply(upstream: string, reply: Reply): void {
    const asked = reply.forged === undefined ? this.#take(upstream) : this.#next(upstream)
    const said = new Set(reply.saying)
    const { id = 0, questions = [] } = dnsPacket.decode(asked.query)
    const { name, type } = questions[0]!
    const options: unknown[] = said.has('options') ? [subnetOption('192.0.2.0/24'), COOKIE, NSID] : []
    if (said.has('subnet')) options.push(subnetOption('192.0.2.0/24'))
    const response = dnsPacket.encode({
      type: 'response',
      id: reply.forged === 'id' ? id ^ 1 : id,
      flags:
        (said.has('aa') ? dnsPacket.AUTHORITATIVE_ANSWER : 0) |
        dnsPacket.RECURSION_DESIRED |
        dnsPacket.RECURSION_AVAILABLE |
        (said.has('ad') ? Flag.AuthenticData : 0) |
        (said.has('tc') ? Flag.Truncated : 0) |
        (reply.rcode ?? 0),
      questions: [{ name: forgedName(name, reply.forged), type: reply.forged === 'type' ? 'TXT' : type }],
      answers: reply.answers ?? [],
      authorities: reply.authorities ?? [],
      additionals: (options.length === 0 ? [] : [{ ...OPT_OF_UPSTREAM, options }]) as unknown as dnsPacket.Answer[],
    })
    asked.reply(response)
  }

  fail(upstream: string, how: string): void {
    this.#take(upstream).fails(how)
  }

  /** An upstream that asks us sends its last query back, as any client would. */
  returnQuery(upstream: string): void {
    const asked = this.#asked.findLast(({ to }) => to === upstream)
    assert.ok(asked, `nothing was asked of ${upstream}`)
    this.#take(upstream)
    this.#receive(upstream, asked.query, 0)
  }

  /** Other routes from now on: each zone is one, and those that there were stay what they are. */
  route(zones: readonly string[]): void {
    this.#resolver = this.#makeResolver(zones)
  }

  /** As `POST /cache/flush` does it. */
  async flush(query: URLSearchParams): Promise<void> {
    const reply = await this.#pages()['POST /cache/flush']!(query, OPERATOR)
    assert.equal(reply.status, 200, reply.body)
  }

  /** What `GET /cache` prints of a name, an entry a line. */
  async seen(name: string): Promise<string> {
    const reply = await this.#pages()['/cache']!(new URLSearchParams({ name }), OPERATOR)
    const { entries } = JSON.parse(reply.body) as { entries: Record<string, string | number>[] }
    const told = entries.map(
      (entry) =>
        `${entry['type']} ${entry['rcode']} ${entry['freshness']} age ${entry['ageSeconds']} left ${entry['ttlLeftSeconds']} from ${entry['upstream']}`,
    )
    return told.join(', ') || 'nothing'
  }

  get entriesCount(): number {
    const { positiveEntries, negativeEntries } = this.#recordCache.status()
    return positiveEntries + negativeEntries
  }

  #pages(): ReturnType<typeof cachePages> {
    const nothing = () => undefined
    return cachePages({
      recordCache: this.#recordCache,
      packets: { forgetIf: nothing, forgetAll: nothing },
      maxStaleSeconds: () => 3600,
      nowSeconds: () => this.now,
      onFlush: nothing,
    })
  }

  #next(upstream: string): Asked {
    const asked = this.waiting.find(({ to }) => upstream === 'upstream' || to === upstream)
    assert.ok(asked, `nothing was asked of ${upstream}`)
    return asked
  }

  #take(upstream: string): Asked {
    const asked = this.#next(upstream)
    this.waiting.splice(this.waiting.indexOf(asked), 1)
    return asked
  }

  #got(asked: Asked): void {
    this.#asked.push(asked)
    this.waiting.push(asked)
  }

  async #tickTo(seconds: number): Promise<void> {
    if (this.#forwarder !== undefined) {
      for (let left = Math.round((seconds - this.now) * 1000); left > 0; left -= STEP_MS) {
        const stepMs = Math.min(left, STEP_MS)
        this.now = Math.round(this.now * 1000 + stepMs) / 1000
        this.#test.mock.timers.tick(stepMs)
        await settled()
      }
    }
    this.now = seconds
  }

  #scriptedGroup(): UpstreamGroup {
    return {
      forward: (question, settle) => {
        this.#got({
          to: 'upstream',
          query: upstreamQuery(question, 1, true),
          reply: (bytes) => {
            const response = readUpstreamResponse(bytes)
            assert.ok(response, 'the conversation wrote a malformed response')
            settle({ kind: 'response', response, upstream: 'upstream' })
          },
          fails: (how) => settle({ kind: 'failure', reason: how as 'timeout' | 'unreachable', detail: '' }),
        })
      },
      stop: () => Promise.resolve(),
    }
  }

  #makeForwarder(upstreams: readonly string[]): ForwardingGroup {
    const { mock } = this.#test
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
    const settings = this.#settings
    let chance = 0
    const group = createUpstreamGroup(
      {
        upstreams: upstreams.map((_name, index) => ({ address: `192.0.2.${index + 1}`, port: 53 })),
        transport: 'udp',
        maxInFlight: Number(settings['maxInFlight'] ?? 1000),
        maxWaiters: Number(settings['maxWaiters'] ?? 1000),
        randomCase: settings['randomCase'] === 'on',
        ...(settings['loopZone'] === undefined ? {} : { loopZone: nameFromText(settings['loopZone'])! }),
      },
      {
        observer: { exchangeEnded() {}, healthcheckFailed() {}, connectionReused() {}, connectionOpened() {} },
        // Keeps the order of the list among equals.
        random: () => 1 - Number.EPSILON,
        randomId: () => (chance = (chance * 25_173 + 13_849) & 0xffff),
        nowMs: () => this.now * 1000,
        openUdpSocket: ({ address }, listener) => {
          let isOpen = true
          return {
            send: (octets) =>
              this.#got({
                to: upstreams[Number(address.split('.')[3]) - 1]!,
                query: Buffer.from(octets),
                reply: (bytes) => isOpen && listener.received(bytes),
                fails: (how) => isOpen && listener.failed(how),
              }),
            close: () => void (isOpen = false),
          }
        },
      },
    )
    this.#test.after(() => {
      mock.timers.reset()
      return group.stop(0)
    })
    return group
  }

  #makeResolver(zones: readonly string[]): Resolver {
    const settings = this.#settings
    const routes = zones.map((zone) => {
      if (!this.#routeIds.has(zone)) this.#routeIds.set(zone, this.#routeIds.size)
      const id = this.#routeIds.get(zone)!
      const upstreams: UpstreamGroup = {
        forward: (question, listener) => {
          this.gotQuestion = toldQuestion(question, zone)
          this.#group.forward(question, listener)
        },
        stop: () => Promise.resolve(),
      }
      const route: Route = { kind: 'forward', label: zone, id, upstreams }
      return [nameFromText(zone)!, route] as const
    })
    return new Resolver(new RouteTable<Route>(routes), {
      recordCache: this.#recordCache,
      limits: {
        minTtlSeconds: Number(settings['minTtl'] ?? 0),
        maxTtlSeconds: Number(settings['maxTtl'] ?? 3600),
        maxNegativeTtlSeconds: Number(settings['maxNegativeTtl'] ?? 300),
      },
      serveStale: settings['stale'] === 'off' ? undefined : { maxStaleSeconds: 3600, clientTimeoutMs: 1800 },
      prefetch: settings['prefetch'] === 'on',
      zoneOfImpossibleSearchName: () => undefined,
      nowSeconds: () => this.now,
      onPanic: (error) => {
        throw error
      },
      after: (delayMs, call) => {
        const timer = { at: this.now + delayMs / 1000, call }
        this.#timers.push(timer)
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer)
        }
      },
    })
  }
}

const OPT_OF_UPSTREAM = { type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0x8000 }

function forgedName(name: string, forged: string | undefined): string {
  if (forged === 'name') return 'bank.example'
  // Whatever the letters were: these are others.
  return forged === 'case' ? name.replace(/[a-z]/i, (letter) => swapCase(letter)) : name
}

function swapCase(letter: string): string {
  return letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()
}

/** Lets every promise that can settle do so. */
export function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}
