/** A zone made from Kubernetes objects that can be asked, without a socket: accept, answer, response. */

import assert from 'node:assert/strict'
import { serviceImportFacts, sliceFacts } from '../../src/control/objects.ts'
import type { ServiceImportFacts, SliceFacts } from '../../src/control/records/facts.ts'
import { recordsOf } from '../../src/control/records/records-of.ts'
import { accept } from '../../src/dns/policy/accept.ts'
import { addressFromText, IPV4_OCTETS } from '../../src/dns/wire/address.ts'
import { writeUint16 } from '../../src/dns/wire/header.ts'
import { isAtOrBelow, nameFromText } from '../../src/dns/wire/name.ts'
import { emptyResponse, responseTo, TCP_OCTETS_MAX, TTLS_AS_THEY_ARE } from '../../src/dns/wire/response.ts'
import { answerFromZone, type ZoneAnswerSettings } from '../../src/dns/zone/answer.ts'
import { Zone } from '../../src/dns/zone/zone.ts'
import type { VectorQuestion, VectorSettings } from './vectors.ts'

/** The zone that the objects make. */
export function zoneOf(objects: readonly unknown[], settings: VectorSettings): Zone {
  const imports = new Map<string, ServiceImportFacts>()
  const slices = new Map<string, SliceFacts[]>()
  for (const object of objects) {
    if ((object as { kind?: unknown }).kind === 'ServiceImport') {
      const { facts } = serviceImportFacts(object)
      if (facts !== undefined) imports.set(`${facts.namespace}/${facts.name}`, facts)
    } else {
      const { facts } = sliceFacts(object)
      if (facts === undefined) continue
      const key = `${facts.namespace}/${facts.service}`
      slices.set(key, [...(slices.get(key) ?? []), facts])
    }
  }
  const zone = new Zone(2026)
  for (const key of new Set([...imports.keys(), ...slices.keys()])) {
    const { records } = recordsOf(
      { import: imports.get(key), slices: slices.get(key) ?? [] },
      {
        submariner: settings.submariner,
        localClusterId: settings.localClusterId,
        apexOctetsMax: Math.max(...settings.zones.map((zone) => nameFromText(zone)!.length)),
      },
    )
    zone.replace(key, records)
  }
  zone.state = settings.state
  if (settings.missing.length > 0) zone.becomePartial(settings.missing)
  return zone
}

/** Settings of every configured zone. */
export function answerSettingsOf(settings: VectorSettings): ZoneAnswerSettings[] {
  const addresses = settings.serverAddresses.map((text) => addressFromText(text)!)
  return settings.zones.map((zone) => ({
    apex: nameFromText(zone)!,
    ttlSeconds: settings.ttlSeconds,
    serverAddresses: {
      ipv4: addresses.filter((address) => address.length === IPV4_OCTETS),
      ipv6: addresses.filter((address) => address.length !== IPV4_OCTETS),
    },
  }))
}

/** The bytes of a query, the name spelled as in the table. */
export function queryBytes(question: VectorQuestion): Buffer {
  const labels = question.name.replace(/\.$/, '').split('.')
  const name = labels.map((label) => String.fromCharCode(label.length) + label).join('')
  const bytes = Buffer.alloc(12 + name.length + 5)
  writeUint16(bytes, 0, 0xbeef)
  writeUint16(bytes, 2, 0x0100)
  writeUint16(bytes, 4, 1)
  bytes.write(name, 12, 'latin1')
  writeUint16(bytes, bytes.length - 4, question.type)
  writeUint16(bytes, bytes.length - 2, question.class)
  return bytes
}

/** The response's bytes as a client over TCP would get them. */
export function responseBytesOf(
  zone: Zone,
  settings: readonly ZoneAnswerSettings[],
  query: Buffer,
  rotation: number,
  octetsMax: number = TCP_OCTETS_MAX,
): Buffer {
  const acceptance = accept(query)
  assert.notEqual(acceptance.kind, 'drop')
  if (acceptance.kind === 'drop') return query
  if (acceptance.kind === 'refuse') return emptyResponse(query, acceptance.query, acceptance.edns, acceptance.rcode)
  const { question } = acceptance.query
  const its = settings.find(({ apex }) => isAtOrBelow(question.name, apex))
  assert.ok(its !== undefined, 'a question about no zone of ours')
  const answer = answerFromZone(zone, its, question, rotation)
  return responseTo(acceptance.query, answer, TTLS_AS_THEY_ARE, { octetsMax, keepaliveDeciseconds: undefined })
}
