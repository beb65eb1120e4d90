/**
 * Zone answers as bytes: the question, then records whose owners are pointers into what was written before.
 *
 * One scratch buffer serves all answers: the zone lives on one thread, and an answer is written in one go.
 */

import type { Answer } from '../answer.ts'
import type { ExtendedError } from '../wire/edns.ts'
import {
  ANCOUNT_AT,
  FLAGS_AT,
  Flag,
  HEADER_OCTETS,
  MESSAGE_OCTETS_MAX,
  QDCOUNT_AT,
  writeUint16,
  writeUint32,
} from '../wire/header.ts'
import type { Rdata } from '../wire/message.ts'
import { type Name, writeName } from '../wire/name.ts'
import type { Question } from '../wire/query.ts'
import { RecordClass } from '../wire/record-type.ts'

/** Octets left free for the OPT of the response, so that over TCP nothing is cut that was written here. */
const OPT_ROOM_OCTETS = 512

const ANSWER_OCTETS_MAX = MESSAGE_OCTETS_MAX - OPT_ROOM_OCTETS

/** Type, class, ttl, rdlength. */
const RECORD_FIXED_OCTETS = 10
const POINTER_OCTETS = 2
const POINTER = 0xc000
/** Pointers have 14 bits (RFC 1035 section 4.1.4). */
const POINTER_TARGET_MAX = 0x3fff

/** Where in the message a section's records are counted. */
export type Section = 'answer' | 'authority' | 'additional'

const COUNT_AT: Readonly<Record<Section, number>> = {
  answer: ANCOUNT_AT,
  authority: ANCOUNT_AT + 2,
  additional: ANCOUNT_AT + 4,
}

const scratch = Buffer.alloc(ANSWER_OCTETS_MAX)
const ttlOffsets = new Uint16Array(Math.ceil(ANSWER_OCTETS_MAX / (POINTER_OCTETS + RECORD_FIXED_OCTETS)))

/** An owner name: labels to write, then a pointer to where the rest stands. */
export interface Owner {
  readonly labels: Name
  readonly pointsTo: number
}

/** The owner that is the question's name: echoed in the client's spelling. */
export const QUESTION_NAME: Owner = { labels: '', pointsTo: HEADER_OCTETS }

/** Writes one answer. Sections must be added in order; only one writer may be in use at a time. */
export class AnswerWriter {
  #end: number
  #records = 0
  readonly #counts = { answer: 0, authority: 0, additional: 0 }

  constructor(question: Question) {
    scratch.fill(0, 0, HEADER_OCTETS)
    writeUint16(scratch, QDCOUNT_AT, 1)
    const at = writeName(scratch, HEADER_OCTETS, question.name)
    writeUint16(scratch, at, question.type)
    writeUint16(scratch, at + 2, question.class)
    this.#end = at + 4
  }

  /**
   * Adds a record whose rdata is `rdata` with `rdataStart` before and `rdataEnd` behind it. Returns where the rdata stands;
   * 0 when the record did not fit and was left out, as all further ones should be.
   */
  add(
    section: Section,
    owner: Owner,
    type: number,
    ttlSeconds: number,
    rdata: Rdata,
    rdataStart: Rdata = '',
    rdataEnd: Name = '',
  ): number {
    const rdataLength = rdataStart.length + rdata.length + rdataEnd.length
    const fixedAt = this.#end + owner.labels.length + POINTER_OCTETS
    const rdataAt = fixedAt + RECORD_FIXED_OCTETS
    if (rdataAt + rdataLength > ANSWER_OCTETS_MAX) return 0

    const pointerAt = writeName(scratch, this.#end, owner.labels)
    writeUint16(scratch, pointerAt, POINTER | owner.pointsTo)
    writeUint16(scratch, fixedAt, type)
    writeUint16(scratch, fixedAt + 2, RecordClass.IN)
    writeUint32(scratch, fixedAt + 4, ttlSeconds)
    writeUint16(scratch, fixedAt + 8, rdataLength)
    const middleAt = rdataStart === '' ? rdataAt : writeName(scratch, rdataAt, rdataStart)
    const endAt = writeName(scratch, middleAt, rdata)
    if (rdataEnd !== '') writeName(scratch, endAt, rdataEnd)
    ttlOffsets[this.#records++] = fixedAt + 4
    this.#counts[section]++
    this.#end = rdataAt + rdataLength
    return rdataAt
  }

  /** The answer; the writer is done with it. `flags` is a sum of `Flag`s. */
  finish(rcode: number, flags: number, extendedErrors: readonly ExtendedError[]): Answer {
    writeUint16(scratch, FLAGS_AT, Flag.Response | flags | (rcode & Flag.RcodeMask))
    for (const section of ['answer', 'authority', 'additional'] as const) {
      writeUint16(scratch, COUNT_AT[section], this.#counts[section])
    }
    return {
      message: Uint8Array.prototype.slice.call(scratch, 0, this.#end),
      rcode,
      flags,
      ttlOffsets: ttlOffsets.slice(0, this.#records),
      extendedErrors,
    }
  }
}

/** The owner whose whole name stands at `nameAt`, or else the `labels` before the name at `restAt`. */
export function ownerAt(nameAt: number, labels: Name, restAt: number): Owner {
  return nameAt <= POINTER_TARGET_MAX ? { labels: '', pointsTo: nameAt } : { labels, pointsTo: restAt }
}
