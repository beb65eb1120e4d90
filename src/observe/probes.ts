/** What the kubelet asks: whether we live, and whether we are ready. */

import type { HttpPages, HttpReply } from './http.ts'

/** One thing that must hold. `detail` is for a person: what is missing, since when. */
export interface Condition {
  readonly name: string
  readonly isMet: boolean
  readonly detail?: string
}

export interface ProbeSources {
  /** Fails only when a restart would help. */
  alive(): Promise<readonly Condition[]>
  /** Fails while queries had better go elsewhere. */
  ready(): readonly Condition[]
}

/** `/healthz` and `/readyz`: 200 when every condition holds, else 503; each condition is listed either way. */
export function probePages(sources: ProbeSources): HttpPages {
  return {
    '/healthz': async () => reply(await sources.alive()),
    '/readyz': () => reply(sources.ready()),
  }
}

function reply(conditions: readonly Condition[]): HttpReply {
  const isMet = conditions.every((condition) => condition.isMet)
  const body = {
    status: isMet ? 'ok' : 'failed',
    conditions: conditions.map(({ name, isMet, detail }) => ({
      name,
      status: isMet ? 'ok' : 'failed',
      ...(detail === undefined ? {} : { detail }),
    })),
  }
  return { status: isMet ? 200 : 503, contentType: 'application/json', body: `${JSON.stringify(body, null, 2)}\n` }
}
