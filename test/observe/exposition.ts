/** Reads Prometheus text (exposition format 0.0.4) far enough for tests. */

export interface ReadSample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface ReadFamily {
  readonly type: string
  /** By name: the family's own, or with `_bucket`, `_sum` and `_count`. */
  readonly samples: ReadonlyMap<string, readonly ReadSample[]>
}

export function readExposition(text: string): ReadonlyMap<string, ReadFamily> {
  const families = new Map<string, { type: string; samples: Map<string, ReadSample[]> }>()
  let current = ''
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line)
    if (type !== null) {
      current = type[1]!
      families.set(current, { type: type[2]!, samples: new Map() })
    } else if (line !== '' && !line.startsWith('#')) {
      const sample = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/.exec(line)
      if (sample === null) throw new Error(`not a sample: ${line}`)
      const [, name, labels, value] = sample
      const { samples } = families.get(current)!
      const read = { labels: readLabels(labels ?? ''), value: Number(value) }
      samples.set(name!, [...(samples.get(name!) ?? []), read])
    }
  }
  return families
}

function readLabels(text: string): Record<string, string> {
  return Object.fromEntries(
    Array.from(text.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g), ([, name, value]) => [name!, value!]),
  )
}
