/**
 * The header of a message (RFC 1035 section 4.1.1) in place.
 *
 *      0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
 *    +-----------------------------------------------+
 *  0 |                      ID                       |
 *  2 |QR|  Opcode   |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
 *  4 |                QDCOUNT                        |
 *  6 |                ANCOUNT                        |
 *  8 |                NSCOUNT                        |
 * 10 |                ARCOUNT                        |
 *    +-----------------------------------------------+
 */

export const HEADER_OCTETS = 12

/** RFC 1035 section 4.2.2: what a two-octet length can say. */
export const MESSAGE_OCTETS_MAX = 65_535

export const ID_AT = 0
export const FLAGS_AT = 2
export const QDCOUNT_AT = 4
export const ANCOUNT_AT = 6
export const NSCOUNT_AT = 8
export const ARCOUNT_AT = 10

/** Bits of the flags word at offset 2. */
export const Flag = {
  Response: 0x8000,
  OpcodeMask: 0x7800,
  Authoritative: 0x0400,
  Truncated: 0x0200,
  RecursionDesired: 0x0100,
  RecursionAvailable: 0x0080,
  AuthenticData: 0x0020,
  CheckingDisabled: 0x0010,
  RcodeMask: 0x000f,
} as const

export const Opcode = { Query: 0 } as const

/** IANA DNS RCODEs that we say or act on. */
export const Rcode = {
  NoError: 0,
  FormErr: 1,
  ServFail: 2,
  NxDomain: 3,
  NotImp: 4,
  Refused: 5,
  BadVers: 16,
} as const

const RCODE_NAMES: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  6: 'YXDOMAIN',
  7: 'YXRRSET',
  8: 'NXRRSET',
  9: 'NOTAUTH',
  10: 'NOTZONE',
  16: 'BADVERS',
  17: 'BADKEY',
  18: 'BADTIME',
  19: 'BADMODE',
  20: 'BADNAME',
  21: 'BADALG',
  22: 'BADTRUNC',
  23: 'BADCOOKIE',
}

/** The name of an rcode as dashboards know it; `RCODE<n>` where IANA has none. */
export function rcodeName(rcode: number): string {
  return RCODE_NAMES[rcode] ?? `RCODE${rcode}`
}

/** HOT. The two octets at `offset` as a number. */
export function readUint16(message: Uint8Array, offset: number): number {
  return (message[offset]! << 8) | message[offset + 1]!
}

/** HOT. Writes a number into the two octets at `offset`. */
export function writeUint16(message: Uint8Array, offset: number, value: number): void {
  message[offset] = value >>> 8
  message[offset + 1] = value
}

/** HOT. The four octets at `offset` as an unsigned number. */
export function readUint32(message: Uint8Array, offset: number): number {
  return (
    ((message[offset]! << 24) | (message[offset + 1]! << 16) | (message[offset + 2]! << 8) | message[offset + 3]!) >>> 0
  )
}

/** HOT. Writes an unsigned number into the four octets at `offset`. */
export function writeUint32(message: Uint8Array, offset: number, value: number): void {
  message[offset] = value >>> 24
  message[offset + 1] = value >>> 16
  message[offset + 2] = value >>> 8
  message[offset + 3] = value
}

/** HOT. The opcode in a flags word. */
export function opcodeOf(flags: number): number {
  return (flags & Flag.OpcodeMask) >>> 11
}
