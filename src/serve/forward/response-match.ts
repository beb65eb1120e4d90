/** Whether a message answers what we asked (RFC 5452 section 9.1), before anything else in it is believed. */

import { Rcode } from '../../dns/wire/header.ts'
import type { UpstreamQuestion } from '../../dns/wire/upstream-query.ts'
import { readUpstreamResponse, type UpstreamResponse, withQuestion } from '../../dns/wire/upstream-response.ts'
import type { ExchangeCounts } from './exchange.ts'

/**
 * The response to `question` with `id` in `message`; undefined, and counted, when it is another's, none, or malformed.
 * FORMERR, NOTIMP and the like may lack the question; the response returned never does.
 */
export function matchingResponse(
  message: Uint8Array,
  question: UpstreamQuestion,
  id: number,
  counts: ExchangeCounts,
): UpstreamResponse | undefined {
  const response = readUpstreamResponse(message)
  if (response === undefined) counts.malformed++
  else if (response.id === id && isEchoed(response, question)) {
    return response.question === undefined ? withQuestion(response, question) : response
  } else counts.mismatched++
  return undefined
}

function isEchoed(response: UpstreamResponse, question: UpstreamQuestion): boolean {
  const echoed = response.question
  if (echoed === undefined) {
    const isRefusal = response.rcode !== Rcode.NoError && response.rcode !== Rcode.NxDomain
    return isRefusal && response.answer.ttlOffsets.length === 0
  }
  return echoed.name === question.name && echoed.type === question.type && echoed.class === question.class
}
