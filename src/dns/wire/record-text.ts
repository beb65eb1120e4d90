/**
 * Records as people write them (RFC 1035 section 5.1): for whoever looks into an answer. What has no notation here is
 * written as octets (RFC 3597 section 5). Reads any bytes, throws nothing, and tells no more than it is asked for.
 */

import { ANCOUNT_AT, HEADER_OCTETS, QDCOUNT_AT, readUint16, readUint32 } from './header.ts'
import { endOfName, readName, skipName, textOfName } from './name.ts'
import { QUESTION_FIXED_OCTETS } from './query.ts'
import { RecordType, typeName } from './record-type.ts'

export interface RecordText {
  readonly name: string
  readonly ttlSeconds: number
  /** `A`, `TYPE65280`. */
  readonly type: string
  readonly data: string
}

export interface SectionText {
  /** Records that the section has. */
  readonly count: number
  /** The first of them. */
  readonly records: readonly RecordText[]
}

export interface MessageText {
  readonly answer: SectionText
  readonly authority: SectionText
  /** Without the OPT. */
  readonly additional: SectionText
}

/** Characters of one record's data that are told: a TXT record may have 65,535 octets. */
export const DATA_CHARACTERS_MAX = 1_000

/** Octets of a record between its owner and its data. */
const RECORD_FIXED_OCTETS = 10

/** The records of a message, the first `recordsMax` of each section; those behind a malformed one are left out. */
export function messageText(message: Uint8Array, recordsMax: number): MessageText {
  let at = recordsAt(message)
  const section = (countAt: number): SectionText => {
    const records: RecordText[] = []
    let count = at === -1 ? 0 : readUint16(message, countAt)
    for (let left = count; left > 0 && at !== -1; left--) {
      const reading = readRecord(message, at)
      at = reading?.end ?? -1
      if (reading?.type === RecordType.OPT) count--
      else if (reading !== undefined && records.length < recordsMax) records.push(reading.text())
    }
    return { count, records }
  }
  return { answer: section(ANCOUNT_AT), authority: section(ANCOUNT_AT + 2), additional: section(ANCOUNT_AT + 4) }
}

/** Where the first record stands; -1 when the message ends before. */
function recordsAt(message: Uint8Array): number {
  if (message.length < HEADER_OCTETS) return -1
  let at = HEADER_OCTETS
  for (let left = readUint16(message, QDCOUNT_AT); left > 0; left--) {
    const nameEnd = skipName(message, at, message.length)
    if (nameEnd === -1) return -1
    at = nameEnd + QUESTION_FIXED_OCTETS
  }
  return at
}

function readRecord(message: Uint8Array, at: number): { type: number; end: number; text(): RecordText } | undefined {
  const owner = readName(message, at, message.length)
  const fixedAt = endOfName()
  if (owner === undefined || fixedAt + RECORD_FIXED_OCTETS > message.length) return undefined
  const type = readUint16(message, fixedAt)
  const dataAt = fixedAt + RECORD_FIXED_OCTETS
  const end = dataAt + readUint16(message, fixedAt + 8)
  if (end > message.length) return undefined
  const text = (): RecordText => ({
    name: textOfName(owner),
    ttlSeconds: readUint32(message, fixedAt + 4),
    type: typeName(type),
    data: dataText(type, message, dataAt, end),
  })
  return { type, end, text }
}

/** The data of a record that stands in `message` from `at` to `end`. */
export function dataText(type: number, message: Uint8Array, at: number, end: number): string {
  const text = notation(type, message, at, end) ?? octetsText(message, at, end)
  return text.length > DATA_CHARACTERS_MAX ? `${text.slice(0, DATA_CHARACTERS_MAX)}…` : text
}

/** Undefined where the type has no notation here, or the data is not what the type wants. */
function notation(type: number, message: Uint8Array, at: number, end: number): string | undefined {
  const octets = end - at
  switch (type) {
    case RecordType.A:
      return octets === 4 ? message.subarray(at, end).join('.') : undefined
    case RecordType.AAAA:
      return octets === 16 ? ipv6Text(message, at) : undefined
    case RecordType.CNAME:
    case RecordType.DNAME:
    case RecordType.NS:
    case RecordType.PTR:
      return namesText(message, at, end, 1, 0)
    case RecordType.MX:
      return octets < 3 ? undefined : joined(readUint16(message, at), namesText(message, at + 2, end, 1, 0))
    case RecordType.SRV: {
      if (octets < 7) return undefined
      const numbers = [0, 2, 4].map((offset) => readUint16(message, at + offset)).join(' ')
      return joined(numbers, namesText(message, at + 6, end, 1, 0))
    }
    case RecordType.SOA:
      return namesText(message, at, end, 2, 5)
    case RecordType.TXT:
    case RecordType.HINFO:
      return stringsText(message, at, end)
    default:
      return undefined
  }
}

function joined(first: string | number, second: string | undefined): string | undefined {
  return second === undefined ? undefined : `${first} ${second}`
}

/** So many names and, behind them, numbers of four octets; undefined when the data is anything else. */
function namesText(message: Uint8Array, at: number, end: number, names: number, numbers: number): string | undefined {
  const words: string[] = []
  let next = at
  for (let i = 0; i < names; i++) {
    const name = readName(message, next, end)
    if (name === undefined) return undefined
    next = endOfName()
    words.push(textOfName(name))
  }
  if (next + numbers * 4 !== end) return undefined
  for (let i = 0; i < numbers; i++) words.push(String(readUint32(message, next + i * 4)))
  return words.join(' ')
}

function stringsText(message: Uint8Array, at: number, end: number): string | undefined {
  const words: string[] = []
  for (let next = at; next < end; ) {
    const length = message[next]!
    if (next + 1 + length > end) return undefined
    let text = ''
    for (const octet of message.subarray(next + 1, next + 1 + length)) {
      const character = String.fromCharCode(octet)
      if (character === '"' || character === '\\') text += `\\${character}`
      else text += octet >= 0x20 && octet < 0x7f ? character : `\\${String(octet).padStart(3, '0')}`
    }
    words.push(`"${text}"`)
    next += 1 + length
  }
  return words.join(' ')
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function ipv6Text(message: Uint8Array, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => readUint16(message, at + i * 2))
  let runAt = -1
  let runLength = 1
  for (let from = 0; from < 8; from++) {
    let length = 0
    while (groups[from + length] === 0) length++
    if (length > runLength) {
      runAt = from
      runLength = length
    }
  }
  const text = (some: readonly number[]): string => some.map((group) => group.toString(16)).join(':')
  return runAt === -1 ? text(groups) : `${text(groups.slice(0, runAt))}::${text(groups.slice(runAt + runLength))}`
}

function octetsText(message: Uint8Array, at: number, end: number): string {
  const shown = Math.min(end, at + DATA_CHARACTERS_MAX)
  return `\\# ${end - at} ${Buffer.from(message.subarray(at, shown)).toString('hex')}`.trimEnd()
}
