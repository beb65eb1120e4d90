/**
 * A question about a name at or below an apex, and what the zone says to it (MCS DNS specification 1.0.0; RFC 1034
 * section 4.3.2, RFC 2308, RFC 8020 with the exception of docs/decisions/names-below-a-service.md).
 *
 * Class, opcode and the meta types are settled before (`policy/accept`). The zone holds no CNAME, wildcard or
 * delegation, so an answer is one lookup: records, no data, no such name, or not ready to say.
 */

import type { Answer } from '../answer.ts'
import { type ExtendedError, ExtendedErrorCode } from '../wire/edns.ts'
import { Flag, HEADER_OCTETS, Rcode } from '../wire/header.ts'
import { type Rdata, rdataOfHinfo } from '../wire/message.ts'
import { NAME_OCTETS_MAX, type Name, type RelativeName, relativeTo } from '../wire/name.ts'
import type { Question } from '../wire/query.ts'
import { RecordType } from '../wire/record-type.ts'
import { type ApexRrset, apexRrsetsAt, NAME_SERVER, type ServerAddresses, soaRdata } from './apex.ts'
import { AnswerWriter, ownerAt, QUESTION_NAME } from './encode.ts'
import { NO_RRSETS, PORT_OCTETS, type Rrset } from './rrset.ts'
import type { Zone } from './zone.ts'

export interface ZoneAnswerSettings {
  readonly apex: Name
  /** TTL of every record, the specification's version excepted, and of negative answers. */
  readonly ttlSeconds: number
  /** What `ns.dns.<zone>` resolves to; a family without addresses has no data. */
  readonly serverAddresses: ServerAddresses
}

const NOT_READY: readonly ExtendedError[] = [
  { code: ExtendedErrorCode.NotReady, text: 'imported services are not known yet' },
]
const NO_ERRORS: readonly ExtendedError[] = []

/** RFC 8482 section 4.2: a small answer to ANY, for every name that exists. */
const ANY_ANSWER: Rdata = rdataOfHinfo('RFC8482', '')

/**
 * The zone's answer to a question of class IN whose name is at or below `settings.apex`.
 * `rotation` is a number that grows from response to response: it decides which record of an rrset comes first.
 */
export function answerFromZone(zone: Zone, settings: ZoneAnswerSettings, question: Question, rotation: number): Answer {
  const { apex, ttlSeconds, serverAddresses } = settings
  const name = relativeTo(question.name, apex)
  if (name === undefined) throw new Error('the question is not of this zone')
  const writer = new AnswerWriter(question)
  const isSoaQuestion = name === '' && question.type === RecordType.SOA

  const apexRrsets = apexRrsetsAt(name, apex, ttlSeconds, serverAddresses)
  const rrsets = apexRrsets === undefined ? rrsetsOfServices(zone, name) : NO_RRSETS
  if (rrsets === undefined && !zone.isKnown(name)) return writer.finish(Rcode.ServFail, 0, NOT_READY)

  let hasAnswer = false
  if (rrsets !== undefined && question.type === RecordType.ANY) {
    hasAnswer = writer.add('answer', QUESTION_NAME, RecordType.HINFO, ttlSeconds, ANY_ANSWER) !== 0
  } else if (isSoaQuestion) {
    const soa = soaRdata(apex, zone.serial, ttlSeconds)
    hasAnswer = writer.add('answer', QUESTION_NAME, RecordType.SOA, ttlSeconds, soa) !== 0
  } else if (apexRrsets !== undefined) {
    hasAnswer = writeApexRrset(writer, apexRrsets, question.type, settings, rotation)
  } else if (rrsets !== undefined) {
    hasAnswer = writeRrset(writer, zone, rrsets, name, question.type, settings, rotation)
  }
  if (!hasAnswer) {
    // RFC 2308 section 5: the SOA tells how long the negative answer may be kept.
    const apexOwner = { labels: '', pointsTo: HEADER_OCTETS + name.length }
    writer.add('authority', apexOwner, RecordType.SOA, ttlSeconds, soaRdata(apex, zone.serial, ttlSeconds))
  }
  return writer.finish(rrsets === undefined ? Rcode.NxDomain : Rcode.NoError, Flag.Authoritative, NO_ERRORS)
}

