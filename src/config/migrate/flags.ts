/** The flags of NodeLocal DNSCache, as Go's flag package reads them. Pure. */

export interface Flags {
  readonly values: ReadonlyMap<string, string>
  readonly problems: readonly string[]
}

const BOOLEANS = new Set(['setupinterface', 'setupiptables', 'skipteardown', 'reloadwithsignal', 'quiet'])
const VALUES = new Set([
  'localip',
  'interfacename',
  'syncinterval',
  'metrics-listen-address',
  'prometheus-listen-address',
  'basecorefile',
  'corefile',
  'kubednscm',
  'upstreamsvc',
  'health-port',
  'conf',
  'dns.port',
  'p',
  'pidfile',
])

/** `-name value`, `-name=value`, with one dash or two. */
export function parseFlags(args: readonly string[]): Flags {
  const values = new Map<string, string>()
  const problems: string[] = []
  for (let i = 0; i < args.length; i++) {
    const match = /^--?([a-z.-]+)(?:=(.*))?$/s.exec(args[i]!)
    const name = match?.[1]
    if (name === undefined) problems.push(`${args[i]} is no flag`)
    else if (BOOLEANS.has(name)) values.set(name, match?.[2] ?? 'true')
    else if (!VALUES.has(name)) problems.push(`NodeLocal DNSCache has no flag -${name}`)
    else if (match?.[2] !== undefined) values.set(name, match[2])
    else if (i + 1 < args.length) values.set(name, args[++i]!)
    else problems.push(`-${name} needs a value`)
  }
  return { values, problems }
}
