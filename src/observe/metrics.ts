/**
 * prom-client's door: families (`coredns-families`, `own-families`) become text for Prometheus.
 *
 * Nothing is counted here. prom-client keeps no values of its own for our families: at a scrape they come out of the
 * snapshots, so that the way of a query never touches a label or a map.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { COREDNS_FAMILIES, PROGRAMMING_BOUNDS } from './coredns-families.ts'
import { EventLoopTurns } from './event-loop-turns.ts'
import { ExchangeCounters } from './exchange-counters.ts'
import type { Family, HistogramFamily, HistogramSample, Labels, NumberFamily, Sample, Scrape } from './family.ts'
import { histogramAt, histogramSlots, observe } from './histogram.ts'
import type { MetricSources } from './metric-sources.ts'
import { OWN_FAMILIES } from './own-families.ts'
import { RestClientCounters, type RestClientObserver } from './rest-client-counters.ts'
import { trafficOf } from './traffic.ts'

/** CoreDNS's kinds of services; ours are imports of a virtual address or of endpoints. */
export const SERVICE_KINDS = ['cluster_ip', 'headless_with_selector', 'headless_without_selector'] as const
export type ServiceKind = (typeof SERVICE_KINDS)[number]

export interface Metrics {
  readonly contentType: string
  /** What the forwarder tells of its exchanges. */
  readonly upstreamObserver: ExchangeCounters
  /** What the control plane tells of its requests to the API server. */
  readonly apiObserver: RestClientObserver
  /** Seconds from an object's change to the first answer that knows it. */
  dnsProgrammed(serviceKind: ServiceKind, seconds: number): void
  /** Seconds from the arrival of an object's change to its publication. */
  zonePublished(seconds: number): void
  /** The text of one scrape. */
  render(): Promise<string>
}

/** prom-client's look at the event loop wakes the process at this interval: never, in practice. `EventLoopTurns` measures instead. */
const DEFAULT_LOOP_LOOK_MS = 2 ** 31 - 1

/** What of prom-client's own families an operator can use; the rest says little or costs a walk over all sockets. */
const KEPT_DEFAULTS = /^(process_|nodejs_gc_|nodejs_heap_size_|nodejs_external_memory_)/

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry()
  const exchanges = new ExchangeCounters()
  const restClient = new RestClientCounters()
  const programming = SERVICE_KINDS.map((serviceKind) => ({
    serviceKind,
    counts: new Float64Array(histogramSlots(PROGRAMMING_BOUNDS)),
  }))
  const publications = new Float64Array(histogramSlots(PROGRAMMING_BOUNDS))
  const turns = new EventLoopTurns()
  const read = (): Scrape => ({
    build: sources.build,
    traffic: trafficOf(sources.labels, sources.trafficBlocks()),
    exchanges: exchanges.snapshot(),
    programming: programming.map(({ serviceKind, counts }) => ({
      serviceKind,
      durations: histogramAt(counts, 0, PROGRAMMING_BOUNDS),
    })),
    publications: histogramAt(publications, 0, PROGRAMMING_BOUNDS),
    plugins: sources.plugins(),
    cache: sources.cache(),
    zone: sources.zone(),
    upstreams: sources.upstreams(),
    forward: sources.forward(),
    listen: sources.listen(),
    http: sources.http(),
    config: sources.config(),
    setupErrors: sources.setupErrors(),
    ownQueries: sources.ownQueries(),
    restClient: restClient.snapshot(),
    host: sources.host(),
    fastPath: sources.fastPath(),
    turns: turns.take(),
  })
  // Not before the first scrape: the parts that are read may have to be made yet, some from these metrics.
  let scrape: Scrape | undefined
  for (const family of [...COREDNS_FAMILIES, ...OWN_FAMILIES]) register(family, registry, () => (scrape ??= read()))
  registerDefaults(registry)

  return {
    contentType: registry.contentType,
    upstreamObserver: exchanges,
    apiObserver: restClient,
    zonePublished(seconds) {
      observe(publications, 0, PROGRAMMING_BOUNDS, seconds)
    },
    dnsProgrammed(serviceKind, seconds) {
      observe(programming[SERVICE_KINDS.indexOf(serviceKind)]!.counts, 0, PROGRAMMING_BOUNDS, seconds)
    },
    render() {
      scrape = read()
      return registry.metrics()
    },
  }
}

