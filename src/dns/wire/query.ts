/** A client's query, read from its bytes as far as anything here needs it. Rules about queries are in `policy/accept`. */

import { type Edns, readOpt } from './edns.ts'
import { FLAGS_AT, HEADER_OCTETS, ID_AT, readUint16 } from './header.ts'
import { endOfName, type Name, readName, skipName } from './name.ts'
import { RecordType } from './record-type.ts'

export interface Question {
  readonly name: Name
  readonly type: number
  readonly class: number
}

export interface Query {
  readonly id: number
  /** The flags word as it came. */
  readonly flags: number
  readonly question: Question
  /** Octets of the question section: the name as it was spelled, type and class. A copy, to be echoed. */
  readonly questionWire: Uint8Array
  readonly edns: Edns | undefined
}

/** Octets of type and class behind a name. */
export const QUESTION_FIXED_OCTETS = 4

/** The one question of a message and the offset behind it; undefined when it is malformed or its name is compressed. */
export function readQuestion(message: Uint8Array, messageEnd: number): { question: Question; end: number } | undefined {
  const name = readName(message, HEADER_OCTETS, messageEnd)
  const nameEnd = endOfName()
  // A pointer could only lead into the header: nobody writes that by mistake.
  if (name === undefined || nameEnd - HEADER_OCTETS !== name.length) return undefined
  const end = nameEnd + QUESTION_FIXED_OCTETS
  if (end > messageEnd) return undefined
  return {
    question: { name, type: readUint16(message, nameEnd), class: readUint16(message, nameEnd + 2) },
    end,
  }
}

/** What the records behind a query's question said: the OPT, none, or that they are malformed. */
export type AdditionalReading = { readonly ok: true; readonly edns: Edns | undefined } | { readonly ok: false }

const MALFORMED: AdditionalReading = { ok: false }
const NO_EDNS: AdditionalReading = { ok: true, edns: undefined }

/** Reads `count` additional records from `offset` in search of the one OPT (RFC 6891 section 6.1.1). */
export function readAdditional(
  message: Uint8Array,
  offset: number,
  messageEnd: number,
  count: number,
): AdditionalReading {
  let edns: Edns | undefined
  let at = offset
  for (let record = 0; record < count; record++) {
    const nameEnd = skipName(message, at, messageEnd)
    if (nameEnd === -1 || nameEnd + 10 > messageEnd) return MALFORMED
    const rdataEnd = nameEnd + 10 + readUint16(message, nameEnd + 8)
    if (rdataEnd > messageEnd) return MALFORMED
    if (readUint16(message, nameEnd) === RecordType.OPT) {
      const isRoot = nameEnd - at === 1
      const opt = isRoot && edns === undefined ? readOpt(message, nameEnd, rdataEnd) : undefined
      if (opt === undefined) return MALFORMED
      edns = opt
    }
    at = rdataEnd
  }
  return edns === undefined ? NO_EDNS : { ok: true, edns }
}

/** The id of a message of at least two octets. */
export function idOf(message: Uint8Array): number {
  return readUint16(message, ID_AT)
}

/** The flags word of a message of at least four octets. */
export function flagsOf(message: Uint8Array): number {
  return readUint16(message, FLAGS_AT)
}
