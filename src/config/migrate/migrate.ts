/**
 * NodeLocal DNSCache's Corefile and flags to a configuration of ours, and a note for everything that has no counterpart or
 * needs a decision. Pure.
 */

import { isIP } from 'node:net'
import { canonicalAddress, splitHostPort } from '../syntax.ts'
import { type Directive, parseCorefile, type ServerBlock } from './corefile.ts'
import { parseFlags } from './flags.ts'

export interface Migration {
  /** A value for the configuration file; undefined when the Corefile or the flags cannot be read. */
  readonly config: object | undefined
  readonly notes: readonly string[]
  readonly problems: readonly string[]
}

type Transport = 'udp' | 'tcp' | 'tls'
interface Route {
  zones: string[]
  upstreams: string[]
  transport: Transport
  caFile?: string
  maxInFlight?: number
}

/** The addresses of our manifests, where the Corefile has a variable that only a cluster can fill. */
const CLUSTER_DNS = '10.96.0.11'
const LOCAL_DNS = '169.254.20.10'

/** What is done always, or otherwise, without a setting. */
const ALWAYS: Readonly<Record<string, string>> = {
  errors: 'failures are logged and counted',
  reload: 'a changed file is applied at once',
  loop: 'loops are recognised per upstream and do not end the process',
  bufsize: 'responses over UDP are kept below 1232 octets',
  ready: 'GET /readyz on health.address',
  cancel: 'queries end after 4.5 s',
  timeouts: 'see tcp.idleTimeoutMs',
  nsid: 'not told',
}

export function migrate(corefile: string, args: readonly string[]): Migration {
  const { blocks, problems } = parseCorefile(corefile)
  const flags = parseFlags(args)
  const found = [...problems.map((problem) => `Corefile ${problem}`), ...flags.problems]
  if (blocks.length === 0 && found.length === 0) found.push('Corefile: has no server block')
  if (found.length > 0) return { config: undefined, notes: [], problems: found }
  return new Migrator(flags.values).run(blocks)
}

class Migrator {
  readonly #flags: ReadonlyMap<string, string>
  readonly #notes = new Set<string>()
  readonly #addresses = new Set<string>()
  readonly #routes: Route[] = []
  readonly #successSeconds: number[] = []
  readonly #denialSeconds: number[] = []
  #port: number | undefined
  #metrics: string | undefined
  #rotates = false
  #logsQueries = false
  #staleSeconds: number | undefined

  constructor(flags: ReadonlyMap<string, string>) {
    this.#flags = flags
  }

