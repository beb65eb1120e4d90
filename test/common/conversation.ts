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
 *                                              cookie, subnet=<address>/<bits>
 *     <client> gets <rcode> [records] [ede <codes>] [flags ...] [options <codes>] [no-opt]
 *                                              its response; while there is none the clock goes on to it. Told of the flags are
 *                                              aa, tc, ad and cd, of the options all but extended errors
 *     <client> gets nothing                    no response yet
 *     upstream gets <name> <type> [do] [cd] [no-rd] [for <route>]   the question that came last, and its route unless that is `.`
 *     upstream hears <question> <flags>        the query that came last, as its octets say
 *     upstream answers <records> [saying ...]  to the oldest question that waits; saying: aa, ad, tc, subnet, options
 *     upstream says <rcode> [soa <ttl> <minimum> [zone]] [saying ...]
 *     upstream forges <id, name, type, case> <records>   an answer that is wrong in that
 *     upstream fails <how>                     timeout or unreachable; of a named upstream the system's error
 *     upstream returns the question            asks us what we asked it
 *     upstream is asked <n> times              since the beginning
 *     upstream is healthy | dead | silent      silent says so to the reader; questions simply wait
 *     counters say <name>=<n> ...              what the forwarder has counted
 *     routes are <zones>                       from now on; at first there is one, of the root
 *     operator flushes all | name <name> | zone <zone>
 *     operator counts <n> entries              of the record cache
 *     operator sees <name>: <entries>          what is printed of the record cache
 *     settings <key>=<value> ...               before the first line: maxTtl, minTtl, maxNegativeTtl, stale, prefetch, rotate,
 *                                              routes (zones beside `.`, divided by commas).
 *                                              With upstreams=a,b these names stand for `upstream`, and the real forwarder asks
 *                                              them: maxInFlight, maxWaiters, randomCase, loopZone
 *
 * Records are `name ttl type data`, several divided by commas.
 */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type * as dnsPacket from 'dns-packet'
import { Stage, settled } from './stage.ts'
import { soa } from './wire.ts'

const RCODES: Readonly<Record<string, number>> = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
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
      if (at !== undefined) await stage.goTo(Number(at))
      if (rest !== '') await act(stage, new Set(settings['upstreams']?.split(',')), rest!)
    } catch (error) {
      throw new Error(`line ${index + 1}: ${line}\n${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      })
    }
  }
}

async function act(stage: Stage, upstreams: ReadonlySet<string>, line: string): Promise<void> {
  const [subject, verb, ...words] = line.split(/\s+/) as [string, string, ...string[]]
  const rest = words.join(' ')
  // One of those with names that asks us is a client like any other.
  if (subject === 'upstream' || (upstreams.has(subject) && verb !== 'gets')) upstreamActs(stage, subject, verb, rest)
  else if (subject === 'operator') await operatorActs(stage, verb, rest)
  else if (subject === 'routes') stage.route(words)
  else if (subject === 'counters') {
    for (const pair of words) {
      const [name, count] = pair.split('=') as [string, string]
      assert.equal(`${name}=${stage.counted(name)}`, `${name}=${count}`)
    }
  } else await clientActs(stage, subject, verb, words)
  await settled()
}

async function clientActs(stage: Stage, client: string, verb: string, words: readonly string[]): Promise<void> {
  const rest = words.join(' ')
  switch (verb) {
    case 'asks':
      stage.ask(client, words[0]!, words[1]!, words.slice(2))
      return
    case 'gets':
      await settled()
      if (rest === 'nothing') {
        assert.equal(stage.responses.get(client), undefined)
        return
      }
      await stage.goOnUntilTold(client)
      assert.equal(stage.responses.get(client), rest)
      return
    default:
      throw new Error('no line of a conversation')
  }
}

function upstreamActs(stage: Stage, upstream: string, verb: string, text: string): void {
  const [rest, said] = text.split(/\s+saying\s+/) as [string, string | undefined]
  const words = rest.split(/\s+/)
  const beside = { saying: said?.split(/\s+/) ?? [] }
  switch (verb) {
    case 'answers':
      stage.reply(upstream, { ...beside, answers: recordsIn(rest) })
      return
    case 'forges':
      stage.reply(upstream, { ...beside, forged: words[0], answers: recordsIn(words.slice(1).join(' ')) })
      return
    case 'says': {
      const [rcode, keyword, ttl, minimum, zone = 'example.com'] = words
      const authorities = keyword === 'soa' ? [soa(zone, Number(ttl), Number(minimum))] : []
      stage.reply(upstream, { ...beside, rcode: RCODES[rcode!]!, authorities })
      return
    }
    case 'fails':
      stage.fail(upstream, rest)
      return
    case 'returns':
      stage.returnQuery(upstream)
      return
    case 'gets':
      assert.equal(stage.gotQuestion, rest)
      return
    case 'hears':
      assert.equal(stage.heard(), rest)
      return
    case 'is':
      if (rest === 'healthy' || rest === 'dead') assert.equal(stage.isHealthy(upstream) ? 'healthy' : 'dead', rest)
      else if (rest !== 'silent') assert.equal(`asked ${stage.askedCount(upstream)} times`, rest)
      return
    default:
      throw new Error('no line of a conversation')
  }
}

async function operatorActs(stage: Stage, verb: string, rest: string): Promise<void> {
  if (verb === 'flushes') {
    const [what, name] = rest.split(/\s+/) as [string, string | undefined]
    await stage.flush(new URLSearchParams(name === undefined ? {} : { [what]: name }))
    return
  }
  if (verb === 'counts') {
    assert.equal(`${stage.entriesCount} entries`, rest)
    return
  }
  assert.equal(verb, 'sees', 'no line of a conversation')
  const [, name, entries] = /^(\S+?):\s*(.*)$/.exec(rest)!
  assert.equal(await stage.seen(name!), entries)
}
