/** A metric family as data: what it is called and how its samples come out of one scrape's snapshots. */

import type { TurnTimes } from './event-loop-turns.ts'
import type { UpstreamExchanges } from './exchange-counters.ts'
import type { HistogramCounts } from './histogram.ts'
import type { MetricSources } from './metric-sources.ts'
import type { RestClientRequests } from './rest-client-counters.ts'
import type { Traffic } from './traffic.ts'

/** Everything that one scrape tells, read at one time. */
export interface Scrape {
  readonly build: MetricSources['build']
  readonly traffic: Traffic
  readonly exchanges: readonly UpstreamExchanges[]
  readonly programming: readonly { readonly serviceKind: string; readonly durations: HistogramCounts }[]
  readonly publications: HistogramCounts
  readonly plugins: ReturnType<MetricSources['plugins']>
  readonly cache: ReturnType<MetricSources['cache']>
  readonly zone: ReturnType<MetricSources['zone']>
  readonly upstreams: ReturnType<MetricSources['upstreams']>
  readonly forward: ReturnType<MetricSources['forward']>
  readonly listen: ReturnType<MetricSources['listen']>
  readonly http: ReturnType<MetricSources['http']>
  readonly config: ReturnType<MetricSources['config']>
  readonly setupErrors: ReturnType<MetricSources['setupErrors']>
  readonly ownQueries: ReturnType<MetricSources['ownQueries']>
  readonly restClient: readonly RestClientRequests[]
  readonly host: ReturnType<MetricSources['host']>
  readonly fastPath: ReturnType<MetricSources['fastPath']>
  readonly turns: TurnTimes
}

export type Labels = Readonly<Record<string, string>>

export interface Sample {
  readonly labels: Labels
  readonly value: number
}

export interface HistogramSample {
  readonly labels: Labels
  readonly histogram: HistogramCounts
}

interface FamilyHead {
  readonly name: string
  readonly help: string
  readonly labelNames: readonly string[]
}

export interface NumberFamily extends FamilyHead {
  readonly type: 'counter' | 'gauge'
  samples(scrape: Scrape): readonly Sample[]
}

export interface HistogramFamily extends FamilyHead {
  readonly type: 'histogram'
  readonly bounds: readonly number[]
  samples(scrape: Scrape): readonly HistogramSample[]
}

export type Family = NumberFamily | HistogramFamily

type Samples = NumberFamily['samples']

export function counter(name: string, help: string, labelNames: readonly string[], samples: Samples): NumberFamily {
  return { name, help, type: 'counter', labelNames, samples }
}

export function gauge(name: string, help: string, labelNames: readonly string[], samples: Samples): NumberFamily {
  return { name, help, type: 'gauge', labelNames, samples }
}

export function histogram(
  name: string,
  help: string,
  labelNames: readonly string[],
  bounds: readonly number[],
  samples: HistogramFamily['samples'],
): HistogramFamily {
  return { name, help, type: 'histogram', labelNames, bounds, samples }
}

/** The one sample of a family without labels. */
export function only(value: number): readonly Sample[] {
  return [{ labels: {}, value }]
}

/** One sample for each key; `camelCase` keys become `kebab-case` values. */
export function byKey(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([key, value]) => ({
    labels: { [label]: key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`) },
    value,
  }))
}
