/**
 * dns-packet's door: records of our own authorship become rdata here, and tools and tests read whole messages.
 *
 * Upstream responses never come this way; their bytes are passed on as they are (`upstream-response`).
 */

import * as dnsPacket from 'dns-packet'

/** Rdata in wire form, one character an octet. Immutable, compact, and comparable with `===`. */
export type Rdata = string

export interface SrvData {
  readonly priority: number
  readonly weight: number
  readonly port: number
  /** Text without the last dot. */
  readonly target: string
}

export interface SoaData {
  /** Text without the last dot, as the mailbox is. */
  readonly mname: string
  readonly rname: string
  readonly serial: number
  /** Seconds, as the three below. */
  readonly refresh: number
  readonly retry: number
  readonly expire: number
  readonly minimum: number
}

interface RdataCodec<Data> {
  encode(data: Data): Uint8Array
}

/** Octets that dns-packet puts before the rdata: its length. */
const RDLENGTH_OCTETS = 2

function codecOf<Data>(type: string): RdataCodec<Data> {
  return (dnsPacket as unknown as { record(type: string): RdataCodec<Data> }).record(type)
}

function wireOf<Data>(codec: RdataCodec<Data>, data: Data): Rdata {
  const encoded = codec.encode(data)
  return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength).toString('latin1', RDLENGTH_OCTETS)
}

const codecs = {
  a: codecOf<string>('A'),
  aaaa: codecOf<string>('AAAA'),
  srv: codecOf<SrvData>('SRV'),
  soa: codecOf<SoaData>('SOA'),
  txt: codecOf<string>('TXT'),
  hinfo: codecOf<{ cpu: string; os: string }>('HINFO'),
}

/** Rdata of an A record; `address` must be a valid dotted IPv4 address. */
export function rdataOfA(address: string): Rdata {
  return wireOf(codecs.a, address)
}

/** Rdata of an AAAA record; `address` must be a valid IPv6 address without a scope. */
export function rdataOfAaaa(address: string): Rdata {
  return wireOf(codecs.aaaa, address)
}

/** Rdata of an SRV record (RFC 2782), its target uncompressed. */
export function rdataOfSrv(data: SrvData): Rdata {
  return wireOf(codecs.srv, data)
}

/** Rdata of an SOA record (RFC 1035 section 3.3.13). */
export function rdataOfSoa(data: SoaData): Rdata {
  return wireOf(codecs.soa, data)
}

/** Rdata of a TXT record with one character-string of at most 255 octets. */
export function rdataOfTxt(text: string): Rdata {
  return wireOf(codecs.txt, text)
}

/** Rdata of an HINFO record (RFC 1035 section 3.3.2); each text has at most 255 octets. */
export function rdataOfHinfo(cpu: string, os: string): Rdata {
  return wireOf(codecs.hinfo, { cpu, os })
}

/** A whole message as dns-packet reads it, for tools and tests; throws on what it cannot read. */
export function decodeMessage(message: Uint8Array): dnsPacket.DecodedPacket {
  return dnsPacket.decode(Buffer.from(message.buffer, message.byteOffset, message.byteLength))
}
