/**
 * zod's door: every setting with its unit, default, range and reason, in one place.
 *
 * `docs/configuration.md` and `docs/config.schema.json` are generated from here. Unknown keys are errors: a misspelt
 * setting that is silently ignored is found at three in the morning.
 */

// The namespace, not its member `z`, which would bring the texts of forty languages.
import * as z from 'zod'
import { contradictionsIn, type Problem } from './contradictions.ts'
import { nearest } from './did-you-mean.ts'
import { canonicalAddress, isDnsName, isLabel, parseUpstream, problemOfAddress, splitHostPort } from './syntax.ts'

const LISTEN_ADDRESSES_MAX = 16
const ZONES_MAX = 32
const ROUTES_MAX = 64
const UPSTREAMS_MAX = 16
const NAMESPACES_MAX = 256

/** Ends the description of a setting that no part reads: an operator must not rely on it. Leaves with the part that does. */

const integer = (byDefault: number, min: number, max: number, description: string) =>
  z.int().min(min).max(max).default(byDefault).meta({ description })

const zone = z
  .string()
  .refine(isDnsName, 'is no domain name (labels of 1 to 63 octets, 255 in all)')
  .refine((name) => !/^\*(\.|$)/.test(name), 'has a *: a zone holds all names below it, leave the * out')
  .transform((name) => (name === '.' ? name : name.replace(/\.$/, '').toLowerCase()))

const address = z
  .string()
  .superRefine((text, context) => {
    const canonical = canonicalAddress(text)
    const problem = canonical === undefined ? 'is no IP address' : problemOfAddress(canonical)
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
  })
  .transform((text) => canonicalAddress(text) ?? text)

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
    'Port of every listen address, UDP and TCP; 53 in the manifests, above 1023 by default so that no privilege is needed to try. 0 lets the system choose, for tests.',
  ),
})

const kubernetes = z.strictObject({
  kubeconfig: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ description: 'Path of a kubeconfig; null uses the service account of the Pod.' }),
  namespaces: z.array(z.string().refine(isLabel, 'is no namespace name')).max(NAMESPACES_MAX).default([]).meta({
    description:
      'Namespaces to watch; empty means all, with one watch per kind. Naming some needs only Roles, and costs a watch per kind for each.',
  }),
  snapshotFile: z.string().min(1).nullable().default(null).meta({
    description: `File that keeps the last known objects, for a start while the API server is away; null keeps none. Written seldom and as a whole; until the first sync the zone answers from it.`,
  }),
})

const clusterset = z.strictObject({
  zones: z
    .array(zone.refine((name) => name !== '.', 'is the root: no name would be left to forward'))
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
    description:
      'Where ServiceImports and EndpointSlices come from: the Kubernetes API, or YAML files to try the agent without a cluster. With none the zone exists and is empty.',
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
    description:
      'Id of the cluster this node is in, one label or two joined by a dot; only used where an answer may prefer the local cluster.',
  }),
  submariner: z.boolean().default(false).meta({
    description:
      'Answer the per-cluster service addresses that Submariner puts into EndpointSlices when it has no clusterset IP. Off, because the MCS specification knows no such answers.',
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
  transport: z.enum(['udp', 'tcp', 'tls']).default('udp').meta({
    description:
      'How upstreams are asked. udp turns to TCP for truncated answers; tcp spares connection tracking and loss towards kube-dns; tls is DNS over TLS on port 853.',
  }),
  caFile: z.string().min(1).nullable().default(null).meta({
    description:
      'Path of a PEM file with the certificates of those who may vouch for upstreams over tls, re-read when it changes; null: the public ones that Node.js has.',
  }),
  randomizeCase: z.boolean().default(false).meta({
    description:
      'Spell names in random case in queries over UDP and demand the same back (0x20), against forged answers. Off, because some servers do not keep the case.',
  }),
  maxInFlight: integer(
    2000,
    1,
    100_000,
    'Queries under way at the upstreams of this route; more are answered SERVFAIL and counted, so that a silent upstream cannot fill the memory.',
  ),
})

