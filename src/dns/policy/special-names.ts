/**
 * Names that no resolver on the Internet can know, answered here so that they never leak:
 * `localhost` (RFC 6761 section 6.3), `invalid` (6.4) and `onion` (RFC 7686 section 2).
 *
 * A route configured for exactly such a zone wins over this.
 */

import type { Answer } from '../answer.ts'
import { authoredAnswer } from '../wire/authored.ts'
import { Rcode } from '../wire/header.ts'
import { rdataOfA, rdataOfAaaa } from '../wire/message.ts'
import { type Name, nameFromText } from '../wire/name.ts'
import type { Question } from '../wire/query.ts'
import { RecordType } from '../wire/record-type.ts'

export type SpecialName = 'localhost' | 'nowhere'

export const SPECIAL_ZONES: readonly (readonly [zone: Name, special: SpecialName])[] = [
  [nameFromText('localhost')!, 'localhost'],
  [nameFromText('invalid')!, 'nowhere'],
  [nameFromText('onion')!, 'nowhere'],
]

/** Loopback does not move; a day keeps the name out of our way. */
const TTL_SECONDS = 86_400

const LOOPBACK_V4 = rdataOfA('127.0.0.1')
const LOOPBACK_V6 = rdataOfAaaa('::1')

/** The answer to a question for a special name. */
export function specialAnswer(question: Question, special: SpecialName): Answer {
  if (special === 'nowhere') return authoredAnswer(question, Rcode.NxDomain, [])
  const address =
    question.type === RecordType.A ? LOOPBACK_V4 : question.type === RecordType.AAAA ? LOOPBACK_V6 : undefined
  return authoredAnswer(
    question,
    Rcode.NoError,
    address === undefined ? [] : [{ type: question.type, ttl: TTL_SECONDS, rdata: address }],
  )
}
