/** Small answers of our own authorship: all records at the asked name, or none at all. */

import type { Answer } from '../answer.ts'
import type { ExtendedError } from './edns.ts'
import { ANCOUNT_AT, HEADER_OCTETS, QDCOUNT_AT, writeUint16, writeUint32 } from './header.ts'
import type { Rdata } from './message.ts'
import { writeName } from './name.ts'
import type { Question } from './query.ts'
import { RecordClass } from './record-type.ts'

export interface AuthoredRecord {
  readonly type: number
  /** Seconds. */
  readonly ttl: number
  readonly rdata: Rdata
}

/** A pointer to the question's name. */
const POINTER_TO_QUESTION = 0xc000 | HEADER_OCTETS

/** Octets of a record before its rdata when its owner is a pointer. */
const RECORD_OCTETS = 12

/** The answer to `question` with records at the asked name. */
export function authoredAnswer(
  question: Question,
  rcode: number,
  records: readonly AuthoredRecord[],
  extendedErrors: readonly ExtendedError[] = [],
): Answer {
  let length = HEADER_OCTETS + question.name.length + 4
  for (const record of records) length += RECORD_OCTETS + record.rdata.length
  const message = Buffer.alloc(length)
  writeUint16(message, QDCOUNT_AT, 1)
  writeUint16(message, ANCOUNT_AT, records.length)
  let at = writeName(message, HEADER_OCTETS, question.name)
  writeUint16(message, at, question.type)
  writeUint16(message, at + 2, question.class)
  at += 4
  const ttlOffsets = new Uint16Array(records.length)
  for (const [index, record] of records.entries()) {
    writeUint16(message, at, POINTER_TO_QUESTION)
    writeUint16(message, at + 2, record.type)
    writeUint16(message, at + 4, RecordClass.IN)
    writeUint32(message, at + 6, record.ttl)
    writeUint16(message, at + 10, record.rdata.length)
    message.write(record.rdata, at + RECORD_OCTETS, 'latin1')
    ttlOffsets[index] = at + 6
    at += RECORD_OCTETS + record.rdata.length
  }
  return { message, rcode, flags: 0, ttlOffsets, extendedErrors }
}
