/** The log of the upstreams, without a line for each change of one that changes all the time. */

import { type Log, LogRate } from '../observe/log.ts'
import type { ForwardLog } from '../serve/forward/exchange.ts'

/** Seconds between two lines about the same event of the same upstream. */
export const UPSTREAM_LOG_SECONDS = 10

/** Writes an event of an upstream once in that time; the next line says how often it was not (`notLogged`). */
export function upstreamLog(log: Pick<Log, 'info' | 'warn' | 'error'>, nowSeconds: () => number): ForwardLog {
  const rate = new LogRate(UPSTREAM_LOG_SECONDS, nowSeconds)
  const limited =
    (level: 'info' | 'warn' | 'error') =>
    (event: string, fields: Readonly<Record<string, unknown>>): void =>
      rate.once(`${event} ${String(fields['upstream'])}`, (notLogged) =>
        log[level](event, notLogged === 0 ? fields : { ...fields, notLogged }),
      )
  return { info: limited('info'), warn: limited('warn'), error: limited('error') }
}
