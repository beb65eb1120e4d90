/** Messages in the words of a conversation: what an upstream hears, and what a client is told. */

import assert from 'node:assert/strict'
import * as dnsPacket from 'dns-packet'
import { Flag, rcodeName } from '../../src/dns/wire/header.ts'
import { textOfName } from '../../src/dns/wire/name.ts'
import { typeName } from '../../src/dns/wire/record-type.ts'
import type { UpstreamQuestion } from '../../src/dns/wire/upstream-query.ts'
import { readUpstreamResponse } from '../../src/dns/wire/upstream-response.ts'

/** RFC 8914: the option of extended errors. */
const EXTENDED_ERROR = 15

/** A query of ours: its question, flags, and OPT. */
export function heard(query: Buffer): string {
  const { flags = 0, additionals = [], questions = [] } = dnsPacket.decode(query)
  const opt = additionals[0] as unknown as { udpPayloadSize: number; flag_do: boolean; options: unknown[] } | undefined
  return [
    `${questions[0]!.name} ${questions[0]!.type}`,
    (flags & dnsPacket.RECURSION_DESIRED) === 0 ? '' : 'rd',
    (flags & Flag.AuthenticData) === 0 ? '' : 'ad',
    (flags & Flag.CheckingDisabled) === 0 ? '' : 'cd',
    opt === undefined ? 'without edns' : `edns ${opt.udpPayloadSize} options ${opt.options.length}`,
    opt?.flag_do === true ? 'do' : '',
  ]
    .filter((part) => part !== '')
    .join(' ')
}

/** A response in the words of a conversation. */
export function told(response: Uint8Array): string {
  const message = dnsPacket.decode(Buffer.from(response))
  const read = readUpstreamResponse(response)
  assert.ok(read)
  const flags = message.flags ?? 0
  const records = (message.answers ?? []).map((record) => {
    const { name, ttl, type, data } = record as { name: string; ttl: number; type: string; data: unknown }
    return `${name} ${ttl} ${type} ${String(data)}`
  })
  const codes = read.edns?.extendedErrors.map(({ code }) => code) ?? []
  const opt = (message.additionals ?? []).find(({ type }) => type === 'OPT') as unknown as
    | { options: { code: number }[] }
    | undefined
  const options = (opt?.options ?? []).map(({ code }) => code).filter((code) => code !== EXTENDED_ERROR)
  const flagNames = [
    (flags & Flag.Authoritative) === 0 ? '' : 'aa',
    (flags & Flag.Truncated) === 0 ? '' : 'tc',
    (flags & Flag.AuthenticData) === 0 ? '' : 'ad',
    (flags & Flag.CheckingDisabled) === 0 ? '' : 'cd',
  ].filter((flag) => flag !== '')
  return [
    rcodeName(read.rcode),
    records.join(', '),
    codes.length > 0 ? `ede ${codes.join(',')}` : '',
    flagNames.length > 0 ? `flags ${flagNames.join(' ')}` : '',
    options.length > 0 ? `options ${options.join(',')}` : '',
    opt === undefined ? 'no-opt' : '',
  ]
    .filter((part) => part !== '')
    .join(' ')
}

/** A question to an upstream, and its route unless that is the root's. */
export function toldQuestion(question: UpstreamQuestion, route: string): string {
  return [
    textOfName(question.name).replace(/\.$/, ''),
    typeName(question.type),
    question.dnssecOk ? 'do' : '',
    question.checkingDisabled ? 'cd' : '',
    question.recursionDesired ? '' : 'no-rd',
    route === '.' ? '' : `for ${route}`,
  ]
    .filter((part) => part !== '')
    .join(' ')
}
