/** What a client is to get for a response of the byte corpus: its own id, spelling, flags and OPT, TTLs counted down. */

import { assemble, type CorpusEntry } from './byte-corpus.ts'

export interface CorpusClient {
  readonly labels: readonly [string, string, string]
  readonly id: number
  readonly hasOpt: boolean
  readonly ageSeconds: number
}

const OUR_OPT = Buffer.from('000029 04d0 0000 0000'.replaceAll(' ', ''), 'hex')
/** QR, RD as it was asked, RA. */
const FLAGS = 0x8180

export function expectedResponse(entry: CorpusEntry, client: CorpusClient): Buffer {
  const { bytes, ttlOffsets } = assemble(entry, client.labels, false)
  bytes.writeUInt16BE(client.id, 0)
  bytes.writeUInt16BE(FLAGS, 2)
  for (const at of ttlOffsets) {
    const ttl = bytes.readUInt32BE(at)
    // RFC 2181 section 8: with its top bit set it is none.
    bytes.writeUInt32BE(Math.max(0, (ttl > 0x7fff_ffff ? 0 : ttl) - client.ageSeconds), at)
  }
  if (!client.hasOpt) return bytes
  bytes.writeUInt16BE(bytes.readUInt16BE(10) + 1, 10)
  const options = Buffer.from(entry.told ?? '', 'hex')
  return Buffer.concat([bytes, OUR_OPT, Buffer.of(options.length >> 8, options.length & 0xff), options])
}
