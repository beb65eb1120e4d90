/** Rotation of addresses: which of several equal ones a client tries first (RFC 1794). */

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
