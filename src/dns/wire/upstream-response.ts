/**
 * An upstream's response, checked and turned into an `Answer` without decoding its records.
 *
 * Every record is walked once: bounds, where the TTLs stand, what the rules of caching need to know. The OPT is taken
 * out; every other octet stays as it came (RFC 3597, RFC 5625 section 4).
 */

import type { Answer } from '../answer.ts'
import { type Edns, type ExtendedError, readOpt } from './edns.ts'
import {
  ANCOUNT_AT,
  ARCOUNT_AT,
  Flag,
  HEADER_OCTETS,
  NSCOUNT_AT,
  opcodeOf,
  QDCOUNT_AT,
  readUint16,
  readUint32,
  writeUint16,
} from './header.ts'
import { movePointers } from './moved-records.ts'
import { endOfName, isAtOrBelow, type Name, readName, skipName, writeName } from './name.ts'
import { flagsOf, idOf, type Question, readQuestion } from './query.ts'
import { RecordClass, RecordType } from './record-type.ts'

/** What stands between a record's owner name and its rdata: type, class, ttl, rdlength. */
const RECORD_FIXED_OCTETS = 10

/** RFC 2181 section 8: a TTL with the top bit set is none. */
const TTL_MAX = 0x7fff_ffff

/** More records than this, of eleven octets at least, do not fit in 65,535 octets; also the limit of the TTL table. */
const RECORDS_MAX = 5_957

/** A pointer to the question's name, which most owners are. */
const POINTER_TO_QUESTION = 0xc000 | HEADER_OCTETS

/** Links of a CNAME chain that are followed to see whether the asked type is at its end. */
const CNAME_CHAIN_MAX = 16

/** What the rules of caching want to know of a response (RFC 2308). */
export interface ResponseFacts {
  /** Whether a record of the asked type (or any, for ANY, or the CNAME itself) answers the question. */
  readonly hasAnswer: boolean
  /** Whether the asked name is an alias, or the answer section has a DNAME. */
  readonly hasAlias: boolean
  /** The smallest TTL among answer, authority and additional records, in seconds; undefined without records. */
  readonly ttlSecondsMin: number | undefined
  /** min(TTL, MINIMUM) of the SOA in the authority section, in seconds, where it denies the asked name or the chain's end. */
  readonly negativeTtlSeconds: number | undefined
}

export interface UpstreamResponse {
  readonly id: number
  /** Undefined where the upstream left the question out, as some do with FORMERR. */
  readonly question: Question | undefined
  readonly rcode: number
  readonly isTruncated: boolean
  readonly edns: Edns | undefined
  readonly answer: Answer
  readonly facts: ResponseFacts
}

/** The response in `message`, or undefined when it is none or malformed. The answer's bytes are a copy of its own. */
export function readUpstreamResponse(message: Uint8Array): UpstreamResponse | undefined {
  if (message.length < HEADER_OCTETS) return undefined
  const flags = flagsOf(message)
  if ((flags & Flag.Response) === 0 || opcodeOf(flags) !== 0) return undefined
  const questions = readUint16(message, QDCOUNT_AT)
  if (questions > 1) return undefined
  const question = questions === 1 ? readQuestion(message, message.length) : undefined
  if (questions === 1 && question === undefined) return undefined
  const records = walkRecords(message, question?.end ?? HEADER_OCTETS, question?.question)
  if (records === undefined) return undefined

  const rcode = (flags & Flag.RcodeMask) | ((records.edns?.extendedRcode ?? 0) << 4)
  const extendedErrors: readonly ExtendedError[] = records.edns?.extendedErrors ?? []
  const rest = withoutOpt(message, records)
  if (rest === undefined) return undefined
  const { bytes, ttlOffsets } = rest
  return {
    id: idOf(message),
    question: question?.question,
    rcode,
    isTruncated: (flags & Flag.Truncated) !== 0,
    edns: records.edns,
    answer: {
      message: bytes,
      rcode,
      // AA is the upstream's own word about its own zone; from a cache or a forwarder it would be a lie (RFC 2181, 5.4.1).
      flags: flags & (Flag.Truncated | Flag.AuthenticData),
      ttlOffsets,
      extendedErrors,
    },
    facts: records.facts,
  }
}

