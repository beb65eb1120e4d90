/** Messages for tests, written with dns-packet: a second opinion beside our own wire code. */

import * as dnsPacket from 'dns-packet'
import { nameFromText } from '../../src/dns/wire/name.ts'
import type { UpstreamQuestion } from '../../src/dns/wire/upstream-query.ts'
import { readUpstreamResponse, type UpstreamResponse } from '../../src/dns/wire/upstream-response.ts'

/** Octets written as hex, white space and `; comment` to the line's end left out. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replace(/;.*$/gm, '').replace(/\s+/g, ''), 'hex')
}

/** Flag words as dns-packet wants them: QR RD RA and the rcode. */
const RESPONSE_FLAGS = 0x8180

export interface ResponseParts {
  readonly name: string
  readonly type?: dnsPacket.RecordType
  readonly rcode?: number
  readonly flags?: number
  readonly answers?: dnsPacket.Answer[]
  readonly authorities?: dnsPacket.Answer[]
  readonly additionals?: dnsPacket.Answer[]
}

/** A response's bytes. */
export function responseBytes(parts: ResponseParts): Buffer {
  return dnsPacket.encode({
    id: 0x1234,
    type: 'response',
    flags: ((parts.flags ?? 0) | RESPONSE_FLAGS | (parts.rcode ?? 0)) & 0x7fff,
    questions: [{ name: parts.name, type: parts.type ?? 'A', class: 'IN' }],
    answers: parts.answers ?? [],
    authorities: parts.authorities ?? [],
    additionals: parts.additionals ?? [],
  })
}

/** A response as an upstream would have sent it. */
export function upstreamResponse(parts: ResponseParts): UpstreamResponse {
  const response = readUpstreamResponse(responseBytes(parts))
  if (response === undefined) throw new Error('the test wrote a malformed response')
  return response
}

/** A SOA record for negative answers. */
export function soa(name: string, ttl: number, minimum: number): dnsPacket.Answer {
  return {
    type: 'SOA',
    name,
    ttl,
    data: { mname: `ns.${name}`, rname: `admin.${name}`, serial: 1, refresh: 2, retry: 3, expire: 4, minimum },
  }
}

/** A plain question for `A` with recursion. */
export function questionFor(name: string, type = 1): UpstreamQuestion {
  const wire = nameFromText(name)
  if (wire === undefined) throw new Error(`the test wrote the malformed name ${name}`)
  return { name: wire, type, class: 1, recursionDesired: true, checkingDisabled: false, dnssecOk: false }
}
