/**
 * The OPT pseudo-record (RFC 6891 section 6.1.2): read from queries and responses, written into ours.
 *
 *    +--------+------+-------------------+---------------------------------+----------+-----------+
 *    | 0      | 41   | payload size      | ext. rcode, version, DO + zeros | RDLENGTH | options   |
 *    | 1 octet| 2    | 2 (class)         | 1, 1, 2 (ttl)                   | 2        | RDLENGTH  |
 *    +--------+------+-------------------+---------------------------------+----------+-----------+
 *
 * OPT is hop by hop: nothing of a client's OPT is sent upstream and nothing of an upstream's OPT reaches a client,
 * extended errors (RFC 8914) excepted.
 */

import { readUint16, writeUint16 } from './header.ts'
import { RecordType } from './record-type.ts'

/** OPT without options: root name, type, class, ttl, rdlength. */
export const OPT_FIXED_OCTETS = 11

/** RFC 6891 section 6.2.3: smaller sizes mean this one. */
export const PAYLOAD_OCTETS_MIN = 512

/** What we advertise and never exceed over UDP (RFC 9715 section 3.1: no fragments on any usual path). */
export const PAYLOAD_OCTETS_MAX = 1232

/** The only EDNS version there is (RFC 6891 section 6.1.3). */
export const EDNS_VERSION = 0

const DNSSEC_OK_BIT = 0x80
const OPTION_TCP_KEEPALIVE = 11
const OPTION_EXTENDED_ERROR = 15

/** Extended errors that we say (RFC 8914 section 4). */
export const ExtendedErrorCode = {
  Other: 0,
  StaleAnswer: 3,
  CachedError: 13,
  NotReady: 14,
  Blocked: 15,
  StaleNameError: 19,
  NoReachableAuthority: 22,
  NetworkError: 23,
} as const

export interface ExtendedError {
  readonly code: number
  /** UTF-8 for a person to read; short, for it shares the payload. */
  readonly text: string
}

/** What an OPT record said. */
export interface Edns {
  /** Octets the sender can take over UDP, 512 at least. */
  readonly payloadSize: number
  readonly version: number
  readonly dnssecOk: boolean
  /** The upper eight bits of the rcode; 0 in queries. */
  readonly extendedRcode: number
  readonly extendedErrors: readonly ExtendedError[]
  /** Whether the edns-tcp-keepalive option was there (RFC 7828). */
  readonly wantsKeepalive: boolean
}

/** Extended errors taken over from one OPT; more is noise. */
const EXTENDED_ERRORS_MAX = 4

/** Octets of an extended error's text that are taken over; an upstream may send 65,000, and we would keep and repeat them. */
export const EXTENDED_ERROR_TEXT_OCTETS_MAX = 128

const utf8 = new TextDecoder()

/** The OPT record whose fields behind the owner name start at `at`; undefined when an option overruns the rdata. */
export function readOpt(message: Uint8Array, at: number, rdataEnd: number): Edns | undefined {
  const extendedErrors: ExtendedError[] = []
  let wantsKeepalive = false
  // What another version writes there is not ours to judge: it gets BADVERS, not FORMERR (RFC 6891 section 6.1.3).
  let option = message[at + 5] === EDNS_VERSION ? at + 10 : rdataEnd
  while (option < rdataEnd) {
    if (option + 4 > rdataEnd) return undefined
    const code = readUint16(message, option)
    const end = option + 4 + readUint16(message, option + 2)
    if (end > rdataEnd) return undefined
    if (code === OPTION_TCP_KEEPALIVE) wantsKeepalive = true
    if (code === OPTION_EXTENDED_ERROR && end - option >= 6 && extendedErrors.length < EXTENDED_ERRORS_MAX) {
      extendedErrors.push({
        code: readUint16(message, option + 4),
        text: textOf(message.subarray(option + 6, end)),
      })
    }
    option = end
  }
  return {
    payloadSize: Math.max(PAYLOAD_OCTETS_MIN, readUint16(message, at + 2)),
    extendedRcode: message[at + 4]!,
    version: message[at + 5]!,
    dnssecOk: (message[at + 6]! & DNSSEC_OK_BIT) !== 0,
    extendedErrors,
    wantsKeepalive,
  }
}

/** The beginning of a text; `''` for what is not UTF-8, which written again would be three times as long. */
function textOf(octets: Uint8Array): string {
  let end = Math.min(octets.length, EXTENDED_ERROR_TEXT_OCTETS_MAX)
  // Never in the middle of a character: 10xxxxxx goes on what stands before it.
  while (end < octets.length && end > 0 && (octets[end]! & 0xc0) === 0x80) end--
  const text = utf8.decode(octets.subarray(0, end))
  return text.includes('\ufffd') ? '' : text.replace(/\0+$/, '')
}

/** What goes into an OPT of ours. */
export interface OptToWrite {
  readonly dnssecOk: boolean
  /** The whole rcode of the response, 0 to 4095; the lower four bits stand in the header. */
  readonly rcode: number
  readonly extendedErrors: readonly ExtendedError[]
  /** Idle time-out in units of 100 ms to tell a TCP client that asked (RFC 7828); undefined: not told. */
  readonly keepaliveDeciseconds: number | undefined
}

/** Octets that `writeOpt` will need. */
export function optOctets(opt: OptToWrite): number {
  let octets = OPT_FIXED_OCTETS
  for (const error of opt.extendedErrors) octets += 6 + Buffer.byteLength(error.text)
  if (opt.keepaliveDeciseconds !== undefined) octets += 6
  return octets
}

/** The options of an OPT that tells these errors. */
export function optionsOf(extendedErrors: readonly ExtendedError[]): Uint8Array {
  if (extendedErrors.length === 0) return NO_OPTIONS
  const opt: OptToWrite = { dnssecOk: false, rcode: 0, extendedErrors, keepaliveDeciseconds: undefined }
  const record = Buffer.alloc(optOctets(opt))
  return record.subarray(OPT_FIXED_OCTETS, writeOpt(record, 0, opt))
}

const NO_OPTIONS = new Uint8Array(0)

/** Writes an OPT record at `offset` and returns the offset behind it; the caller made room by `optOctets`. */
export function writeOpt(message: Buffer, offset: number, opt: OptToWrite): number {
  message[offset] = 0
  writeUint16(message, offset + 1, RecordType.OPT)
  writeUint16(message, offset + 3, PAYLOAD_OCTETS_MAX)
  message[offset + 5] = opt.rcode >>> 4
  message[offset + 6] = 0
  message[offset + 7] = opt.dnssecOk ? DNSSEC_OK_BIT : 0
  message[offset + 8] = 0
  let at = offset + OPT_FIXED_OCTETS
  for (const error of opt.extendedErrors) {
    const octets = message.write(error.text, at + 6)
    writeUint16(message, at, OPTION_EXTENDED_ERROR)
    writeUint16(message, at + 2, 2 + octets)
    writeUint16(message, at + 4, error.code)
    at += 6 + octets
  }
  if (opt.keepaliveDeciseconds !== undefined) {
    writeUint16(message, at, OPTION_TCP_KEEPALIVE)
    writeUint16(message, at + 2, 2)
    writeUint16(message, at + 4, opt.keepaliveDeciseconds)
    at += 6
  }
  writeUint16(message, offset + 9, at - offset - OPT_FIXED_OCTETS)
  return at
}
