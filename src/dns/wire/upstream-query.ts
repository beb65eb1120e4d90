/** A query of ours to an upstream: nothing in it but the client's question and the bits that change the answer. */

import { OPT_FIXED_OCTETS, writeOpt } from './edns.ts'
import {
  ANCOUNT_AT,
  ARCOUNT_AT,
  FLAGS_AT,
  Flag,
  HEADER_OCTETS,
  ID_AT,
  NSCOUNT_AT,
  QDCOUNT_AT,
  writeUint16,
} from './header.ts'
import { writeName } from './name.ts'
import type { Question } from './query.ts'

/** What is asked of an upstream; two of these with the same fields may share one query. */
export interface UpstreamQuestion extends Question {
  readonly recursionDesired: boolean
  readonly checkingDisabled: boolean
  readonly dnssecOk: boolean
}

/** Octets that `writeUpstreamQuery` will write. */
export function upstreamQueryOctets(question: UpstreamQuestion, withEdns: boolean): number {
  return HEADER_OCTETS + question.name.length + 4 + (withEdns ? OPT_FIXED_OCTETS : 0)
}

/**
 * Writes a query at `offset` and returns the offset behind it; the caller made room by `upstreamQueryOctets`.
 *
 * AD is always set: it asks to be told (RFC 6840 section 5.7), and the client's own wish decides later whether it hears.
 * `withEdns` false is for upstreams that answered FORMERR to an OPT.
 */
export function writeUpstreamQuery(
  message: Buffer,
  offset: number,
  question: UpstreamQuestion,
  id: number,
  withEdns: boolean,
): number {
  writeUint16(message, offset + ID_AT, id)
  writeUint16(
    message,
    offset + FLAGS_AT,
    (question.recursionDesired ? Flag.RecursionDesired : 0) |
      (question.checkingDisabled ? Flag.CheckingDisabled : 0) |
      Flag.AuthenticData,
  )
  writeUint16(message, offset + QDCOUNT_AT, 1)
  writeUint16(message, offset + ANCOUNT_AT, 0)
  writeUint16(message, offset + NSCOUNT_AT, 0)
  writeUint16(message, offset + ARCOUNT_AT, withEdns ? 1 : 0)
  const nameEnd = writeName(message, offset + HEADER_OCTETS, question.name)
  writeUint16(message, nameEnd, question.type)
  writeUint16(message, nameEnd + 2, question.class)
  if (!withEdns) return nameEnd + 4
  return writeOpt(message, nameEnd + 4, question.dnssecOk ? OPT_DNSSEC_OK : OPT_PLAIN)
}

/** The bytes of a query. */
export function upstreamQuery(question: UpstreamQuestion, id: number, withEdns: boolean): Buffer {
  const query = Buffer.allocUnsafe(upstreamQueryOctets(question, withEdns))
  writeUpstreamQuery(query, 0, question, id, withEdns)
  return query
}

const OPT_PLAIN = { dnssecOk: false, rcode: 0, extendedErrors: [], keepaliveDeciseconds: undefined }
const OPT_DNSSEC_OK = { ...OPT_PLAIN, dnssecOk: true }
