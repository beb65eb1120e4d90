/**
 * Domain names as the zone, the caches and the routes compare them.
 *
 * A `Name` is the wire form (RFC 1035 section 3.1) in lower case (RFC 4343: ASCII letters only), kept as a string with
 * one character an octet: `\x03www\x07example\x00`. A string hashes and compares natively, costs one byte an octet, and
 * a label may contain a dot without harm. Names inside messages stay bytes; this file reads, skips and writes them.
 */

import { HEADER_OCTETS } from './header.ts'

/** A complete name: wire form, lower case, ending in the root label; at most 255 octets. */
export type Name = string

/** A name below a zone's apex without the apex: wire form, lower case, no root label; `''` is the apex itself. */
export type RelativeName = string

export const ROOT: Name = '\0'

/** RFC 1035 section 2.3.4: octets of a name, length octets and root label included. */
export const NAME_OCTETS_MAX = 255

/** RFC 1035 section 2.3.4: octets of one label. */
export const LABEL_OCTETS_MAX = 63

const POINTER_BITS = 0xc0
const UPPER_A = 0x41
const UPPER_Z = 0x5a
const CASE_BIT = 0x20

const scratch = Buffer.alloc(NAME_OCTETS_MAX)

/** Where `readName` left off: the offset behind the name in the message, or -1 when the name is malformed. */
let endOfLastRead = -1

/** The offset behind the name that `readName` read last. */
export function endOfName(): number {
  return endOfLastRead
}

/**
 * The name at `offset`, pointers followed (backwards only, RFC 9267 section 2); undefined when it is malformed.
 * `endOfName()` then tells where the message goes on.
 */
export function readName(message: Uint8Array, offset: number, messageEnd: number): Name | undefined {
  endOfLastRead = -1
  let at = offset
  let end = -1
  let lowestPointer = offset
  // RFC 1035 section 4.1.4: a pointer leads to a prior occurrence of a name, which therefore ends before this one begins.
  let labelsEnd = messageEnd
  let length = 0
  for (;;) {
    if (at >= labelsEnd) return undefined
    const octet = message[at]!
    if (octet === 0) {
      scratch[length++] = 0
      endOfLastRead = end === -1 ? at + 1 : end
      return scratch.toString('latin1', 0, length)
    }
    if ((octet & POINTER_BITS) === POINTER_BITS) {
      if (at + 1 >= labelsEnd) return undefined
      const target = ((octet & ~POINTER_BITS) << 8) | message[at + 1]!
      // Every pointer goes further back than the one before it: that alone makes loops impossible.
      if (target >= lowestPointer) return undefined
      // No name stands in the header, and what is read of it changes with the counts.
      if (target < HEADER_OCTETS) return undefined
      if (end === -1) end = at + 2
      lowestPointer = target
      labelsEnd = offset
      at = target
      continue
    }
    if (octet > LABEL_OCTETS_MAX || length + octet + 2 > NAME_OCTETS_MAX || at + octet >= labelsEnd) return undefined
    scratch[length++] = octet
    for (let i = 1; i <= octet; i++) scratch[length++] = lowerOctet(message[at + i]!)
    at += octet + 1
  }
}

/** HOT. The offset behind the name at `offset`, pointers not followed; -1 when it runs out of the message. */
export function skipName(message: Uint8Array, offset: number, messageEnd: number): number {
  let at = offset
  while (at < messageEnd) {
    const octet = message[at]!
    if (octet === 0) return at + 1
    if ((octet & POINTER_BITS) === POINTER_BITS) return at + 2 <= messageEnd ? at + 2 : -1
    if (octet > LABEL_OCTETS_MAX) return -1
    at += octet + 1
    if (at - offset >= NAME_OCTETS_MAX) return -1
  }
  return -1
}

/** HOT. Each octet in lower case, for where many are looked at; only ASCII letters change (RFC 4343 section 3). */
export const LOWER_OCTETS = Uint8Array.from({ length: 256 }, (_, octet) => lowerOctet(octet))