interface Records {
  /** How many of `scratch.ttlOffsets` are this message's. */
  readonly ttls: number
  readonly edns: Edns | undefined
  readonly optAt: number
  readonly optEnd: number
  readonly end: number
  readonly facts: ResponseFacts
}

/** What one walk notes on its way; reading a message is one synchronous step, so one of these does for all. */
const scratch = {
  ttlOffsets: new Uint16Array(RECORDS_MAX),
  answers: 0,
  answerOwners: [] as Name[],
  answerTypes: new Uint16Array(RECORDS_MAX),
  answerRdataAt: new Uint16Array(RECORDS_MAX),
}

/** Owners that are kept for the next message instead of making a new list. */
const OWNERS_KEPT_MAX = 64

function walkRecords(message: Uint8Array, start: number, question: Question | undefined): Records | undefined {
  const answers = readUint16(message, ANCOUNT_AT)
  const authorities = readUint16(message, NSCOUNT_AT)
  const all = answers + authorities + readUint16(message, ARCOUNT_AT)
  if (all > RECORDS_MAX) return undefined
  let ttls = 0
  let edns: Edns | undefined
  let optAt = -1
  let optEnd = -1
  let ttlSecondsMin: number | undefined
  let negativeTtlSeconds: number | undefined
  let soaOwner: Name | undefined
  let hasAlias = false
  scratch.answers = 0
  if (scratch.answerOwners.length > OWNERS_KEPT_MAX) scratch.answerOwners = []
  let at = start
  for (let record = 0; record < all; record++) {
    const isAsked =
      question !== undefined && at + 2 <= message.length && readUint16(message, at) === POINTER_TO_QUESTION
    const owner = isAsked ? question.name : readName(message, at, message.length)
    const fixedAt = isAsked ? at + 2 : endOfName()
    if (owner === undefined || fixedAt + RECORD_FIXED_OCTETS > message.length) return undefined
    const rdataAt = fixedAt + RECORD_FIXED_OCTETS
    const rdataEnd = rdataAt + readUint16(message, fixedAt + 8)
    if (rdataEnd > message.length) return undefined
    const type = readUint16(message, fixedAt)
    if (type === RecordType.OPT) {
      if (edns !== undefined || record < answers + authorities || fixedAt - at !== 1) return undefined
      edns = readOpt(message, fixedAt, rdataEnd)
      if (edns === undefined) return undefined
      optAt = at
      optEnd = rdataEnd
    } else {
      scratch.ttlOffsets[ttls++] = fixedAt + 4
      const ttl = saneTtl(readUint32(message, fixedAt + 4))
      if (type !== RecordType.TSIG) ttlSecondsMin = Math.min(ttl, ttlSecondsMin ?? ttl)
      if (record < answers) {
        if (readUint16(message, fixedAt + 2) === (question?.class ?? RecordClass.IN)) {
          const answer = scratch.answers++
          scratch.answerOwners[answer] = owner
          scratch.answerTypes[answer] = type
          scratch.answerRdataAt[answer] = rdataAt
        }
        hasAlias ||= type === RecordType.DNAME
      } else if (record < answers + authorities && type === RecordType.SOA && soaOwner === undefined) {
        // Of another class it is another zone.
        if (readUint16(message, fixedAt + 2) === (question?.class ?? RecordClass.IN)) soaOwner = owner
        negativeTtlSeconds = negativeTtl(message, rdataAt, rdataEnd, ttl)
      }
    }
    at = rdataEnd
  }
  const chain = question === undefined ? NO_CHAIN : followAliases(message, question, soaOwner)
  return {
    ttls,
    edns,
    optAt,
    optEnd,
    end: at,
    facts: {
      hasAnswer: chain.isAnswered,
      hasAlias: hasAlias || chain.links > 0,
      ttlSecondsMin,
      negativeTtlSeconds: chain.isInZone ? negativeTtlSeconds : undefined,
    },
  }
}

function saneTtl(ttl: number): number {
  return ttl > TTL_MAX ? 0 : ttl
}

