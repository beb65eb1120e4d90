/**
 * Conversations: whole behaviour told as a text that anyone who knows DNS can read, with the clock in its hand.
 *
 *     at 0s     10.1.0.5 asks        www.example.com A
 *               upstream answers     www.example.com 30 A 192.0.2.7
 *               10.1.0.5 gets        NOERROR www.example.com 30 A 192.0.2.7
 *
 * Lines, each a subject, a verb and the rest; `at <seconds>s` may stand before any of them:
 *
 *     <client> asks <name> <type> [wishes]     a query over UDP with EDNS; wishes: dnssec, ad, cd, no-rd, no-opt, chaos, over-tcp,
 *                                              subnet=<address>/<bits>
 *     <client> gets <rcode> [records] [ede <codes>] [flags ...] [options <codes>] [no-opt]
 *                                              its response; where the upstream is silent the clock goes on to it. Told of the flags are
 *                                              aa, tc, ad and cd, of the options all but extended errors
 *     <client> gets nothing                    no response yet
 *     upstream gets <name> <type> [do] [cd] [no-rd] [for <route>]   the question that came last, and its route unless that is `.`
 *     upstream answers <records> [saying ...]  to the oldest question that waits; saying: aa, ad, subnet
 *     upstream says <rcode> [soa <ttl> <minimum>]
 *     upstream fails <reason>                  timeout or unreachable
 *     upstream is asked <n> times              since the beginning
 *     upstream is silent                       says so to the reader; questions simply wait
 *     operator flushes all | name <name> | zone <zone>
 *     operator counts <n> entries              of the record cache
 *     settings <key>=<value> ...               before the first line: maxTtl, minTtl, maxNegativeTtl, stale, prefetch, rotate, routes
 *                                              (zones beside `.`, divided by commas)
 *
 * Records are `name ttl type data`, several divided by commas.
 */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import * as dnsPacket from 'dns-packet'
import { partsOfKey } from '../../src/dns/cache/key.ts'
import { RouteTable } from '../../src/dns/policy/route.ts'
import { rcodeName } from '../../src/dns/wire/header.ts'
import { isAtOrBelow, type Name, nameFromText, ROOT, textOfName } from '../../src/dns/wire/name.ts'
import type { UpstreamQuestion } from '../../src/dns/wire/upstream-query.ts'
import { readUpstreamResponse } from '../../src/dns/wire/upstream-response.ts'
import { RecordCache } from '../../src/serve/cache/record-cache.ts'
import type { ForwardResult, UpstreamGroup } from '../../src/serve/forward/forwarder-contract.ts'
import { Resolver, type Route } from '../../src/serve/resolve.ts'
import { SlowPath } from '../../src/serve/slow-path.ts'
import { QUIET_TRAFFIC } from './quiet-traffic.ts'
import { soa } from './wire.ts'

const RCODES: Readonly<Record<string, number>> = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
}
const ID = 0x2a2a
/** RFC 8914: the option of extended errors. */
const EXTENDED_ERROR = 15

interface Asked {
  readonly question: UpstreamQuestion
  readonly settle: (result: ForwardResult) => void
}

class Stage {
  now = 0
  askedCount = 0
  readonly waiting: Asked[] = []
  readonly responses = new Map<string, string>()
  #timers: { at: number; call: () => void }[] = []
  /** The question that an upstream got last, in the words of a conversation. */
  lastAsked = ''
  readonly recordCache = new RecordCache(1 << 20)
  readonly #slowPath: SlowPath

