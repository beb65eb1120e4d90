/**
 * Tells the packet cache what the slow path found, where it may be told again: which answers, for how long, in whose name.
 *
 * An upstream's answer comes in when it is asked for a second time: a flood of names that nobody asks for twice leaves the
 * packet cache as it is.
 */

import { optionsOf } from '../dns/wire/edns.ts'
import { Flag, Rcode } from '../dns/wire/header.ts'
import type { Query } from '../dns/wire/query.ts'
import { RecordType } from '../dns/wire/record-type.ts'
import { rotationOf } from '../dns/wire/rotate.ts'
import { SOURCE_LABELS } from '../observe/counters.ts'
import type { PacketCache } from './cache/packet-cache.ts'
import { QuestionBit, ZONE_LABELS_MAX } from './cache/packet-cache-layout.ts'
import type { Resolution } from './resolution.ts'

export interface PacketFillerParts {
  readonly packetCache: PacketCache
  /** Which responses the query log wants to see: those must come by the event loop. */
  logs(): 'none' | 'errors' | 'all'
  /** Whether upstream answers rotate. */
  rotates(): boolean
  nowSeconds(): number
  cellOf(server: string, zoneLabel: string): number
  setCell(server: number, zoneLabel: number, cell: number): void
}

export class PacketFiller {
  readonly #parts: PacketFillerParts
  readonly #servers: string[] = []
  readonly #zoneLabels = new Map<string, number>()

  constructor(parts: PacketFillerParts) {
    this.#parts = parts
  }

  /** A server's number. */
  serverNumber(server: string): number {
    const number = this.#servers.push(server) - 1
    for (const [text, label] of this.#zoneLabels) this.#parts.setCell(number, label, this.#parts.cellOf(server, text))
    return number
  }

  /** Keeps a resolution for the workers if others may be told the same. */
  offer(query: Query, resolution: Resolution, zoneLabel: string): void {
    const { answer, source, sharing, ttls } = resolution
    if (sharing === undefined || (answer.flags & Flag.Truncated) !== 0 || answer.rcode > Flag.RcodeMask) return
    const logs = this.#parts.logs()
    const isError = answer.rcode !== Rcode.NoError && answer.rcode !== Rcode.NxDomain
    if (logs === 'all' || (logs === 'errors' && isError)) return
    const label = this.#labelOf(zoneLabel)
    if (label === undefined) return
    const { question } = query
    const isUpstreams = source === 'cache'
    this.#parts.packetCache.keep(
      {
        name: question.name,
        type: question.type,
        bits:
          ((query.flags & Flag.RecursionDesired) !== 0 ? QuestionBit.RecursionDesired : 0) |
          ((query.flags & Flag.CheckingDisabled) !== 0 ? QuestionBit.CheckingDisabled : 0) |
          (query.edns?.dnssecOk === true ? QuestionBit.DnssecOk : 0),
        answer,
        ttls: { minSeconds: ttls.minSeconds, maxSeconds: ttls.maxSeconds, countsDown: isUpstreams },
        keptAtSeconds: sharing.keptAtSeconds,
        freshUntilSeconds: sharing.freshUntilSeconds,
        renewFromSeconds: sharing.renewFromSeconds,
        source: SOURCE_LABELS.indexOf(source),
        isDenial: sharing.isDenial,
        isShortCut: source === 'local',
        zoneLabel: label,
        options: optionsOf(answer.extendedErrors),
        rotation: isAddress(question.type) && (!isUpstreams || this.#parts.rotates()) ? rotationOf(answer) : undefined,
      },
      this.#parts.nowSeconds(),
    )
  }

  /** A number for a zone's label; undefined when there are too many of them. */
  #labelOf(text: string): number | undefined {
    const known = this.#zoneLabels.get(text)
    if (known !== undefined) return known
    if (this.#zoneLabels.size === ZONE_LABELS_MAX) return undefined
    const label = this.#zoneLabels.size
    this.#zoneLabels.set(text, label)
    for (const [number, server] of this.#servers.entries()) {
      this.#parts.setCell(number, label, this.#parts.cellOf(server, text))
    }
    return label
  }
}

function isAddress(type: number): boolean {
  return type === RecordType.A || type === RecordType.AAAA
}