/** HOT. An octet in lower case; only ASCII letters change (RFC 4343 section 3). */
export function lowerOctet(octet: number): number {
  return octet >= UPPER_A && octet <= UPPER_Z ? octet | CASE_BIT : octet
}

/** Octets in lower case as one string; safe for wire form because no length octet reaches the letters. */
export function lowerCase(octets: string): string {
  return octets.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

/**
 * The name written as text (RFC 1035 section 5.1: `\.` and `\DDD` are understood, the last dot may be missing);
 * undefined when a label is empty or too long, or the name is.
 */
export function nameFromText(text: string): Name | undefined {
  if (text === '.' || text === '') return text === '.' ? ROOT : undefined
  let wire = ''
  let label = ''
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!
    if (character === '.') {
      if (label === '') return undefined
      wire += String.fromCharCode(label.length) + label
      label = ''
    } else if (character === '\\') {
      const decimal = /^\d{3}/.exec(text.slice(i + 1))?.[0]
      if (decimal !== undefined) {
        if (Number(decimal) > 255) return undefined
        label += String.fromCharCode(Number(decimal))
        i += 3
      } else {
        const escaped = text[++i]
        if (escaped === undefined || escaped.charCodeAt(0) > 0xff) return undefined
        label += escaped
      }
    } else {
      label += character
    }
    if (label.length > LABEL_OCTETS_MAX || character.charCodeAt(0) > 0xff) return undefined
  }
  if (label !== '') wire += String.fromCharCode(label.length) + label
  if (wire.length + 1 > NAME_OCTETS_MAX) return undefined
  return `${lowerCase(wire)}\0`
}

/** The name as an operator reads it, with the last dot; octets outside printable ASCII as `\DDD`. */
export function textOfName(name: Name): string {
  if (name === ROOT) return '.'
  let text = ''
  for (const label of labelsOf(name)) {
    for (const character of label) {
      const octet = character.charCodeAt(0)
      if (character === '.' || character === '\\') text += `\\${character}`
      else if (octet > 0x20 && octet < 0x7f) text += character
      else text += `\\${String(octet).padStart(3, '0')}`
    }
    text += '.'
  }
  return text
}

/** The labels of a complete or relative name, leftmost first, the root label left out. */
export function labelsOf(name: Name): string[] {
  const labels: string[] = []
  for (let at = 0; at < name.length; ) {
    const length = name.charCodeAt(at)
    if (length === 0) break
    labels.push(name.slice(at + 1, at + 1 + length))
    at += length + 1
  }
  return labels
}

/** The relative name of the given labels, in lower case; undefined when a label does not fit (1 to 63 octets). */
export function relativeName(labels: readonly string[]): RelativeName | undefined {
  let wire = ''
  for (const label of labels) {
    if (label.length === 0 || label.length > LABEL_OCTETS_MAX) return undefined
    wire += String.fromCharCode(label.length) + label
  }
  return lowerCase(wire)
}

/** The name one label up; the root's parent is the root. */
export function parentOf(name: Name): Name {
  return name === ROOT ? ROOT : name.slice(name.charCodeAt(0) + 1)
}

/** What stands before `zone` in `name`: `''` for the apex, undefined when the name is not at or below the zone. */
export function relativeTo(name: Name, zone: Name): RelativeName | undefined {
  const prefixLength = name.length - zone.length
  if (prefixLength < 0 || !name.endsWith(zone)) return undefined
  // Octets that look like the zone may stand inside a label; only a label boundary counts.
  let at = 0
  while (at < prefixLength) at += name.charCodeAt(at) + 1
  return at === prefixLength ? name.slice(0, prefixLength) : undefined
}

/** Whether `name` is the zone's apex or below it. */
export function isAtOrBelow(name: Name, zone: Name): boolean {
  return relativeTo(name, zone) !== undefined
}

/** Writes a name uncompressed at `offset` and returns the offset behind it. */
export function writeName(message: Buffer, offset: number, name: Name): number {
  return offset + message.write(name, offset, 'latin1')
}
