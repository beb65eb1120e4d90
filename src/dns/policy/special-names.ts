/**
 * Names that no resolver on the Internet can know, answered here so that they never leak:
 * `localhost` (RFC 6761 section 6.3), `invalid` (6.4), `onion` (RFC 7686 section 2) and `resolver.arpa` (RFC 9462 sections 4 and
 * 6.4: where our upstream is to be had encrypted is of no use to who asks us, for its certificate does not bear our address).
 *
 * A route configured for exactly such a zone wins over this.
 */

import type { Answer } from '../answer.ts'
import { authoredAnswer, authoredDenial } from '../wire/authored.ts'
import { Rcode } from '../wire/header.ts'
import { rdataOfA, rdataOfAaaa } from '../wire/message.ts'
import { type Name, nameFromText, parentOf, ROOT } from '../wire/name.ts'
import type { Question } from '../wire/query.ts'
import { RecordType } from '../wire/record-type.ts'

export type SpecialName = 'localhost' | 'nowhere' | 'empty'

const RESOLVER_ARPA = nameFromText('resolver.arpa')!

export const SPECIAL_ZONES: readonly (readonly [zone: Name, special: SpecialName])[] = [
  [nameFromText('localhost')!, 'localhost'],
  [nameFromText('invalid')!, 'nowhere'],
  [nameFromText('onion')!, 'nowhere'],
  [RESOLVER_ARPA, 'empty'],
]

/** Loopback does not move; a day keeps the name out of our way. */
const TTL_SECONDS = 86_400

const LOOPBACK_V4 = rdataOfA('127.0.0.1')
const LOOPBACK_V6 = rdataOfAaaa('::1')

/** Seconds that a resolver may remember that there is nothing: these names never come to be, and hosts move on within hours. */
const DENIAL_TTL_SECONDS = 10_800

/** The answer to a question for a name at or below a special zone. */
export function specialAnswer(question: Question, special: SpecialName): Answer {
  if (special === 'empty') return authoredDenial(question, Rcode.NoError, RESOLVER_ARPA, DENIAL_TTL_SECONDS)
  // The others are top-level domains.
  const zone = lastLabelOf(question.name)
  if (special === 'nowhere') return authoredDenial(question, Rcode.NxDomain, zone, DENIAL_TTL_SECONDS)
  const address =
    question.type === RecordType.A ? LOOPBACK_V4 : question.type === RecordType.AAAA ? LOOPBACK_V6 : undefined
  return address === undefined
    ? authoredDenial(question, Rcode.NoError, zone, DENIAL_TTL_SECONDS)
    : authoredAnswer(question, Rcode.NoError, [{ type: question.type, ttl: TTL_SECONDS, rdata: address }])
}

function lastLabelOf(name: Name): Name {
  let zone = name
  while (zone !== ROOT && parentOf(zone) !== ROOT) zone = parentOf(zone)
  return zone
}