/** RFC 2308 section 5: the smaller of the SOA's TTL and its MINIMUM field, which ends the rdata. */
function negativeTtl(message: Uint8Array, rdataAt: number, rdataEnd: number, ttl: number): number | undefined {
  const serverEnd = skipName(message, rdataAt, rdataEnd)
  const mailboxEnd = serverEnd === -1 ? -1 : skipName(message, serverEnd, rdataEnd)
  if (mailboxEnd === -1 || mailboxEnd + 20 > rdataEnd) return undefined
  return Math.min(ttl, saneTtl(readUint32(message, mailboxEnd + 16)))
}

interface Chain {
  /** CNAMEs that were followed. */
  readonly links: number
  /** It reaches a record of the asked type. */
  readonly isAnswered: boolean
  /** Its first or its last name is in the zone of the SOA. */
  readonly isInZone: boolean
}

const NO_CHAIN: Chain = { links: 0, isAnswered: false, isInZone: false }

/**
 * The answer section, as it was walked: CNAMEs followed from the asked name. `zone` is the SOA's owner; one that is at or above
 * neither end of the chain denies nothing of it (RFC 2308 section 5).
 */
function followAliases(message: Uint8Array, question: Question, zone: Name | undefined): Chain {
  const { answers, answerOwners, answerTypes, answerRdataAt } = scratch
  let name = question.name
  let links = 0
  for (; links <= CNAME_CHAIN_MAX; links++) {
    let alias: Name | undefined
    for (let answer = 0; answer < answers; answer++) {
      if (answerOwners[answer] !== name) continue
      const type = answerTypes[answer]
      // What the SOA says is asked of denials alone.
      if (type === question.type || question.type === RecordType.ANY)
        return { links, isAnswered: true, isInZone: false }
      if (type === RecordType.CNAME) alias = readName(message, answerRdataAt[answer]!, message.length)
    }
    if (alias === undefined) break
    name = alias
  }
  const isInZone = zone !== undefined && (isAtOrBelow(question.name, zone) || isAtOrBelow(name, zone))
  return { links, isAnswered: false, isInZone }
}

/**
 * A copy of the message without its OPT and without what trails the last record; undefined when a name behind the OPT
 * leads into it, for that name would be lost.
 */
function withoutOpt(message: Uint8Array, records: Records): { bytes: Uint8Array; ttlOffsets: Uint16Array } | undefined {
  const { optAt, optEnd, end, ttls } = records
  const optLength = optEnd - optAt
  const bytes = Buffer.allocUnsafe(end - optLength)
  const ttlOffsets = new Uint16Array(ttls)
  for (let i = 0; i < ttls; i++) {
    const offset = scratch.ttlOffsets[i]!
    ttlOffsets[i] = optLength > 0 && offset > optAt ? offset - optLength : offset
  }
  if (optLength === 0) {
    copyOctets(message, 0, end, bytes, 0)
    return { bytes, ttlOffsets }
  }
  copyOctets(message, 0, optAt, bytes, 0)
  copyOctets(message, optEnd, end, bytes, optAt)
  writeUint16(bytes, ARCOUNT_AT, readUint16(bytes, ARCOUNT_AT) - 1)
  // Usually the OPT stands last and there is nothing to move.
  if (optAt < bytes.length && !movePointers(bytes, optAt, optLength)) return undefined
  return { bytes, ttlOffsets }
}

/** Octets above which a view and a native copy are cheaper than a loop. */
const LOOP_OCTETS_MAX = 256

function copyOctets(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > LOOP_OCTETS_MAX) to.set(from.subarray(start, end), at)
  else for (let i = start; i < end; i++) to[at + i - start] = from[i]!
}

/**
 * The same response with the question laid in, for upstreams that leave it out of a FORMERR or NOTIMP: every `Answer`
 * has its question. Only for responses without records.
 */
export function withQuestion(response: UpstreamResponse, question: Question): UpstreamResponse {
  const message = Buffer.alloc(HEADER_OCTETS + question.name.length + 4)
  message.set(response.answer.message.subarray(0, QDCOUNT_AT))
  writeUint16(message, QDCOUNT_AT, 1)
  const nameEnd = writeName(message, HEADER_OCTETS, question.name)
  writeUint16(message, nameEnd, question.type)
  writeUint16(message, nameEnd + 2, question.class)
  return { ...response, question, answer: { ...response.answer, message, ttlOffsets: new Uint16Array(0) } }
}