  constructor(t: TestContext, settings: Readonly<Record<string, string>>) {
    t.after(() => this.recordCache.close())
    const zones = ['.', ...(settings['routes']?.split(',') ?? [])]
    const routes = zones.map((label, id): [Name, Route] => {
      const forward: UpstreamGroup['forward'] = (question, settle) => {
        this.askedCount++
        this.lastAsked = toldQuestion(question, label)
        this.waiting.push({ question, settle })
      }
      const upstreams = { forward, stop: () => Promise.resolve() }
      return [label === '.' ? ROOT : nameOf(label), { kind: 'forward', label, id, upstreams }]
    })
    const resolver = new Resolver(new RouteTable<Route>(routes), {
      recordCache: this.recordCache,
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
    const nothing = () => undefined
    this.#slowPath = new SlowPath({
      resolver: () => resolver,
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

  goTo(seconds: number): void {
    assert.ok(seconds >= this.now, 'time goes forwards')
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= seconds).toSorted((one, other) => one.at - other.at)[0]
      if (next === undefined) break
      this.now = next.at
      this.#timers = this.#timers.filter((timer) => timer !== next)
      next.call()
    }
    this.now = seconds
  }

  /** Goes on to the next timer, when there is one. */
  goOn(): boolean {
    const next = this.#timers.toSorted((one, other) => one.at - other.at)[0]
    if (next !== undefined) this.goTo(next.at)
    return next !== undefined
  }

  ask(client: string, name: string, type: string, wishes: readonly string[]): void {
    this.responses.delete(client)
    const wants = (wish: string) => wishes.includes(wish)
    const subnet = wishes.find((wish) => wish.startsWith('subnet='))?.slice('subnet='.length)
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1232,
      flags: wants('dnssec') ? 0x8000 : 0,
      options: subnet === undefined ? [] : [subnetOption(subnet)],
    } as unknown as dnsPacket.Answer
    this.#slowPath.handle({
      message: dnsPacket.encode({
        type: 'query',
        id: ID,
        flags:
          (wants('no-rd') ? 0 : dnsPacket.RECURSION_DESIRED) |
          (wants('ad') ? dnsPacket.AUTHENTIC_DATA : 0) |
          (wants('cd') ? dnsPacket.CHECKING_DISABLED : 0),
        questions: [{ name, type: type as dnsPacket.RecordType, class: wants('chaos') ? 'CH' : 'IN' }],
        additionals: wants('no-opt') ? [] : [opt],
      }),
      transport: wants('over-tcp') ? 1 : 0,
      family: 0,
      server: 'dns://127.0.0.1:53',
      clientAddress: client,
      respond: (response) => void this.responses.set(client, told(response)),
      drop: () => void this.responses.set(client, 'silence'),
    })
  }

  async flush(what: string, text: string | undefined): Promise<void> {
    if (what === 'all') {
      this.recordCache.flush()
      return
    }
    const wanted = nameOf(text!)
    const isWanted = what === 'zone' ? (name: Name) => isAtOrBelow(name, wanted) : (name: Name) => name === wanted
    await this.recordCache.flushIf(({ key }) => isWanted(partsOfKey(key).name))
  }

  reply(parts: {
    rcode: number
    answers?: dnsPacket.Answer[]
    authorities?: dnsPacket.Answer[]
    saying?: readonly string[]
  }): void {
    const { question, settle } = this.#next()
    const name = textOfName(question.name).replace(/\.$/, '')
    const says = (what: string) => parts.saying?.includes(what) === true
    const opt = { type: 'OPT', name: '.', udpPayloadSize: 1232, flags: 0, options: [subnetOption('192.0.2.0/24')] }
    const bytes = dnsPacket.encode({
      type: 'response',
      id: 1,
      flags:
        dnsPacket.RECURSION_DESIRED |
        dnsPacket.RECURSION_AVAILABLE |
        (says('aa') ? dnsPacket.AUTHORITATIVE_ANSWER : 0) |
        (says('ad') ? dnsPacket.AUTHENTIC_DATA : 0) |
        parts.rcode,
      questions: [{ name, type: dnsPacketType(question.type), class: question.class === 3 ? 'CH' : 'IN' }],
      answers: parts.answers ?? [],
      authorities: parts.authorities ?? [],
      additionals: says('subnet') ? [opt as unknown as dnsPacket.Answer] : [],
    })
    const response = readUpstreamResponse(bytes)
    assert.ok(response, 'the conversation wrote a malformed response')
    settle({ kind: 'response', response, upstream: 'upstream' })
  }

  fail(reason: 'timeout' | 'unreachable'): void {
    this.#next().settle({ kind: 'failure', reason, detail: '' })
  }

  #next(): Asked {
    const asked = this.waiting.shift()
    assert.ok(asked, 'nothing was asked of the upstream')
    return asked
  }
}

function dnsPacketType(type: number): dnsPacket.RecordType {
  const names: Readonly<Record<number, dnsPacket.RecordType>> = { 1: 'A', 28: 'AAAA', 5: 'CNAME', 16: 'TXT', 33: 'SRV' }
  return names[type] ?? 'A'
}

/** A response in the words of a conversation. */
function told(response: Uint8Array): string {
  const message = dnsPacket.decode(Buffer.from(response))
  const read = readUpstreamResponse(response)
  assert.ok(read)
  const records = (message.answers ?? []).map((record) => {
    const { name, ttl, type, data } = record as { name: string; ttl: number; type: string; data: unknown }
    return `${name} ${ttl} ${type} ${String(data)}`
  })
  const codes = read.edns?.extendedErrors.map(({ code }) => code) ?? []
  const flags = [
    message.flag_aa ? 'aa' : '',
    message.flag_tc ? 'tc' : '',
    message.flag_ad ? 'ad' : '',
    message.flag_cd ? 'cd' : '',
  ].filter((flag) => flag !== '')
  const opt = (message.additionals ?? []).find(({ type }) => type === 'OPT') as dnsPacket.OptAnswer | undefined
  const options = (opt?.options ?? []).map(({ code }) => code).filter((code) => (code as number) !== EXTENDED_ERROR)
  return [
    rcodeName(read.rcode),
    records.join(', '),
    codes.length > 0 ? `ede ${codes.join(',')}` : '',
    flags.length > 0 ? `flags ${flags.join(' ')}` : '',
    options.length > 0 ? `options ${options.join(',')}` : '',
    opt === undefined ? 'no-opt' : '',
  ]
    .filter((part) => part !== '')
    .join(' ')
}

