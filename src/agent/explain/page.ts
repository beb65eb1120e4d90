/**
 * `GET /explain?name=NAME[&type=TYPE][&do=1][&cd=1][&rd=0][&format=text]` on the health address: one question, one
 * explanation, as JSON or for a person. Nothing is asked or changed; what a reply may hold is bounded.
 */

import { nameFromText } from '../../dns/wire/name.ts'
import { RecordType, typeFromText } from '../../dns/wire/record-type.ts'
import type { HttpPages, HttpReply } from '../../observe/http.ts'
import { type AskedQuestion, type ExplainParts, explain } from './explain.ts'
import { textOfExplanation } from './text.ts'

export function explainPage(parts: ExplainParts): HttpPages {
  return {
    '/explain': async (query) => {
      const asked = questionOf(query)
      if (typeof asked === 'string') return json(400, { error: asked })
      const explanation = await explain(asked, parts)
      return query.get('format') === 'text'
        ? { status: 200, contentType: 'text/plain; charset=utf-8', body: textOfExplanation(explanation) }
        : json(200, explanation)
    },
  }
}

/** The question of a request, or what is wrong with it. */
export function questionOf(query: URLSearchParams): AskedQuestion | string {
  const nameText = query.get('name')
  if (nameText === null || nameText === '') return 'no name is given, such as name=www.example.com&type=A'
  const name = nameFromText(nameText)
  if (name === undefined) return `${shortened(nameText)} is no domain name`
  const typeText = query.get('type')
  const type = typeText === null ? RecordType.A : typeFromText(typeText)
  if (type === undefined) return `${shortened(typeText!)} is no record type: A, AAAA, SRV, TYPE65280, ...`
  return {
    name,
    type,
    recursionDesired: query.get('rd') !== '0',
    dnssecOk: query.get('do') === '1',
    checkingDisabled: query.get('cd') === '1',
  }
}

/** Characters of what somebody sent that an error repeats. */
const REPEATED_MAX = 80

function shortened(text: string): string {
  return JSON.stringify(text.length > REPEATED_MAX ? `${text.slice(0, REPEATED_MAX)}…` : text)
}

function json(status: number, body: unknown): HttpReply {
  return { status, contentType: 'application/json', body: `${JSON.stringify(body, null, 2)}\n` }
}
