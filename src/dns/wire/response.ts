/**
 * The response to one client: an answer's bytes with this client's id, spelling, flags, TTLs, OPT and size.
 *
 * Sizes: RFC 1035 section 4.2.1, RFC 6891 section 6.2.5; what may be left out without TC: RFC 2181 section 9.
 */

import type { Answer } from '../answer.ts'
import { type Edns, type OptToWrite, optOctets, PAYLOAD_OCTETS_MAX, PAYLOAD_OCTETS_MIN, writeOpt } from './edns.ts'
import {
  ANCOUNT_AT,
  ARCOUNT_AT,
  FLAGS_AT,
  Flag,
  HEADER_OCTETS,
  ID_AT,
  MESSAGE_OCTETS_MAX,
  NSCOUNT_AT,
  QDCOUNT_AT,
  Rcode,
  readUint16,
  readUint32,
  writeUint16,
  writeUint32,
} from './header.ts'
import { skipName } from './name.ts'
import { flagsOf, idOf, type Query } from './query.ts'

/** How the TTLs of an answer are told; zone answers are told as they are. */
export interface TtlView {
  /** Seconds since the answer was had; counted off every TTL. */
  readonly ageSeconds: number
  readonly minSeconds: number
  readonly maxSeconds: number
}

export const TTLS_AS_THEY_ARE: TtlView = { ageSeconds: 0, minSeconds: 0, maxSeconds: 0x7fff_ffff }

export interface ResponseLimits {
  /** Octets that may be sent, OPT included. */
  readonly octetsMax: number
  /** Idle time-out in units of 100 ms for a TCP client that asked for it; undefined over UDP (RFC 7828 section 3.2.1). */
  readonly keepaliveDeciseconds: number | undefined
}

/** What the transport and the client's OPT allow: UDP never more than 1232 octets. */
export function udpOctetsMax(edns: Edns | undefined): number {
  return edns === undefined ? PAYLOAD_OCTETS_MIN : Math.min(edns.payloadSize, PAYLOAD_OCTETS_MAX)
}

export const TCP_OCTETS_MAX = MESSAGE_OCTETS_MAX

/** RFC 2181 section 8: the largest TTL there is. */
const TTL_MAX = 0x7fff_ffff

/** The bytes of the response; TC is set when a needed record did not fit. */
export function responseTo(query: Query, answer: Answer, ttls: TtlView, limits: ResponseLimits): Buffer {
  const opt = optFor(query, answer, limits)
  const optLength = opt === undefined ? 0 : optOctets(opt)
  const response = Buffer.allocUnsafe(answer.message.length + optLength)
  response.set(answer.message)
  response.set(query.questionWire, HEADER_OCTETS)
  writeTtls(response, answer.ttlOffsets, ttls)
  let flags =
    Flag.Response |
    Flag.RecursionAvailable |
    (query.flags & (Flag.RecursionDesired | Flag.CheckingDisabled)) |
    (answer.flags & (Flag.Authoritative | Flag.Truncated)) |
    (tellableRcode(query, answer.rcode) & Flag.RcodeMask)
  if (wantsAuthenticData(query)) flags |= answer.flags & Flag.AuthenticData

  let end = answer.message.length
  if (end + optLength > limits.octetsMax) {
    const cut = cutToSize(response, end, limits.octetsMax - optLength)
    end = cut.end
    if (cut.isTruncated) flags |= Flag.Truncated
  }
  writeUint16(response, ID_AT, query.id)
  writeUint16(response, FLAGS_AT, flags)
  if (opt !== undefined) {
    end = writeOpt(response, end, opt)
    writeUint16(response, ARCOUNT_AT, readUint16(response, ARCOUNT_AT) + 1)
  }
  return response.subarray(0, end)
}