  run(blocks: readonly ServerBlock[]): Migration {
    const localIps = (this.#flags.get('localip') ?? '')
      .split(',')
      .map((text) => text.trim())
      .filter((text) => text !== '')
    for (const text of localIps) this.#listenOn(text, '-localip')
    for (const block of blocks) this.#block(block)
    if (this.#addresses.size === 0) {
      this.#addresses.add(LOCAL_DNS)
      this.#note(`no listen address is named; ${LOCAL_DNS} stands in listen.addresses`)
    }
    const host = this.#host()
    if (!this.#routes.some(({ zones }) => zones.includes('.')))
      this.#note('no block for ".": other names will be REFUSED')
    const config = {
      listen: {
        addresses: [...this.#addresses],
        port: this.#port ?? this.#number('dns.port') ?? this.#number('p') ?? 53,
      },
      clusterset: { source: 'kubernetes' },
      forward: this.#routes,
      ...(this.#flags.has('kubednscm') ? { kubeDnsConfigDirectory: this.#flags.get('kubednscm') } : {}),
      ...this.#cache(),
      host,
      metrics: { address: this.#metrics ?? this.#listener('prometheus-listen-address', 9253) ?? '0.0.0.0:9253' },
      health: { address: '127.0.0.1:8099', readyFile: '/run/ready/ready' },
      ...(this.#logsQueries ? { log: { queries: 'all' } } : {}),
    }
    return { config, notes: [...this.#notes], problems: [] }
  }

  #block({ line, keys, directives }: ServerBlock): void {
    const zones: string[] = []
    for (const key of keys) {
      const match = /^(?:([a-z]+):\/\/)?(.*?)(?::(\d+))?\.?$/.exec(key)!
      if (match[1] !== undefined && match[1] !== 'dns')
        this.#note(`line ${line}: ${match[1]}:// is not served; ${key} becomes a plain zone`)
      const zone = match[2] === '__PILLAR__DNS__DOMAIN__' ? 'cluster.local' : match[2]!
      if (zone !== match[2])
        this.#note('__PILLAR__DNS__DOMAIN__: cluster.local is taken; put your cluster domain there')
      zones.push(...reverseZone(zone === '' ? '.' : zone.toLowerCase()))
      const port = match[3] === undefined ? undefined : Number(match[3])
      if (port !== undefined && this.#port !== undefined && port !== this.#port)
        this.#note(`line ${line}: port ${port}: there is one port for all zones, ${this.#port}`)
      this.#port ??= port
    }
    let isForwarded = false
    for (const directive of directives) {
      if (directive.name === 'forward' || directive.name === 'proxy') {
        this.#forward(zones, directive)
        isForwarded = true
      } else this.#directive(directive)
    }
    if (!isForwarded) this.#note(`line ${line}: ${keys.join(' ')} forwards nowhere; it gets no route`)
  }

  #directive({ line, name, args, options }: Directive): void {
    switch (name) {
      case 'bind':
        for (const text of args) this.#listenOn(text, `line ${line}: bind`)
        return
      case 'cache':
        this.#cacheOf(args, options, line)
        return
      case 'prometheus':
        this.#metrics = listenerText(args[0] ?? ':9153') ?? this.#metrics
        return
      case 'health': {
        const text = listenerText(args[0] ?? ':8080')
        // Where our interface will be, nothing can listen before it is there; the kubelet asks on loopback.
        if (text !== undefined)
          this.#note(
            `line ${line}: health ${args[0] ?? ''}: the probes ask 127.0.0.1:8099, as our manifests do; liveness asks nothing of upstreams`,
          )
        return
      }
      case 'loadbalance':
        this.#rotates = true
        return
      case 'log':
        this.#logsQueries = true
        this.#note(`line ${line}: log becomes log.queries: all; classes and formats have no counterpart`)
        return
      default:
        if (ALWAYS[name] === undefined) this.#note(`line ${line}: ${name} has no counterpart`)
    }
  }

  #forward(zones: readonly string[], { line, args, options }: Directive): void {
    const [from, ...targets] = args
    if (from !== '.' && from !== undefined)
      this.#note(`line ${line}: forward ${from}: the zones of the block are taken instead`)
    const upstreams: string[] = []
    let transport: Transport = 'udp'
    let serverName = ''
    let caFile: string | undefined
    let maxInFlight: number | undefined
    for (const { name, args, line } of options) {
      if (name === 'force_tcp') transport = 'tcp'
      else if (name === 'prefer_udp') transport = 'udp'
      else if (name === 'tls_servername') serverName = args[0] ?? ''
      else if (name === 'tls') {
        // One or three arguments end with the authorities' file; two or three begin with our own certificate and its key.
        if (args.length % 2 === 1) caFile = args.at(-1)
        if (args.length > 1) this.#note(`line ${line}: tls: certificates of the client have no counterpart`)
      } else if (name === 'max_concurrent') maxInFlight = Number(args[0])
      else if (name === 'policy' && args[0] === 'sequential')
        this.#note(`line ${line}: policy sequential: healthy upstreams are asked by their round-trip time`)
      else if (!['expire', 'max_fails', 'health_check', 'policy'].includes(name))
        this.#note(`line ${line}: forward option ${name} has no counterpart`)
    }
    for (const target of targets) {
      const text = target.replace(/^dns:\/\//, '')
      if (text === '__PILLAR__CLUSTER__DNS__') {
        upstreams.push(CLUSTER_DNS)
        this.#note(
          `__PILLAR__CLUSTER__DNS__: ${CLUSTER_DNS} is taken, as in our Service kube-dns-upstream; put your address there`,
        )
      } else if (text === '__PILLAR__UPSTREAM__SERVERS__') upstreams.push('/etc/resolv.conf')
      else if (text.startsWith('tls://')) {
        transport = 'tls'
        upstreams.push(text.slice('tls://'.length))
      } else if (/^[a-z0-9]+:\/\//.test(text)) this.#note(`line ${line}: upstream ${text} has no counterpart`)
      else if (text.startsWith('/') || isIP(text) !== 0 || splitHostPort(text) !== undefined) upstreams.push(text)
      else this.#note(`line ${line}: upstream ${text} is no address; it is left out`)
    }
    if (upstreams.length === 0) {
      this.#note(`line ${line}: no upstream is left for ${zones.join(', ')}; it gets no route`)
      return
    }
    const named =
      transport === 'tls' && serverName !== '' ? upstreams.map((text) => `${text}#${serverName}`) : upstreams
    const route: Route = { zones: [...zones], upstreams: named, transport }
    if (transport === 'tls' && caFile !== undefined) route.caFile = caFile
    if (maxInFlight !== undefined && maxInFlight > 0) route.maxInFlight = Math.min(100_000, maxInFlight)
    const same = this.#routes.find(
      (other) => JSON.stringify({ ...other, zones: [] }) === JSON.stringify({ ...route, zones: [] }),
    )
    const taken = new Set(this.#routes.flatMap(({ zones }) => zones))
    route.zones = route.zones.filter((zone) => {
      if (taken.has(zone)) this.#note(`line ${line}: ${zone} has a route already`)
      return !taken.has(zone)
    })
    if (same !== undefined) same.zones.push(...route.zones)
    else if (route.zones.length > 0) this.#routes.push(route)
  }

  #cacheOf(args: readonly string[], options: Directive['options'], line: number): void {
    const all = Number(args[0])
    if (args[0] !== undefined && Number.isInteger(all)) {
      this.#successSeconds.push(all)
      this.#denialSeconds.push(all)
    }
    for (const { name, args, line } of options) {
      const seconds = Number(args[1])
      if (name === 'success' && seconds > 0) this.#successSeconds.push(seconds)
      else if (name === 'denial' && seconds > 0) this.#denialSeconds.push(seconds)
      else if (name === 'serve_stale') this.#staleSeconds = secondsOf(args[0] ?? '1h') ?? 3600
      else if (!['success', 'denial', 'prefetch', 'servfail'].includes(name))
        this.#note(`line ${line}: cache option ${name} has no counterpart`)
    }
    if (args.length > 1) this.#note(`line ${line}: cache for some zones only: there is one cache for all`)
  }

  #cache(): object {
    const success = new Set(this.#successSeconds)
    const denial = new Set(this.#denialSeconds)
    if (success.size > 1)
      this.#note(
        `cache: there is one cache; the largest time to live of the blocks is taken, ${Math.max(...success)} s`,
      )
    if (denial.size > 1)
      this.#note(`cache: for denials the smallest time of the blocks is taken, ${Math.min(...denial)} s`)
    if (this.#staleSeconds === undefined)
      this.#note(
        'cache: stale answers are served when upstreams are silent; cache.serveStale.enabled: false turns that off',
      )
    const cache = {
      ...(success.size > 0 ? { maxTtlSeconds: Math.max(...success) } : {}),
      ...(denial.size > 0 ? { maxNegativeTtlSeconds: Math.min(3600, ...denial) } : {}),
      ...(this.#staleSeconds === undefined
        ? {}
        : { serveStale: { maxStaleSeconds: Math.min(259_200, this.#staleSeconds) } }),
      ...(this.#rotates ? { rotate: true } : {}),
    }
    return Object.keys(cache).length === 0 ? {} : { cache }
  }

  #host(): object {
    const hasInterface = this.#flags.get('setupinterface') !== 'false'
    const hasRules = this.#flags.get('setupiptables') !== 'false'
    const interval = secondsOf(this.#flags.get('syncinterval') ?? '')
    for (const name of ['basecorefile', 'corefile', 'conf', 'pidfile', 'reloadwithsignal', 'quiet'])
      if (this.#flags.has(name)) this.#note(`-${name} is not needed`)
    if (this.#flags.has('upstreamsvc'))
      this.#note('-upstreamsvc: upstreams are addresses; put the ClusterIP of that Service into forward')
    if (this.#flags.has('health-port')) this.#note('-health-port: no rules are needed for it; see health.address')
    if (this.#flags.has('metrics-listen-address'))
      this.#note('-metrics-listen-address: the setup errors stand on metrics.address with everything else')
    if (this.#flags.get('skipteardown') === 'true')
      this.#note(
        '-skipteardown: with host.stateDirectory the last agent of a node removes interface and rules, others leave them',
      )
    return {
      interface: hasInterface ? (this.#flags.get('interfacename') ?? 'nodelocaldns') : null,
      rules: hasRules ? 'auto' : 'none',
      ...(interval === undefined || interval < 1 ? {} : { repairSeconds: Math.min(3600, interval) }),
      stateDirectory: '/run/nodelocal-mcs',
    }
  }

  #listenOn(text: string, where: string): void {
    if (text === '__PILLAR__LOCAL__DNS__') this.#addresses.add(LOCAL_DNS)
    else if (text === '__PILLAR__DNS__SERVER__') {
      this.#note(
        '__PILLAR__DNS__SERVER__: add the ClusterIP of kube-dns to listen.addresses where kube-proxy uses iptables or nftables',
      )
    } else {
      const address = canonicalAddress(text)
      if (address === undefined) this.#note(`${where} ${text}: is no address, left out`)
      else this.#addresses.add(address)
    }
  }

  #listener(flag: string, port: number): string | undefined {
    const text = this.#flags.get(flag)
    return text === undefined ? undefined : listenerText(text.includes(':') ? text : `${text}:${port}`)
  }

  #number(flag: string): number | undefined {
    const number = Number(this.#flags.get(flag))
    return Number.isInteger(number) && number > 0 ? number : undefined
  }

  #note(text: string): void {
    this.#notes.add(text)
  }
}

/** `10.0.0.0/24` is CoreDNS's way to write a reverse zone; on octet boundaries it has a name. */
function reverseZone(zone: string): string[] {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(8|16|24)$/.exec(zone)
  if (match === null) return [zone]
  const octets = match.slice(1, 1 + Number(match[5]) / 8)
  return [`${octets.toReversed().join('.')}.in-addr.arpa`]
}

/** `:9253`, `10.0.0.1:9253`, `localhost:9253` as ADDRESS:PORT; undefined when it is none. */
function listenerText(text: string): string | undefined {
  const full = text.startsWith(':') ? `0.0.0.0${text}` : text.replace(/^localhost:/, '127.0.0.1:')
  return splitHostPort(full) === undefined ? undefined : full
}

/** A number of seconds or a duration of Go: `60`, `60s`, `1h30m`. */
function secondsOf(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text)
  const match = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text)
  if (text === '' || match === null) return undefined
  return Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0)
}
