/** What goes wrong, when a test wants it to. Everything is off at the start. */

import type { ResourceName } from './resources.ts'
import { type ApiError, type RefusalCode, refusal } from './status.ts'

export type Verb = 'list' | 'watch' | 'get' | 'discovery' | 'other'

/** Which requests a fault meets: all, unless it says which. */
export interface Where {
  readonly verb?: Verb
  readonly resource?: ResourceName
  /** Requests it meets before it lifts itself. Default: until it is lifted. */
  readonly times?: number
}

export interface Met {
  readonly verb: Verb
  readonly resource: ResourceName | undefined
}

export interface Pace {
  /** Bodies are written in pieces of this many octets, wherever that cuts them. */
  readonly chunkOctets: number
  /** Between two pieces. 0: only the event loop's turn. */
  readonly everyMs: number
}

interface Armed<Fault> {
  readonly where: Where
  readonly fault: Fault
  left: number
}

/** Faults of one sort, the first that meets a request is taken. */
class Armory<Fault> {
  readonly #armed = new Set<Armed<Fault>>()

  arm(fault: Fault, where: Where): () => void {
    const armed = { where, fault, left: where.times ?? Number.POSITIVE_INFINITY }
    this.#armed.add(armed)
    return () => void this.#armed.delete(armed)
  }

  take(met: Met): Fault | undefined {
    for (const armed of this.#armed) {
      if (!meets(armed.where, met)) continue
      if (--armed.left <= 0) this.#armed.delete(armed)
      return armed.fault
    }
    return undefined
  }

  disarm(): void {
    this.#armed.clear()
  }
}

function meets(where: Where, met: Met): boolean {
  return (
    (where.verb === undefined || where.verb === met.verb) &&
    (where.resource === undefined || where.resource === met.resource)
  )
}

export class Faults {
  /** Every watch event is sent twice. */
  duplicateEvents = false
  /** How all bodies are written. Undefined: whole and at once. */
  pace: Pace | undefined
  readonly #refusals = new Armory<ApiError>()
  readonly #cuts = new Armory<number>()
  readonly #bodyCuts = new Armory<number>()
  readonly #holds = new Set<{ where: Where; released: Promise<void>; release: () => void }>()
  #tokensExpiredBefore = 0

  /** Answers with a Status, `Retry-After` as given. Returns how to lift it. */
  refuse(code: RefusalCode, where: Where & { readonly retryAfterSeconds?: number } = {}): () => void {
    return this.#refusals.arm(refusal(code, where.retryAfterSeconds), where)
  }

  /** Breaks the connection in the middle of an item of a list, after so many whole ones. Once, unless `times` says more. */
  cutList(afterItems: number, where: Where = {}): () => void {
    return this.#cuts.arm(afterItems, { times: 1, ...where, verb: 'list' })
  }

  /** Breaks the connection after so many octets of a body, whatever they are. Once, unless `times` says more. */
  cutBody(afterOctets: number, where: Where = {}): () => void {
    return this.#bodyCuts.arm(afterOctets, { times: 1, ...where })
  }

  /** Requests wait for their response, and open watches for their next event, until it is lifted. Connections stay open. */
  hold(where: Where = {}): () => void {
    const { promise: released, resolve } = Promise.withResolvers<void>()
    const held = { where, released, release: resolve }
    this.#holds.add(held)
    return () => {
      this.#holds.delete(held)
      held.release()
    }
  }

  /** Every `continue` given out so far is answered with 410. */
  expireContinueTokens(): void {
    this.#tokensExpiredBefore = performance.now()
  }

  isTokenExpired(madeAtMs: number): boolean {
    return madeAtMs <= this.#tokensExpiredBefore
  }

  refusalOf(met: Met): ApiError | undefined {
    return this.#refusals.take(met)
  }

  cutOf(met: Met): number | undefined {
    return this.#cuts.take(met)
  }

  bodyCutOf(met: Met): number | undefined {
    return this.#bodyCuts.take(met)
  }

  async untilReleased(met: Met): Promise<void> {
    for (const { where, released } of this.#holds) if (meets(where, met)) await released
  }

  /** Everything off again. */
  lift(): void {
    this.duplicateEvents = false
    this.pace = undefined
    this.#refusals.disarm()
    this.#cuts.disarm()
    this.#bodyCuts.disarm()
    for (const held of this.#holds) held.release()
    this.#holds.clear()
  }
}