/** A response without records: refusals, and failures that no answer stands behind. */
export function emptyResponse(
  message: Uint8Array,
  query: Query | undefined,
  edns: Edns | undefined,
  rcode: number,
): Buffer {
  const opt: OptToWrite | undefined =
    edns === undefined
      ? undefined
      : { dnssecOk: edns.dnssecOk, rcode, extendedErrors: [], keepaliveDeciseconds: undefined }
  const question = query?.questionWire
  const response = Buffer.alloc(HEADER_OCTETS + (question?.length ?? 0) + (opt === undefined ? 0 : optOctets(opt)))
  const kept = Flag.OpcodeMask | Flag.RecursionDesired | Flag.CheckingDisabled
  writeUint16(response, ID_AT, idOf(message))
  writeUint16(
    response,
    FLAGS_AT,
    Flag.Response | Flag.RecursionAvailable | (flagsOf(message) & kept) | (rcode & Flag.RcodeMask),
  )
  let end = HEADER_OCTETS
  if (question !== undefined) {
    response.set(question, end)
    end += question.length
    writeUint16(response, QDCOUNT_AT, 1)
  }
  if (opt !== undefined) {
    writeOpt(response, end, opt)
    writeUint16(response, ARCOUNT_AT, 1)
  }
  return response
}

function optFor(query: Query, answer: Answer, limits: ResponseLimits): OptToWrite | undefined {
  if (query.edns === undefined) return undefined
  const opt: OptToWrite = {
    dnssecOk: query.edns.dnssecOk,
    rcode: answer.rcode,
    extendedErrors: answer.extendedErrors,
    keepaliveDeciseconds: query.edns.wantsKeepalive ? limits.keepaliveDeciseconds : undefined,
  }
  // RFC 8914 section 3: extended errors go before any other data does; their texts before they do.
  const octetsLeft = limits.octetsMax - answer.message.length
  if (opt.extendedErrors.length === 0 || optOctets(opt) <= octetsLeft) return opt
  const withoutTexts = { ...opt, extendedErrors: opt.extendedErrors.map(({ code }) => ({ code, text: '' })) }
  return optOctets(withoutTexts) <= octetsLeft ? withoutTexts : { ...opt, extendedErrors: [] }
}

/** An rcode above 15 needs an OPT to be told whole: its lower bits alone would be another one, BADVERS even NOERROR. */
function tellableRcode(query: Query, rcode: number): number {
  return query.edns === undefined && rcode > Flag.RcodeMask ? Rcode.ServFail : rcode
}

/** RFC 6840 section 5.8: AD is for those who showed that they understand it. */
function wantsAuthenticData(query: Query): boolean {
  return (query.flags & Flag.AuthenticData) !== 0 || query.edns?.dnssecOk === true
}

function writeTtls(response: Buffer, ttlOffsets: Uint16Array, view: TtlView): void {
  if (view === TTLS_AS_THEY_ARE) return
  for (const at of ttlOffsets) {
    const told = readUint32(response, at)
    // RFC 2181 section 8: with the top bit set it means zero.
    const ttl = Math.min(Math.max(told > TTL_MAX ? 0 : told, view.minSeconds), view.maxSeconds)
    writeUint32(response, at, Math.max(0, ttl - view.ageSeconds))
  }
}

/**
 * Leaves out whole records from the end until `octetsMax` is kept, and sets the counts right.
 * Only additional records may go without TC; an incomplete answer or authority section is truncated.
 */
function cutToSize(response: Buffer, messageEnd: number, octetsMax: number): { end: number; isTruncated: boolean } {
  const answers = readUint16(response, ANCOUNT_AT)
  const needed = answers + readUint16(response, NSCOUNT_AT)
  const all = needed + readUint16(response, ARCOUNT_AT)
  let end = skipName(response, HEADER_OCTETS, messageEnd) + 4
  let kept = 0
  while (kept < all) {
    const fixed = skipName(response, end, messageEnd)
    const next = fixed + 10 + readUint16(response, fixed + 8)
    if (next > octetsMax) break
    end = next
    kept++
  }
  writeUint16(response, ANCOUNT_AT, Math.min(kept, answers))
  writeUint16(response, NSCOUNT_AT, Math.max(0, Math.min(kept, needed) - answers))
  writeUint16(response, ARCOUNT_AT, Math.max(0, kept - needed))
  return { end, isTruncated: kept < needed }
}
