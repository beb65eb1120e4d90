/**
 * Records that moved towards the start of their message because something before them was taken out: their compression
 * pointers are corrected in place.
 *
 *    before  | ... A | taken out | B ... |        pointers of B into A stay,
 *    after   | ... A | B ... |                    pointers of B into B are lessened by what was taken out
 */

import { readUint16, writeUint16 } from './header.ts'
import { skipName } from './name.ts'

/** What stands between a record's owner name and its rdata: type, class, ttl, rdlength. */
const RECORD_FIXED_OCTETS = 10

const NAPTR = 35

/**
 * Types whose rdata may hold compressed names: those of RFC 1035, and those that RFC 3597 section 4 asks to be read
 * leniently. Octets before the first name, number of names.
 */
const COMPRESSIBLE_NAMES = new Map<number, { readonly skip: number; readonly names: number }>([
  [2, { skip: 0, names: 1 }], // NS
  [3, { skip: 0, names: 1 }], // MD
  [4, { skip: 0, names: 1 }], // MF
  [5, { skip: 0, names: 1 }], // CNAME
  [6, { skip: 0, names: 2 }], // SOA
  [7, { skip: 0, names: 1 }], // MB
  [8, { skip: 0, names: 1 }], // MG
  [9, { skip: 0, names: 1 }], // MR
  [12, { skip: 0, names: 1 }], // PTR
  [14, { skip: 0, names: 2 }], // MINFO
  [15, { skip: 2, names: 1 }], // MX
  [17, { skip: 0, names: 2 }], // RP
  [18, { skip: 2, names: 1 }], // AFSDB
  [21, { skip: 2, names: 1 }], // RT
  [24, { skip: 18, names: 1 }], // SIG
  [26, { skip: 2, names: 2 }], // PX
  [30, { skip: 0, names: 1 }], // NXT
  [33, { skip: 6, names: 1 }], // SRV
  [36, { skip: 2, names: 1 }], // KX
  [39, { skip: 0, names: 1 }], // DNAME
])

/**
 * Corrects all records from `movedAt` to the end of `message`, `octets` of which were taken out just before `movedAt`.
 * False when a pointer leads into what was taken out. The records' bounds were checked before.
 */
export function movePointers(message: Uint8Array, movedAt: number, octets: number): boolean {
  for (let at = movedAt; at < message.length; ) {
    const fixedAt = skipName(message, at, message.length)
    if (fixedAt === -1 || !moveName(message, at, fixedAt, movedAt, octets)) return false
    const rdataAt = fixedAt + RECORD_FIXED_OCTETS
    const rdataEnd = rdataAt + readUint16(message, fixedAt + 8)
    if (!moveRdata(message, readUint16(message, fixedAt), rdataAt, rdataEnd, movedAt, octets)) return false
    at = rdataEnd
  }
  return true
}

function moveRdata(
  message: Uint8Array,
  type: number,
  rdataAt: number,
  rdataEnd: number,
  movedAt: number,
  octets: number,
): boolean {
  const layout = COMPRESSIBLE_NAMES.get(type)
  if (layout === undefined && type !== NAPTR) return true
  let at = layout === undefined ? endOfNaptrStrings(message, rdataAt, rdataEnd) : rdataAt + layout.skip
  for (let name = 0; name < (layout?.names ?? 1); name++) {
    const end = skipName(message, at, rdataEnd)
    // Rdata that is not what its type says holds no names of ours to correct.
    if (end === -1) return true
    if (!moveName(message, at, end, movedAt, octets)) return false
    at = end
  }
  return true
}

/** RFC 3403 section 4.1: order, preference, three character-strings, and then the name. */
function endOfNaptrStrings(message: Uint8Array, rdataAt: number, rdataEnd: number): number {
  let at = rdataAt + 4
  for (let string = 0; string < 3 && at < rdataEnd; string++) at += 1 + message[at]!
  return at
}

/** Corrects the pointer that the name from `at` to `end` may end in; false when it leads into what was taken out. */
function moveName(message: Uint8Array, at: number, end: number, movedAt: number, octets: number): boolean {
  let label = at
  while (label < end && (message[label]! & 0xc0) === 0 && message[label] !== 0) label += message[label]! + 1
  if (label !== end - 2) return true
  const target = readUint16(message, label) & 0x3fff
  // A name that begins before what was taken out and runs into it is lost as well.
  if (target < movedAt) return skipName(message, target, movedAt) !== -1
  if (target < movedAt + octets) return false
  writeUint16(message, label, 0xc000 | (target - octets))
  return true
}
