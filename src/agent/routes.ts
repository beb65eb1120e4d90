/** The route table of a configuration: special names, clusterset zones, and the ways out. */

import type { Config } from '../config/config.ts'
import type { Answer } from '../dns/answer.ts'
import { RouteTable } from '../dns/policy/route.ts'
import { SPECIAL_ZONES } from '../dns/policy/special-names.ts'
import { authoredAnswer } from '../dns/wire/authored.ts'
import { Rcode } from '../dns/wire/header.ts'
import { rdataOfA, rdataOfAaaa, rdataOfTxt } from '../dns/wire/message.ts'
import { type Name, nameFromText, textOfName } from '../dns/wire/name.ts'
import type { Question } from '../dns/wire/query.ts'
import { RecordType } from '../dns/wire/record-type.ts'
import { answerFromZone, type ZoneAnswerSettings } from '../dns/zone/answer.ts'
import type { Zone } from '../dns/zone/zone.ts'
import type { Route } from '../serve/resolve-parts.ts'
import { OWN_ZONE } from './own-query.ts'
import type { RouteIds } from './route-ids.ts'
import type { FollowedGroup } from './upstreams.ts'

/** A name of the configuration, which was validated. */
export function zoneName(text: string): Name {
  const name = nameFromText(text)
  if (name === undefined) throw new Error(`the configuration let the name ${text} through`)
  return name
}

/** The table for a configuration; `groups` are those of `config.forward`, in its order. */
export function routesOf(
  config: Config,
  zone: Zone,
  groups: readonly FollowedGroup[],
  instance: string,
  ids: RouteIds,
): RouteTable<Route> {
  const routes: [Name, Route][] = SPECIAL_ZONES.map(([name, special]) => [
    name,
    { kind: 'special', label: textOfName(name), special },
  ])
  routes.push([
    zoneName(OWN_ZONE),
    { kind: 'zone', label: `${OWN_ZONE}.`, answer: (question) => ownAnswer(question, instance) },
  ])
  for (const text of config.clusterset.zones) {
    const apex = zoneName(text)
    routes.push([apex, { kind: 'zone', label: textOfName(apex), answer: zoneAnswerer(config, zone, apex) }])
  }
  const routeIds = ids.of(config.forward.map(({ transport, upstreams }) => `${transport} ${upstreams.join(' ')}`))
  for (const [index, { zones }] of config.forward.entries()) {
    const id = routeIds[index]!
    for (const text of zones) {
      const name = zoneName(text)
      routes.push([name, { kind: 'forward', label: textOfName(name), id, upstreams: groups[index]!.group }])
    }
  }
  return new RouteTable(routes)
}

function zoneAnswerer(config: Config, zone: Zone, apex: Name): (question: Question, rotation?: number) => Answer {
  const settings = zoneSettings(config, apex)
  let turn = 0
  return (question, rotation = turn++ >>> 0) => answerFromZone(zone, settings, question, rotation)
}

/** How the clusterset zone answers below an apex. */
export function zoneSettings({ listen, clusterset }: Config, apex: Name): ZoneAnswerSettings {
  // A wildcard is no address that anybody could ask.
  const addresses = listen.addresses
    .map((address) => address.replace(/%.*$/, ''))
    .filter((address) => address !== '0.0.0.0' && address !== '::')
  return {
    apex,
    ttlSeconds: clusterset.ttlSeconds,
    serverAddresses: {
      ipv4: addresses.filter((address) => !address.includes(':')).map(rdataOfA),
      ipv6: addresses.filter((address) => address.includes(':')).map(rdataOfAaaa),
    },
  }
}

/** Who we are, to our own queries: never cached, for the next process may answer the next one. */
function ownAnswer(question: Question, instance: string): Answer {
  const records =
    question.type === RecordType.TXT ? [{ type: RecordType.TXT, ttl: 0, rdata: rdataOfTxt(instance) }] : []
  return authoredAnswer(question, Rcode.NoError, records)
}
