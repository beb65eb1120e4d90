/** Small answers of our own authorship: all records at the asked name, or none and why not. */

import type { Answer } from '../answer.ts'
import type { ExtendedError } from './edns.ts'
import { ANCOUNT_AT, HEADER_OCTETS, NSCOUNT_AT, QDCOUNT_AT, writeUint16, writeUint32 } from './header.ts'
import { type Rdata, rdataOfSoa } from './message.ts'
import { type Name, nameFromText, relativeTo, writeName } from './name.ts'
import type { Question } from './query.ts'
import { RecordClass, RecordType } from './record-type.ts'

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

/** A name error or no data, with the SOA that lets a resolver remember it for `ttl` seconds (RFC 2308 section 5). */
export function authoredDenial(question: Question, rcode: number, zone: Name, ttl: number): Answer {
  const zoneOctets = relativeTo(question.name, zone)?.length
  if (zoneOctets === undefined) throw new Error('a denial is for a name of its zone')
  const rdata = soaOf(zone, ttl)
  const denial = authoredAnswer(question, rcode, [])
  const soaAt = denial.message.length
  const message = Buffer.alloc(soaAt + RECORD_OCTETS + rdata.length)
  message.set(denial.message)
  writeUint16(message, NSCOUNT_AT, 1)
  // The zone's name is the end of the question's.
  writeUint16(message, soaAt, POINTER_TO_QUESTION + zoneOctets)
  writeUint16(message, soaAt + 2, RecordType.SOA)
  writeUint16(message, soaAt + 4, RecordClass.IN)
  writeUint32(message, soaAt + 6, ttl)
  writeUint16(message, soaAt + 10, rdata.length)
  message.write(rdata, soaAt + RECORD_OCTETS, 'latin1')
  return { ...denial, message, ttlOffsets: Uint16Array.of(soaAt + 6) }
}

/** Nobody is responsible and nobody ever transfers it: the names say so, and the numbers are customary. */
const NOBODY = 'nobody.invalid'

function soaOf(zone: Name, minimum: number): Rdata {
  const names = `${zone}${nameFromText(NOBODY)!}`
  const numbers = rdataOfSoa({
    mname: '.',
    rname: '.',
    serial: 1,
    refresh: 7_200,
    retry: 1_800,
    expire: 86_400,
    minimum,
  })
  // Behind two root names, in whose place ours go: they are in wire form already.
  return names + numbers.slice(2)
}