/** A question to an upstream in the words of a conversation. */
function toldQuestion(question: UpstreamQuestion, route: string): string {
  return [
    textOfName(question.name).replace(/\.$/, ''),
    dnsPacketType(question.type),
    question.class === 3 ? 'chaos' : '',
    question.dnssecOk ? 'do' : '',
    question.checkingDisabled ? 'cd' : '',
    question.recursionDesired ? '' : 'no-rd',
    route === '.' ? '' : `for ${route}`,
  ]
    .filter((part) => part !== '')
    .join(' ')
}

function nameOf(text: string): Name {
  const name = nameFromText(text)
  assert.ok(name !== undefined, `${text} is no name`)
  return name
}

/** RFC 7871 section 6. */
function subnetOption(subnet: string): unknown {
  const [ip, bits] = subnet.split('/')
  return { code: 'CLIENT_SUBNET', ip, sourcePrefixLength: Number(bits), scopePrefixLength: 0 }
}

function recordsIn(text: string): dnsPacket.Answer[] {
  return text.split(/\s*,\s*/).map((record) => {
    const [name, ttl, type, ...data] = record.split(/\s+/)
    return { name, ttl: Number(ttl), type, data: data.join(' ') } as dnsPacket.Answer
  })
}

/** Plays a conversation from its first line to its last; an assertion names the line that does not hold. */
export async function play(t: TestContext, text: string): Promise<void> {
  let stage: Stage | undefined
  let settings: Record<string, string> = {}
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/#.*$/, '').trim()
    if (line === '') continue
    const [, at, rest] = /^(?:at\s+([\d.]+)s\s*)?(.*)$/.exec(line)!
    if (rest!.startsWith('settings ')) {
      settings = Object.fromEntries(
        rest!
          .split(/\s+/)
          .slice(1)
          .map((pair) => pair.split('=') as [string, string]),
      )
      continue
    }
    stage ??= new Stage(t, settings)
    try {
      if (at !== undefined) stage.goTo(Number(at))
      if (rest !== '') await act(stage, rest!)
    } catch (error) {
      throw new Error(`line ${index + 1}: ${line}\n${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
    }
  }
}

async function act(stage: Stage, line: string): Promise<void> {
  const [subject, verb, ...words] = line.split(/\s+/)
  const rest = words.join(' ')
  const part = subject === 'upstream' || subject === 'operator' ? subject : 'client'
  switch (`${part} ${verb}`) {
    case 'client asks':
      stage.ask(subject!, words[0]!, words[1]!, words.slice(2))
      break
    case 'client gets':
      await settled()
      if (rest === 'nothing') {
        assert.equal(stage.responses.get(subject!), undefined)
        break
      }
      while (stage.responses.get(subject!) === undefined && stage.goOn()) await settled()
      assert.equal(stage.responses.get(subject!), rest)
      break
    case 'upstream gets':
      assert.equal(stage.lastAsked, rest)
      break
    case 'upstream answers': {
      const [records, saying] = rest.split(' saying ')
      stage.reply({ rcode: 0, answers: recordsIn(records!), saying: saying?.split(' ') ?? [] })
      break
    }
    case 'operator flushes':
      await stage.flush(words[0]!, words[1])
      break
    case 'operator counts': {
      const { positiveEntries, negativeEntries } = stage.recordCache.status()
      assert.equal(`${positiveEntries + negativeEntries} entries`, rest)
      break
    }
    case 'upstream says': {
      const [rcode, keyword, ttl, minimum] = words
      const authorities = keyword === 'soa' ? [soa('example.com', Number(ttl), Number(minimum))] : []
      stage.reply({ rcode: RCODES[rcode!]!, authorities })
      break
    }
    case 'upstream fails':
      stage.fail(rest as 'timeout' | 'unreachable')
      break
    case 'upstream is':
      if (rest !== 'silent') assert.equal(`asked ${stage.askedCount} times`, rest)
      break
    default:
      throw new Error('no line of a conversation')
  }
  await settled()
}

/** Lets every promise that can settle do so. */
function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}