/** The rrsets at a name that services make exist; undefined where it does not. */
export function rrsetsOfServices(zone: Zone, name: RelativeName): readonly Rrset[] | undefined {
  // Without the kinds in the API there are no imports, whatever may be left from before.
  if (zone.state === 'absent') return undefined
  return zone.find(name) ?? (zone.hasNamespace(name) ? NO_RRSETS : undefined)
}

function writeApexRrset(
  writer: AnswerWriter,
  rrsets: readonly ApexRrset[],
  type: number,
  settings: ZoneAnswerSettings,
  rotation: number,
): boolean {
  const rrset = rrsets.find((rrset) => rrset.type === type)
  if (rrset === undefined) return false
  let rdataAt = 0
  for (const rdata of rotated(rrset.rdata, rotation)) {
    rdataAt = writer.add('answer', QUESTION_NAME, type, rrset.ttlSeconds, rdata)
  }
  if (type !== RecordType.NS) return true
  const owner = ownerAt(rdataAt, NAME_SERVER, HEADER_OCTETS)
  const { apex, ttlSeconds, serverAddresses } = settings
  for (const glue of apexRrsetsAt(NAME_SERVER, apex, ttlSeconds, serverAddresses) ?? []) {
    for (const rdata of rotated(glue.rdata, rotation)) {
      writer.add('additional', owner, glue.type, glue.ttlSeconds, rdata)
    }
  }
  return true
}

/** Writes the rrset of the asked type, and for SRV the addresses of its targets; false when there is none. */
function writeRrset(
  writer: AnswerWriter,
  zone: Zone,
  rrsets: readonly Rrset[],
  name: RelativeName,
  type: number,
  settings: ZoneAnswerSettings,
  rotation: number,
): boolean {
  const rrset = rrsets.find((rrset) => rrset.type === type)
  if (rrset === undefined) return false
  const { apex, ttlSeconds } = settings
  if (type !== RecordType.SRV) {
    for (const rdata of rotated(rrset.rdata, rotation)) {
      if (writer.add('answer', QUESTION_NAME, type, ttlSeconds, rdata) === 0) break
    }
    return true
  }
  const apexAt = HEADER_OCTETS + name.length
  /** Targets that are in the answer, and where in the message their names stand. */
  const targets = new Map<RelativeName, number>()
  for (const rdata of rotated(rrset.rdata, rotation)) {
    const target = rdata.slice(PORT_OCTETS)
    // Possible only where one zone's name is much longer than another's; the record is left out, the rest stays.
    if (target.length + apex.length > NAME_OCTETS_MAX) continue
    const rdataAt = writer.add('answer', QUESTION_NAME, type, ttlSeconds, rdata, rrset.rdataStart, apex)
    if (rdataAt === 0) break
    if (!targets.has(target)) targets.set(target, rdataAt + rrset.rdataStart.length + PORT_OCTETS)
  }
  writeGlue(writer, zone, targets, apexAt, ttlSeconds, rotation)
  return targets.size > 0
}

function writeGlue(
  writer: AnswerWriter,
  zone: Zone,
  targets: ReadonlyMap<RelativeName, number>,
  apexAt: number,
  ttlSeconds: number,
  rotation: number,
): void {
  for (const [target, targetAt] of targets) {
    const owner = ownerAt(targetAt, target, apexAt)
    for (const { type, rdata: addresses } of zone.find(target) ?? []) {
      if (type === RecordType.SRV) continue
      for (const rdata of rotated(addresses, rotation)) {
        if (writer.add('additional', owner, type, ttlSeconds, rdata) === 0) return
      }
    }
  }
}

/** The golden ratio's fraction: the multiples of no number are spread more evenly over a circle. */
const GOLDEN_FRACTION = 0.618_033_988_749_894_9

/**
 * The records from another first one on, going round. The first one follows a Weyl sequence instead of counting up:
 * clients that ask A and AAAA in turn take every second number, and would always meet the same one of two records.
 */
function* rotated(rdata: readonly Rdata[], rotation: number): Generator<Rdata> {
  const first = Math.floor(((rotation * GOLDEN_FRACTION) % 1) * rdata.length)
  for (let i = first; i < rdata.length; i++) yield rdata[i]!
  for (let i = 0; i < first; i++) yield rdata[i]!
}
