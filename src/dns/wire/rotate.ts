/** Rotation of addresses: which of several equal ones a client tries first (RFC 1794). */

import type { Answer } from '../answer.ts'
import { ANCOUNT_AT, HEADER_OCTETS, readUint16 } from './header.ts'
import { endOfName, type Name, readName, skipName } from './name.ts'
import { RecordType } from './record-type.ts'

/** Octets between an owner name and its rdata. */
const RECORD_FIXED_OCTETS = 10

/**
 * Moves the addresses of the answer section on by `rotation` places, in place: of the A or of the AAAA records that the
 * question asked for and that share one owner. Only rdata moves, so that pointers and TTLs stay right.
 */
export function rotateAddresses(response: Buffer, rotation: number): void {
  const questionEnd = skipName(response, HEADER_OCTETS, response.length) + 4
  const type = readUint16(response, questionEnd - 4)
  if (type !== RecordType.A && type !== RecordType.AAAA) return
  const octets = type === RecordType.A ? 4 : 16
  const rdataOffsets: number[] = []
  let owner: Name | undefined
  let at = questionEnd
  for (let record = readUint16(response, ANCOUNT_AT); record > 0; record--) {
    const name = readName(response, at, response.length)
    const fixedAt = endOfName()
    if (name === undefined) return
    const rdataAt = fixedAt + RECORD_FIXED_OCTETS
    const rdataOctets = readUint16(response, fixedAt + 8)
    if (readUint16(response, fixedAt) === type && rdataOctets === octets) {
      owner ??= name
      if (name === owner) rdataOffsets.push(rdataAt)
    }
    at = rdataAt + rdataOctets
  }
  const count = rdataOffsets.length
  if (count < 2 || rotation % count === 0) return
  const addresses = rdataOffsets.map((offset) => Buffer.from(response.subarray(offset, offset + octets)))
  for (const [place, offset] of rdataOffsets.entries()) response.set(addresses[(place + rotation) % count]!, offset)
}

/** Which addresses of an answer take turns, as places in its `ttlOffsets`. */
export interface Rotation {
  readonly firstTtl: number
  readonly count: number
  /** Of one address. */
  readonly octets: number
}

/** Octets between a record's TTL and its rdata, and between its type and its TTL. */
const TTL_TO_RDATA_OCTETS = 6
const TYPE_TO_TTL_OCTETS = 4

/** The places that count, one behind the other, up to this many. */
const PLACES_MAX = 255

/**
 * The addresses that the question asked for and that share one owner; undefined where fewer than two do, or others stand
 * between them.
 */
export function rotationOf({ message, ttlOffsets }: Answer): Rotation | undefined {
  const questionEnd = skipName(message, HEADER_OCTETS, message.length) + 4
  const type = readUint16(message, questionEnd - 4)
  const octets = type === RecordType.A ? 4 : 16
  const answers = readUint16(message, ANCOUNT_AT)
  let owner: Name | undefined
  let firstTtl = -1
  let count = 0
  let at = questionEnd
  for (let record = 0; record < answers; record++) {
    const name = readName(message, at, message.length)
    const ttlAt = ttlOffsets[record]
    if (name === undefined || ttlAt === undefined || ttlAt !== endOfName() + TYPE_TO_TTL_OCTETS) return undefined
    const rdataOctets = readUint16(message, ttlAt + TYPE_TO_TTL_OCTETS)
    if (readUint16(message, ttlAt - TYPE_TO_TTL_OCTETS) === type && rdataOctets === octets) {
      owner ??= name
      if (name !== owner) return undefined
      if (firstTtl === -1) firstTtl = record
      else if (record !== firstTtl + count) return undefined
      count++
    }
    at = ttlAt + TTL_TO_RDATA_OCTETS + rdataOctets
  }
  return count < 2 || count > PLACES_MAX ? undefined : { firstTtl, count, octets }
}