const cache = z.strictObject({
  maxBytes: integer(
    16_777_216,
    65_536,
    4_294_967_296,
    'Bytes of the packet cache; the record cache has the same budget.',
  ),
  maxTtlSeconds: integer(
    30,
    1,
    604_800,
    'No answer is kept, or told with a TTL, above this many seconds: the bound on how long a node may disagree with its upstream.',
  ),
  minTtlSeconds: integer(
    0,
    0,
    3600,
    'Answers are kept at least this many seconds, even with a smaller TTL; 0 believes the upstream.',
  ),
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
      maxStaleSeconds: integer(
        3600,
        1,
        259_200,
        'Seconds beyond its lifetime that an answer may still serve; RFC 8767 advises one to three days at most.',
      ),
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
      enabled: z.boolean().default(true).meta({
        description: 'Renew answers that are asked for often shortly before they end, so that nobody waits for them.',
      }),
    })
    .prefault({}),
  rotate: z.boolean().default(false).meta({
    description: `Rotate the A and AAAA records of upstream answers from response to response. Off: they keep the order of the upstream, which may mean something.`,
  }),
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
  kubeDnsConfigDirectory: z.string().min(1).nullable().default(null).meta({
    description: `Directory where the ConfigMap of kube-dns is mounted; its stubDomains and upstreamNameservers become routes, which win over forward entries for the same zone. A change is seen within seconds. null: there is none.`,
  }),
  cache: cache.prefault({}),
  udp: z
    .strictObject({
      threads: integer(1, 1, 64, 'Worker threads for UDP; they share the port. Each costs a thread and about 12 MiB.'),
      batchSlots: integer(
        64,
        1,
        256,
        'Datagrams one receive may bring. More means fewer system calls; each slot costs 5.5 KiB per worker.',
      ),
      gatherMicros: integer(
        200,
        0,
        1000,
        'Microseconds that a worker pauses at most so that several queries share one wake-up: at rates alone at which two or more come meanwhile (10,000 a second for 200), below every query is answered at once. 0: never.',
      ),
      implementation: z.enum(['auto', 'mmsg', 'dgram']).default('auto').meta({
        description: `How UDP is served: batched system calls, plain sockets, or whichever this machine can. auto takes batched system calls on Linux when the native library loads, and logs which and why; with mmsg the agent does not start without them.`,
      }),
    })
    .prefault({}),
  tcp: z
    .strictObject({
      connectionsMax: integer(
        1000,
        1,
        100_000,
        'TCP connections of clients at all listen addresses together; more are closed at once, which bounds memory and descriptors.',
      ),
      connectionsPerClientMax: integer(
        100,
        1,
        100_000,
        'TCP connections of one client address, to whichever of ours, so that one Pod cannot take them all; Pods in the host network share one address.',
      ),
      maxHeldBytes: integer(
        33_554_432,
        1_048_576,
        1_073_741_824,
        'Bytes held for all TCP clients together, of responses that they have not read and of queries that are not whole; above it the connection with most of them is cut off, which bounds memory.',
      ),
      idleTimeoutMs: integer(
        10_000,
        100,
        600_000,
        'Milliseconds after which an idle TCP connection is closed (RFC 7766 section 6.2.3); told to clients by edns-tcp-keepalive.',
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
        .meta({
          description:
            'Interface that carries the listen addresses: made, addressed, repaired and removed by us, which needs NET_ADMIN; null: the addresses exist already.',
        }),
      interfaceType: z
        .string()
        .regex(/^[a-z0-9_-]{1,32}$/, 'is no link type')
        .default('dummy')
        .meta({ description: 'Link type of the interface; bridge where the kernel has no dummy.' }),
      rules: z.enum(['auto', 'nftables', 'iptables', 'none']).default('none').meta({
        description:
          'Firewall rules that keep local DNS out of connection tracking, and by that lead the ClusterIP of kube-dns to us. auto takes what kube-proxy uses here; none for IPVS, Cilium and sidecars.',
      }),
      notrack: z.boolean().default(true).meta({
        description:
          'Exempt local DNS from connection tracking. false where network policies must see it; a ClusterIP is then not led to us, so listen on a link-local address.',
      }),
      fallback: z.array(address).max(2).prefault([]).meta({
        description:
          'ClusterIPs of kube-dns, one of each IP version, that clients of the other listen addresses are led to while no agent takes their queries: after a stop, a crash, and on a node whose agent does not start. Needs nft, and rules; stays on the node until teardown. Empty: those clients are refused, or hear nothing.',
      }),
      repairSeconds: integer(
        10,
        1,
        3600,
        'Seconds between two looks at interface and rules; what is missing is put back.',
      ),
      stateDirectory: z.string().min(1).max(80).nullable().default(null).meta({
        description:
          'Directory of the host, the same for every agent on it, where agents see each other: with it two may share address and port, and the old one leaves to the new one what it still uses. null: this agent is alone.',
      }),
    })
    .prefault({}),
  metrics: z
    .strictObject({ address: endpoint('127.0.0.1:9253', 'Where Prometheus scrapes GET /metrics.') })
    .prefault({}),
  health: z
    .strictObject({
      address: endpoint('127.0.0.1:8099', 'Where GET /healthz and GET /readyz are answered.'),
      readyFile: z.string().min(1).nullable().default(null).meta({
        description:
          'File that exists while this agent is ready, for an exec probe: two agents on one node share the health address, and this tells them apart. null: none is written.',
      }),
    })
    .prefault({}),
  watchdog: z
    .strictObject({
      enabled: z.boolean().default(true).meta({
        description:
          'Ask ourselves through every listen address, and end the process (exit code 1) when nobody answers.',
      }),
      intervalMs: integer(2000, 100, 60_000, 'Milliseconds between two looks, and that an answer may take.'),
      deadlineMs: integer(
        15_000,
        500,
        600_000,
        'Milliseconds without any answer from one address after which the process ends; time in which the whole process was starved of CPU does not count.',
      ),
    })
    .prefault({}),
  shutdown: z
    .strictObject({
      handoverMs: integer(
        10_000,
        0,
        600_000,
        'Milliseconds that another agent on this node, which is starting, has to get ready before we leave without it.',
      ),
      lingerMs: integer(
        0,
        0,
        60_000,
        'Milliseconds to go on answering everything after we said that we are not ready and took the rules away; new flows find the other way meanwhile.',
      ),
      drainMs: integer(
        2000,
        0,
        60_000,
        'Milliseconds that queries under way have to finish after that; handover, linger and drain together must stay below the grace period of the Pod.',
      ),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .meta({ description: 'The least severe event that is logged; changes without a restart.' }),
      queries: z
        .enum(['none', 'errors', 'all'])
        .default('none')
        .meta({ description: 'Queries that are logged, one line each; all is for a short look, not for good.' }),
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
  const known = settingsAt(path)
  return issue.keys.map((key) => {
    const meant = nearest(key, known)
    return { path: [...path, key], text: `is no setting${meant === undefined ? '' : `; did you mean ${meant}?`}` }
  })
}

/** The names of the settings that may stand at a path. */
function settingsAt(path: readonly (string | number)[]): string[] {
  let here: JsonSchema | undefined = configJsonSchema()
  for (const step of path) here = typeof step === 'number' ? here?.items : here?.properties?.[step]
  return Object.keys(here?.properties ?? {})
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

/** The part of JSON Schema that this configuration needs. */
export interface JsonSchema {
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly string[]
  readonly anyOf?: readonly JsonSchema[]
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
}

/** The JSON Schema (draft 2020-12) of the file, for editors. */
export function configJsonSchema(): JsonSchema {
  return z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
}
