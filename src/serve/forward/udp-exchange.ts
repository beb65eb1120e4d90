/**
 * Asks an upstream over UDP: a socket of its own for every query, so that the kernel picks a random source port each
 * time (RFC 5452 section 9.2) and, being connected, drops datagrams from anywhere else and reports refusals.
 *
 * A truncated answer is asked for again over TCP. What matches no question is counted and waited past.
 */

import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { Rcode } from '../../dns/wire/header.ts'
import { type UpstreamQuestion, upstreamQuery } from '../../dns/wire/upstream-query.ts'
import { readUpstreamResponse } from '../../dns/wire/upstream-response.ts'
import {
  type Cancel,
  type ExchangeCounts,
  type ExchangeResult,
  type Exchanger,
  isResponseTo,
  type UpstreamAddress,
} from './exchange.ts'

/** Datagrams that match nothing and may come in for one query; a flood of guesses ends it. */
const MISMATCHES_MAX = 100

export class UdpExchanger implements Exchanger {
  readonly #upstream: UpstreamAddress
  readonly #tcp: Exchanger
  readonly #counts: ExchangeCounts
  readonly #randomId: () => number
  readonly #cancels = new Set<Cancel>()

  /** `tcp` is asked when an answer is truncated; `randomId` gives 16 unpredictable bits. */
  constructor(upstream: UpstreamAddress, tcp: Exchanger, counts: ExchangeCounts, randomId: () => number) {
    this.#upstream = upstream
    this.#tcp = tcp
    this.#counts = counts
    this.#randomId = randomId
  }

  ask(question: UpstreamQuestion, done: (result: ExchangeResult) => void): Cancel {
    return this.#ask(question, true, done)
  }

  stop(): void {
    for (const cancel of this.#cancels) cancel()
    this.#tcp.stop()
  }

  #ask(question: UpstreamQuestion, withEdns: boolean, done: (result: ExchangeResult) => void): Cancel {
    const id = this.#randomId()
    const isV6 = isIPv6(this.#upstream.address)
    const socket = createSocket({
      type: isV6 ? 'udp6' : 'udp4',
      lookup: (address, _options, callback) => callback(null, address, isV6 ? 6 : 4),
    })
    let mismatches = 0
    let isOver = false
    let next: Cancel | undefined
    const cancel: Cancel = () => {
      next?.()
      if (isOver) return
      isOver = true
      this.#cancels.delete(cancel)
      socket.close()
    }
    const end = (result: ExchangeResult): void => {
      if (isOver) return
      cancel()
      done(result)
    }
    this.#cancels.add(cancel)
    socket.on('error', (error: NodeJS.ErrnoException) => end({ kind: 'unreachable', code: error.code ?? 'EUNKNOWN' }))
    socket.on('message', (message) => {
      const response = readUpstreamResponse(message)
      if (response === undefined || response.id !== id || !isResponseTo(response, question)) {
        if (response === undefined) this.#counts.malformed++
        else this.#counts.mismatched++
        if (++mismatches >= MISMATCHES_MAX) end({ kind: 'unreachable', code: 'FLOODED' })
        return
      }
      if (response.isTruncated) {
        cancel()
        next = this.#tcp.ask(question, (result) => {
          // No TCP there (some sites have none): the truncated answer is better than nothing.
          done(result.kind === 'response' ? result : { kind: 'response', response })
        })
        return
      }
      const refusesEdns =
        (response.rcode === Rcode.FormErr || response.rcode === Rcode.NotImp) && response.edns === undefined
      if (withEdns && refusesEdns) {
        // RFC 6891 section 7: an upstream from before EDNS; asked again in its own language.
        cancel()
        next = this.#ask(question, false, done)
        return
      }
      end({ kind: 'response', response })
    })
    socket.connect(this.#upstream.port, this.#upstream.address, () => {
      if (!isOver) socket.send(upstreamQuery(question, id, withEdns))
    })
    return cancel
  }
}
