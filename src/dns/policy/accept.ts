/**
 * What becomes of a datagram or a TCP message before anybody looks for an answer: take, refuse with an rcode, or drop.
 *
 * RFC 1035 section 4.1, RFC 6891 sections 6.1.1 and 6.1.3, RFC 8906 section 3 (always a reply, never a drop, to what
 * is a query at all), RFC 9619 section 4 (one question). Bytes behind the last record are ignored: they carry no meaning, and nothing of a client's
 * message but its question is ever sent on.
 */

import { EDNS_VERSION, type Edns } from '../wire/edns.ts'
import {
  ANCOUNT_AT,
  ARCOUNT_AT,
  Flag,
  HEADER_OCTETS,
  NSCOUNT_AT,
  Opcode,
  opcodeOf,
  QDCOUNT_AT,
  Rcode,
  readUint16,
} from '../wire/header.ts'
import { skipName } from '../wire/name.ts'
import { flagsOf, idOf, QUESTION_FIXED_OCTETS, type Query, readAdditional, readQuestion } from '../wire/query.ts'
import { RecordClass, RecordType } from '../wire/record-type.ts'

export type DropReason = 'short' | 'response'

export type Acceptance =
  | { readonly kind: 'take'; readonly query: Query }
  /** `query` where the question could be read, to be echoed. */
  | {
      readonly kind: 'refuse'
      readonly rcode: number
      readonly query: Query | undefined
      readonly edns: Edns | undefined
    }
  | { readonly kind: 'drop'; readonly reason: DropReason }

const DROP_SHORT: Acceptance = { kind: 'drop', reason: 'short' }
const DROP_RESPONSE: Acceptance = { kind: 'drop', reason: 'response' }

/** The verdict over a message from a client; the bytes may be reused when it returns. */
export function accept(message: Uint8Array): Acceptance {
  if (message.length < HEADER_OCTETS) return DROP_SHORT
  const flags = flagsOf(message)
  // A response to a response is how loops begin; silence is the only safe answer.
  if ((flags & Flag.Response) !== 0) return DROP_RESPONSE

  const questions = readUint16(message, QDCOUNT_AT)
  if (questions !== 1) return refuse(opcodeRcode(flags), undefined, ednsBehind(message, questions))
  const reading = readQuestion(message, message.length)
  if (reading === undefined) return refuse(opcodeRcode(flags), undefined, undefined)
  const { question, end } = reading
  const withoutEdns: Query = {
    id: idOf(message),
    flags,
    question,
    questionWire: Uint8Array.prototype.slice.call(message, HEADER_OCTETS, end),
    edns: undefined,
  }
  if (readUint16(message, ANCOUNT_AT) !== 0) return refuse(opcodeRcode(flags), withoutEdns, undefined)
  if (readUint16(message, NSCOUNT_AT) !== 0) {
    // An IXFR carries its SOA there (RFC 1995 section 3); it deserves the refusal that it gets.
    return refuse(question.type === RecordType.IXFR ? Rcode.Refused : opcodeRcode(flags), withoutEdns, undefined)
  }
  const additional = readAdditional(message, end, message.length, readUint16(message, ARCOUNT_AT))
  if (!additional.ok) return refuse(opcodeRcode(flags), withoutEdns, undefined)
  const edns = additional.edns
  if (opcodeOf(flags) !== Opcode.Query) return refuse(Rcode.NotImp, undefined, edns)

  const query: Query = edns === undefined ? withoutEdns : { ...withoutEdns, edns }
  if (edns !== undefined && edns.version !== EDNS_VERSION) return refuse(Rcode.BadVers, query, edns)
  if (question.class !== RecordClass.IN) return refuse(Rcode.Refused, query, edns)
  // RFC 9824 section 3.5: NXNAME only stands in NSEC records.
  if (question.type === RecordType.OPT || question.type === RecordType.NXNAME) return refuse(Rcode.FormErr, query, edns)
  if (isMetaType(question.type)) return refuse(Rcode.Refused, query, edns)
  return { kind: 'take', query }
}

function refuse(rcode: number, query: Query | undefined, edns: Edns | undefined): Acceptance {
  return { kind: 'refuse', rcode, query, edns }
}

/** Questions that are passed over in search of the OPT; nobody who means well has more than one. */
const QUESTIONS_PASSED_MAX = 16

/** The OPT of a message whose number of questions is wrong, where it can be found: who sent one is owed one (RFC 6891 section 7). */
function ednsBehind(message: Uint8Array, questions: number): Edns | undefined {
  if (questions > QUESTIONS_PASSED_MAX) return undefined
  if (readUint16(message, ANCOUNT_AT) !== 0 || readUint16(message, NSCOUNT_AT) !== 0) return undefined
  let at = HEADER_OCTETS
  for (let question = 0; question < questions; question++) {
    const nameEnd = skipName(message, at, message.length)
    if (nameEnd === -1) return undefined
    at = nameEnd + QUESTION_FIXED_OCTETS
  }
  const additional = readAdditional(message, at, message.length, readUint16(message, ARCOUNT_AT))
  return additional.ok ? additional.edns : undefined
}

/** An opcode that we do not implement is said first: its message need not look like a query at all. */
function opcodeRcode(flags: number): number {
  return opcodeOf(flags) === Opcode.Query ? Rcode.FormErr : Rcode.NotImp
}

/** Transfers and transaction types: nothing that a cache or a forwarder may answer (RFC 5936, RFC 8945). */
function isMetaType(type: number): boolean {
  return type >= RecordType.TKEY && type <= RecordType.MAILA
}
