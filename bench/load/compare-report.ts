/** What the comparison found, as Markdown: every figure, and the ratios that the promises are about. */

export interface ServerFigures {
  readonly server: string
  readonly answeredPerSecond: number
  /** CPU of one query, in microseconds. */
  readonly cpuMicros: number
  /** p50, p99 and p99.9 in microseconds; undefined flat out. */
  readonly percentiles: readonly number[] | undefined
  readonly lost: number
}

/** All servers under one load; ours is the first. */
export interface Row {
  readonly kind: string
  readonly clients: string
  /** `''`: no query gets as far as the upstream. */
  readonly upstream: string
  readonly rate: number
  readonly servers: readonly ServerFigures[]
}

export interface Memory {
  readonly server: string
  readonly upstream: string
  readonly atRestMiB: number
  readonly afterMiB: number
  readonly mostMiB: number
}

export const OURS = 'nodelocal-mcs'

/** `misses, clients over udp, upstream over tcp, 2000/s` */
export function loadName({ kind, clients, upstream, rate }: Row): string {
  const way = upstream === '' ? '' : `, upstream over ${upstream}`
  return `${kind}, clients over ${clients}${way}, ${rate === 0 ? 'flat out' : `${rate}/s`}`
}

/** One line for each load: our CPU, and our p99 where there is one, to each peer's. Below 1 we need less. */
export function ratioLines(rows: readonly Row[]): string[] {
  return rows.map((row) => {
    const ours = row.servers.find(({ server }) => server === OURS)
    if (ours === undefined) return `${loadName(row)}: we were not asked`
    const peers = row.servers.filter((figures) => figures !== ours)
    const cpu = peers.map((peer) => `${(ours.cpuMicros / peer.cpuMicros).toFixed(2)} of ${peer.server}`).join(', ')
    const ourP99 = ours.percentiles?.[1]
    if (ourP99 === undefined) return `${loadName(row)}: CPU ${cpu}`
    const p99 = peers.map((peer) => `${(ourP99 / peer.percentiles![1]!).toFixed(2)} of ${peer.server}`).join(', ')
    return `${loadName(row)}: CPU ${cpu}; p99 ${p99}`
  })
}

export function resultTable(rows: readonly Row[]): string {
  const head = ['kind', 'clients', 'upstream', 'rate', 'server', 'answered/s', 'CPU µs/query', 'p50 µs', 'p99 µs']
  const lines = rows.flatMap((row) =>
    row.servers.map((figures) => [
      row.kind,
      row.clients,
      row.upstream || '-',
      row.rate === 0 ? 'flat out' : row.rate,
      figures.server,
      figures.answeredPerSecond.toFixed(0),
      figures.cpuMicros.toFixed(1),
      ...(figures.percentiles?.map((micros) => micros.toFixed(0)) ?? ['-', '-', '-']),
      figures.lost,
    ]),
  )
  return tableOf([...head, 'p99.9 µs', 'lost'], lines)
}

export function memoryTable(memories: readonly Memory[]): string {
  return tableOf(
    ['server', 'upstream', 'at rest', 'after', 'at most'],
    memories.map(({ server, upstream, atRestMiB, afterMiB, mostMiB }) => [
      server,
      upstream,
      ...[atRestMiB, afterMiB, mostMiB].map((mebibytes) => mebibytes.toFixed(0)),
    ]),
  )
}

function tableOf(head: readonly string[], lines: readonly (readonly (string | number)[])[]): string {
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
