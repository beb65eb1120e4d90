/**
 * zod's door: every setting with its unit, default, range and reason, in one place.
 *
 * `docs/configuration.md` and `docs/config.schema.json` are generated from here. Unknown keys are errors: a misspelt
 * setting that is silently ignored is found at three in the morning.
 */

import { z } from 'zod'
import { contradictionsIn, type Problem } from './contradictions.ts'
import { canonicalAddress, isDnsName, isLabel, parseUpstream, splitHostPort } from './syntax.ts'

const LISTEN_ADDRESSES_MAX = 16
const ZONES_MAX = 32
const ROUTES_MAX = 64
const UPSTREAMS_MAX = 16
const NAMESPACES_MAX = 256

const integer = (byDefault: number, min: number, max: number, description: string) =>
  z.int().min(min).max(max).default(byDefault).meta({ description })

const zone = z
  .string()
  .refine(isDnsName, 'is no domain name (labels of 1 to 63 octets, 255 in all)')
  .transform((name) => (name === '.' ? name : name.replace(/\.$/, '').toLowerCase()))

const address = z
  .string()
  .refine((text) => canonicalAddress(text) !== undefined, 'is no IP address')
  .transform((text) => canonicalAddress(text)!)

const endpoint = (byDefault: string, description: string) =>
  z
    .string()
    .refine((text) => splitHostPort(text) !== undefined, 'is no ADDRESS:PORT or [V6]:PORT')
    .default(byDefault)
    .meta({ description })

const upstream = z.string().superRefine((text, context) => {
  const parsed = parseUpstream(text)
  if (parsed.kind === 'problem') context.addIssue({ code: 'custom', message: parsed.text })
})

const listen = z.strictObject({
  addresses: z.array(address).min(1).max(LISTEN_ADDRESSES_MAX).prefault(['127.0.0.1']).meta({
    description:
      'IPv4 and IPv6 addresses to answer on, over UDP and TCP. In a cluster: the link-local address and the ClusterIP of kube-dns.',
  }),
  port: integer(
    5353,
    0,
    65_535,
    'Port of every listen address; 53 in the manifests, 0 lets the system choose (for tests).',
  ),
})

const kubernetes = z.strictObject({
  kubeconfig: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ description: 'Path of a kubeconfig; null uses the service account of the Pod.' }),
  namespaces: z
    .array(z.string().refine(isLabel, 'is no namespace name'))
    .max(NAMESPACES_MAX)
    .default([])
    .meta({ description: 'Namespaces to watch; empty means all, with one watch per kind.' }),
  snapshotFile: z.string().min(1).nullable().default(null).meta({
    description: 'File that keeps the last known objects, for a start while the API server is away; null keeps none.',
  }),
})

const clusterset = z.strictObject({
  zones: z
    .array(zone)
    .min(1)
    .max(ZONES_MAX)
    .prefault(['clusterset.local'])
    .meta({ description: 'Zones that are answered from the ServiceImports, each complete.' }),
  ttlSeconds: integer(
    5,
    0,
    3600,
    'TTL of the records of services, and of denials, in seconds. The MCS examples use 4 and 30; a short one lets a Pod see a change soon.',
  ),
  source: z.enum(['kubernetes', 'manifests', 'none']).default('manifests').meta({
    description: 'Where ServiceImports and EndpointSlices come from; with none the zone exists and is empty.',
  }),
  manifests: z
    .strictObject({
      directory: z
        .string()
        .min(1)
        .default('./examples/clusterset')
        .meta({ description: 'Directory of YAML files of ServiceImports and EndpointSlices; changes are seen.' }),
    })
    .prefault({}),
  kubernetes: kubernetes.prefault({}),
  localClusterId: z.string().min(1).max(127).nullable().default(null).meta({
    description: 'Id of the cluster this node is in; only used where an answer may prefer the local cluster.',
  }),
  submariner: z.boolean().default(false).meta({
    description:
      'Answer the per-cluster service addresses that Submariner puts into EndpointSlices when it has no clusterset IP.',
  }),
  searchSuffixShortcut: z.boolean().default(true).meta({
    description:
      'Answer NXDOMAIN here to clusterset names with a search suffix of the cluster domain behind them, which cannot exist; saves up to six forwards per look-up.',
  }),
  clusterDomain: zone
    .prefault('cluster.local')
    .meta({ description: 'Cluster domain of this cluster, for the search-suffix short cut.' }),
})

const route = z.strictObject({
  zones: z
    .array(zone)
    .min(1)
    .max(ZONES_MAX)
    .meta({ description: 'Zones whose names go this way; the longest zone that matches a name wins.' }),
  upstreams: z.array(upstream).min(1).max(UPSTREAMS_MAX).meta({
    description:
      'ADDRESS, ADDRESS:PORT or [V6]:PORT, or the path of a resolv.conf that is re-read when it changes. With transport tls a #name behind the address is the name to verify.',
  }),
  transport: z
    .enum(['udp', 'tcp', 'tls'])
    .default('udp')
    .meta({ description: 'How upstreams are asked. udp turns to TCP for truncated answers.' }),
  randomizeCase: z.boolean().default(false).meta({
    description:
      'Spell names in random case in queries over UDP and demand the same back (0x20), against forged answers.',
  }),
  maxInFlight: integer(
    2000,
    1,
    100_000,
    'Queries under way at the upstreams of this route; more are answered SERVFAIL and counted.',
  ),
})

