/** A query of ours to an upstream: nothing in it but the client's question and the bits that change the answer. */

import { OPT_FIXED_OCTETS, writeOpt } from './edns.ts'
import { ARCOUNT_AT, FLAGS_AT, Flag, HEADER_OCTETS, ID_AT, QDCOUNT_AT, writeUint16 } from './header.ts'
import { writeName } from './name.ts'
import type { Question } from './query.ts'

/** What is asked of an upstream; two of these with the same fields may share one query. */
export interface UpstreamQuestion extends Question {
  readonly recursionDesired: boolean
  readonly checkingDisabled: boolean
  readonly dnssecOk: boolean
}

/**
 * The bytes of a query. AD is always set: it asks to be told (RFC 6840 section 5.7), and the client's own wish decides
 * later whether it hears. `withEdns` false is for upstreams that answered FORMERR to an OPT.
 */
export function upstreamQuery(question: UpstreamQuestion, id: number, withEdns: boolean): Buffer {
  const query = Buffer.alloc(HEADER_OCTETS + question.name.length + 4 + (withEdns ? OPT_FIXED_OCTETS : 0))
  writeUint16(query, ID_AT, id)
  writeUint16(
    query,
    FLAGS_AT,
    (question.recursionDesired ? Flag.RecursionDesired : 0) |
      (question.checkingDisabled ? Flag.CheckingDisabled : 0) |
      Flag.AuthenticData,
  )
  writeUint16(query, QDCOUNT_AT, 1)
  const nameEnd = writeName(query, HEADER_OCTETS, question.name)
  writeUint16(query, nameEnd, question.type)
  writeUint16(query, nameEnd + 2, question.class)
  if (withEdns) {
    writeOpt(query, nameEnd + 4, {
      dnssecOk: question.dnssecOk,
      rcode: 0,
      extendedErrors: [],
      keepaliveDeciseconds: undefined,
    })
    writeUint16(query, ARCOUNT_AT, 1)
  }
  return query
}