/** What a family is, for its documentation. */
export type DescribedFamily = Pick<Family, 'name' | 'help' | 'type' | 'labelNames'> & {
  readonly bounds?: readonly number[] | undefined
}

/** Every family that `createMetrics` registers, in the order of registration; those of the process last. */
export function describeMetrics(): DescribedFamily[] {
  const registry = new Registry()
  registerDefaults(registry)
  // prom-client keeps these as plain properties, without saying so in its types.
  const defaults = registry.getMetricsAsArray() as unknown as (DescribedFamily & { buckets?: readonly number[] })[]
  const others = defaults.map(({ name, help, labelNames, buckets }) => {
    const type = buckets !== undefined ? 'histogram' : name.endsWith('_total') ? 'counter' : 'gauge'
    return { name, help, type, labelNames, bounds: buckets } as const
  })
  return [...COREDNS_FAMILIES, ...OWN_FAMILIES, ...others]
}

function register(family: Family, registry: Registry, scrape: () => Scrape): void {
  switch (family.type) {
    case 'counter':
      registry.registerMetric(new SnapshotCounter(family, scrape))
      return
    case 'gauge':
      registry.registerMetric(new SnapshotGauge(family, scrape))
      return
    case 'histogram':
      registry.registerMetric(new SnapshotHistogram(family, scrape))
  }
}

class SnapshotCounter extends Counter {
  readonly #read: () => readonly Sample[]

  constructor(family: NumberFamily, scrape: () => Scrape) {
    super({ ...headOf(family), registers: [] })
    this.#read = () => family.samples(scrape())
  }

  override async get(): ReturnType<Counter['get']> {
    return { ...(await super.get()), values: [...this.#read()] }
  }
}

class SnapshotGauge extends Gauge {
  readonly #read: () => readonly Sample[]

  constructor(family: NumberFamily, scrape: () => Scrape) {
    super({ ...headOf(family), registers: [] })
    this.#read = () => family.samples(scrape())
  }

  override async get(): ReturnType<Gauge['get']> {
    return { ...(await super.get()), values: [...this.#read()] }
  }
}

class SnapshotHistogram extends Histogram {
  readonly #read: () => readonly HistogramSample[]
  readonly #family: HistogramFamily

  constructor(family: HistogramFamily, scrape: () => Scrape) {
    super({ ...headOf(family), buckets: [...family.bounds], registers: [] })
    this.#family = family
    this.#read = () => family.samples(scrape())
  }

  /** What prom-client makes both its text and `get` of. */
  getForPromString(): Promise<object> {
    const { name, help, bounds } = this.#family
    const values = this.#read().flatMap((sample) => linesOf(name, bounds, sample))
    return Promise.resolve({ name, help, type: 'histogram', values })
  }
}

function headOf({ name, help, labelNames }: Family): { name: string; help: string; labelNames: readonly string[] } {
  return { name, help, labelNames }
}

/** A line of text to be; labels are apart because they are the same for all lines of a sample. */
interface HistogramLine {
  readonly metricName: string
  readonly labels: Labels
  readonly sharedLabels: Labels
  readonly value: number
}

function linesOf(name: string, bounds: readonly number[], { labels, histogram }: HistogramSample): HistogramLine[] {
  let count = 0
  const lines = Array.from(histogram.buckets, (inBucket, i): HistogramLine => {
    count += inBucket
    const le = i < bounds.length ? String(bounds[i]) : '+Inf'
    return { metricName: `${name}_bucket`, labels: { le }, sharedLabels: labels, value: count }
  })
  return [
    ...lines,
    { metricName: `${name}_sum`, labels: {}, sharedLabels: labels, value: histogram.sum },
    { metricName: `${name}_count`, labels: {}, sharedLabels: labels, value: count },
  ]
}

function registerDefaults(registry: Registry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: DEFAULT_LOOP_LOOK_MS })
  for (const { name } of registry.getMetricsAsArray()) {
    if (name.startsWith('nodejs_') && !KEPT_DEFAULTS.test(name)) registry.removeSingleMetric(name)
  }
}