const cache = z.strictObject({
  maxBytes: integer(
    16_777_216,
    65_536,
    4_294_967_296,
    'Bytes of the packet cache; the record cache has the same budget.',
  ),
  maxTtlSeconds: integer(30, 1, 604_800, 'No answer is kept, or told with a TTL, above this many seconds.'),
  minTtlSeconds: integer(0, 0, 3600, 'Answers are kept at least this many seconds, even with a smaller TTL.'),
  maxNegativeTtlSeconds: integer(
    5,
    0,
    3600,
    'Seconds that "no such name" and "no such data" are kept at most: a new Service should be seen soon.',
  ),
  serveStale: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .meta({ description: 'Answer from expired entries when upstreams do not (RFC 8767).' }),
      maxStaleSeconds: integer(3600, 1, 259_200, 'Seconds beyond its lifetime that an answer may still serve.'),
      clientTimeoutMs: integer(
        1800,
        0,
        4500,
        'Milliseconds that upstreams have before a stale answer is sent; resolvers in Pods give up after 5 s.',
      ),
    })
    .prefault({}),
  prefetch: z
    .strictObject({
      enabled: z
        .boolean()
        .default(true)
        .meta({ description: 'Renew answers that are asked for often shortly before they end.' }),
    })
    .prefault({}),
})

export const configSchema = z.strictObject({
  listen: listen.prefault({}),
  clusterset: clusterset.prefault({}),
  forward: z
    .array(route)
    .max(ROUTES_MAX)
    .prefault([{ zones: ['.'], upstreams: ['/etc/resolv.conf'], transport: 'udp' }])
    .meta({
      description:
        'Where names outside the clusterset zones go. Names that no entry holds are REFUSED: give "." a route.',
    }),
  cache: cache.prefault({}),
  udp: z
    .strictObject({
      threads: integer(1, 1, 64, 'Worker threads for UDP.'),
      batchSlots: integer(
        64,
        1,
        256,
        'Datagrams one receive may bring. More means fewer system calls; each slot costs two payload buffers per worker.',
      ),
      implementation: z.enum(['auto', 'mmsg', 'dgram']).default('auto').meta({
        description: 'How UDP is served: batched system calls, plain sockets, or whichever this machine can.',
      }),
    })
    .prefault({}),
  tcp: z
    .strictObject({
      connectionsMax: integer(1000, 1, 100_000, 'TCP connections of clients in all; more are closed at once.'),
      connectionsPerClientMax: integer(100, 1, 100_000, 'TCP connections of one client address.'),
      idleTimeoutMs: integer(
        10_000,
        100,
        600_000,
        'Milliseconds after which an idle TCP connection is closed (RFC 7766 section 6.2.3).',
      ),
    })
    .prefault({}),
  host: z
    .strictObject({
      interface: z
        .string()
        .regex(/^[^\s/]{1,15}$/, 'is no interface name')
        .nullable()
        .default(null)
        .meta({ description: 'Interface that carries the listen addresses; null: they exist already.' }),
      rules: z
        .enum(['auto', 'nftables', 'iptables', 'none'])
        .default('none')
        .meta({ description: 'Firewall rules that keep local DNS out of connection tracking.' }),
    })
    .prefault({}),
  metrics: z
    .strictObject({ address: endpoint('127.0.0.1:9253', 'Where Prometheus scrapes GET /metrics.') })
    .prefault({}),
  health: z
    .strictObject({ address: endpoint('127.0.0.1:8099', 'Where GET /healthz and GET /readyz are answered.') })
    .prefault({}),
  shutdown: z
    .strictObject({
      drainMs: integer(2000, 0, 60_000, 'Milliseconds that queries under way have to finish when the agent stops.'),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .meta({ description: 'The least severe event that is logged.' }),
      queries: z
        .enum(['none', 'errors', 'all'])
        .default('none')
        .meta({ description: 'Queries that are logged, one line each.' }),
    })
    .prefault({}),
})

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T

/** The whole configuration, read-only; a reload makes a new one. */
export type Config = DeepReadonly<z.output<typeof configSchema>>

/** The configuration in a value read from YAML, or everything that is wrong with it. */
export function parseConfig(
  value: unknown,
): { kind: 'config'; config: Config } | { kind: 'problems'; problems: Problem[] } {
  const result = configSchema.safeParse(value ?? {}, { error: (issue) => textOf(issue) })
  // Told beside the schema's own findings: zod would keep them back until everything else is right.
  const contradictions = contradictionsIn(value)
  if (result.success && contradictions.length === 0) return { kind: 'config', config: result.data }
  const findings = result.success ? [] : result.error.issues.flatMap(problemsOf)
  return { kind: 'problems', problems: [...findings, ...contradictions] }
}

function problemsOf(issue: z.core.$ZodIssue): Problem[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))
  if (issue.code !== 'unrecognized_keys') return [{ path, text: issue.message }]
  return issue.keys.map((key) => ({ path: [...path, key], text: 'is no setting' }))
}

function textOf(issue: z.core.$ZodRawIssue): string | undefined {
  const allowed = (issue as { values?: readonly unknown[] }).values
  if (issue.code === 'invalid_value' && allowed !== undefined) return `must be one of ${allowed.map(String).join(', ')}`
  if (issue.code === 'invalid_type') return `must be of type ${issue.expected}`
  const limit = issue as { minimum?: number; maximum?: number; origin?: string }
  const unit = limit.origin === 'array' ? ' entries' : limit.origin === 'string' ? ' characters' : ''
  if (issue.code === 'too_small') return `must be ${limit.minimum}${unit} or more`
  if (issue.code === 'too_big') return `must be ${limit.maximum}${unit} or less`
  return undefined
}

/** The JSON Schema (draft 2020-12) of the file, for editors. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })
}
