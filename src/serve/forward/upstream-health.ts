/**
 * What is known of one upstream from the traffic that went to it: how fast it answers, how long to wait, whether it lives.
 *
 * Round-trip times are smoothed as TCP does it (RFC 6298 section 2).
 */

import type { OrderedUpstream } from '../../dns/policy/upstream-order.ts'

/** The first wait for an upstream that never answered. */
export const TIMEOUT_MS_INITIAL = 400
/** Kube-dns and resolvers ask others in turn: waiting shorter would only double their work. */
export const TIMEOUT_MS_MIN = 200
export const TIMEOUT_MS_MAX = 1_500

/** Failures in a row, without any response between them, that make an upstream dead. */
export const FAILURES_IN_ROW_MAX = 3

export class UpstreamHealth implements OrderedUpstream {
  rttMs: number | undefined
  answeredAtMs = 0
  isDead = false
  #rttVariationMs = 0
  #failuresInRow = 0
  #hasAnswered = false

  /** Any response is a sign of life, whatever it says. True when the upstream was dead until now. */
  responded(rttMs: number, nowMs: number): boolean {
    if (this.rttMs === undefined || !this.#hasAnswered) {
      this.#hasAnswered = true
      this.rttMs = rttMs
      this.#rttVariationMs = rttMs / 2
    } else {
      this.#rttVariationMs += (Math.abs(this.rttMs - rttMs) - this.#rttVariationMs) / 4
      this.rttMs += (rttMs - this.rttMs) / 8
    }
    this.answeredAtMs = nowMs
    this.#failuresInRow = 0
    const hasRisen = this.isDead
    this.isDead = false
    return hasRisen
  }

  /** No response within `waitedMs`, or the upstream could not be reached. True when that makes it dead. */
  failed(waitedMs: number): boolean {
    // The wait is the least its round trip can be; slow ones fall behind before they are dead.
    if (this.rttMs === undefined) this.rttMs = Math.max(waitedMs, TIMEOUT_MS_INITIAL)
    else if (waitedMs > this.rttMs) this.rttMs += (waitedMs - this.rttMs) / 8
    this.#failuresInRow++
    if (this.isDead || this.#failuresInRow < FAILURES_IN_ROW_MAX) return false
    this.isDead = true
    return true
  }

  /** How long to wait for a response before another try, in milliseconds; doubled with every try of one question. */
  timeoutMs(triesBefore: number): number {
    const timeoutMs = this.rttMs === undefined ? TIMEOUT_MS_INITIAL : this.rttMs + 4 * this.#rttVariationMs
    const clamped = Math.min(Math.max(timeoutMs, TIMEOUT_MS_MIN), TIMEOUT_MS_MAX)
    return Math.min(clamped * 2 ** triesBefore, 2 * TIMEOUT_MS_MAX)
  }
}
