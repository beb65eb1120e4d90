/**
 * A Kubernetes node in miniature: three network namespaces, real veth pairs, a real unbound as kube-dns, and rules that lead the
 * ClusterIP to it as kube-proxy does.
 *
 *    pod 10.77.1.2 ---- 10.77.1.1 node 10.77.2.1 ---- 10.77.2.2 kube-dns
 *                       10.96.0.10 and fd96::10 --DNAT--> kube-dns
 *
 * Agents run in the node's namespace with a bridge for their interface: not every kernel has dummies.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { until } from './agent-process.ts'
import { skipWithout } from './requires.ts'

const run = promisify(execFile)
const MAIN = new URL('../../cmd/nodelocal-mcs/main.ts', import.meta.url).pathname

export const CLUSTER_IP = '10.96.0.10'
export const CLUSTER_IP_V6 = 'fd96::10'
export const LINK_LOCAL = '169.254.20.10'
export const LINK_LOCAL_V6 = 'fd20::10'
export const KUBE_DNS = '10.77.2.2'
export const KUBE_DNS_V6 = 'fd77:2::2'
export const INTERFACE = 'nodelocaldns'

/** Only unbound knows it; the agent forwards it. */
export const CLUSTER_NAME = 'kubernetes.default.svc.cluster.local'
export const CLUSTER_ANSWER = '10.96.0.1'

export type KubeProxy = 'iptables-nft' | 'iptables-legacy' | 'nftables' | 'none'
export type Answerer = 'agent' | 'kube-dns' | 'refused' | 'nobody'

export interface AgentOptions {
  readonly config?: Record<string, object>
  /** What it must have said to be worth something; `ready` when left out. */
  readonly until?: string
  readonly env?: NodeJS.ProcessEnv
  /** A program that runs it with less than it could have. */
  readonly under?: readonly string[]
}

const START_MS = 60_000
const STOP_MS = 30_000

/** Seconds after which nobody is taken to answer. */
const ANSWER_SECONDS = 3

/** Why a suite cannot have a node here; false when it can. */
export function skipWithoutNode(): string | false {
  return skipWithout({
    unbound: 'unbound',
    dig: 'dnsutils',
    dnsperf: 'dnsperf',
    ip: 'iproute2',
    nft: 'nftables',
    iptables: 'iptables',
    conntrack: 'conntrack',
  })
}

export class TestNode {
  readonly directory: string
  readonly #names: Readonly<Record<'node' | 'pod' | 'dns', string>>
  readonly #agents: NodeAgent[] = []
  #unbound: ChildProcess | undefined

  private constructor(directory: string) {
    this.directory = directory
    const id = randomBytes(3).toString('hex')
    this.#names = { node: `nlm-node-${id}`, pod: `nlm-pod-${id}`, dns: `nlm-dns-${id}` }
  }

  static async make(kubeProxy: KubeProxy): Promise<TestNode> {
    const node = new TestNode(await mkdtemp(join(tmpdir(), 'nodelocal-mcs-node-')))
    try {
      await node.#build()
      await node.#startKubeDns()
      await node.#startKubeProxy(kubeProxy)
      // unbound starts, and the links find each other over IPv6.
      for (const address of kubeProxy === 'none' ? [KUBE_DNS, KUBE_DNS_V6] : [CLUSTER_IP, CLUSTER_IP_V6]) {
        await until(
          async () => (await node.answerer(address, 'udp')) === 'kube-dns',
          START_MS,
          () => `kube-dns does not answer at ${address}`,
        )
      }
    } catch (error) {
      await node.destroy()
      throw error
    }
    return node
  }

  /** Runs a program in a namespace to its end. */
  async in(where: 'node' | 'pod' | 'dns', program: string, ...args: string[]): Promise<string> {
    const { stdout } = await run('ip', ['netns', 'exec', this.#names[where], program, ...args], { maxBuffer: 1 << 24 })
    return stdout
  }

  /** Starts a program in a namespace; the caller ends it. */
  spawn(
    where: 'node' | 'pod' | 'dns',
    program: string,
    args: readonly string[],
    env?: NodeJS.ProcessEnv,
  ): ChildProcess {
    return spawn('ip', ['netns', 'exec', this.#names[where], program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: env ?? process.env,
    })
  }

  async shell(where: 'node' | 'pod' | 'dns', script: string): Promise<string> {
    return await this.in(where, 'sh', '-ec', script)
  }

  /** Runs a script in no namespace of the node: what an administrator does to files. */
  async outside(script: string): Promise<void> {
    await run('sh', ['-ec', script])
  }

  get stateDirectory(): string {
    return join(this.directory, 'state')
  }

  /** The configuration of an agent of this node, with changes to its sections. */
  config(changes: Record<string, object> = {}): Record<string, object> {
    const byDefault: Record<string, object> = {
      listen: { addresses: [LINK_LOCAL, CLUSTER_IP, LINK_LOCAL_V6, CLUSTER_IP_V6], port: 53 },
      clusterset: { source: 'none' },
      forward: [{ zones: ['.'], upstreams: [KUBE_DNS], transport: 'udp' }],
      host: {
        interface: INTERFACE,
        interfaceType: 'bridge',
        rules: 'auto',
        repairSeconds: 1,
        stateDirectory: this.stateDirectory,
      },
      shutdown: { handoverMs: 10_000, lingerMs: 300, drainMs: 1_000 },
    }
    const merged = Object.entries(changes).map(([section, value]) => [
      section,
      Array.isArray(value) ? value : { ...byDefault[section], ...value },
    ])
    return { ...byDefault, ...Object.fromEntries(merged) }
  }

  /** Starts an agent and waits until it says that it is ready, or with `until` something else. */
  async agent(options: AgentOptions = {}): Promise<NodeAgent> {
    const path = join(this.directory, `config-${this.#agents.length}.yaml`)
    await writeFile(path, stringify(options.config ?? this.config()))
    const [program, ...args] = [...(options.under ?? []), process.execPath, MAIN, 'run', '--config', path]
    const agent = new NodeAgent(this.spawn('node', program, args, options.env), this)
    this.#agents.push(agent)
    await agent.untilSaid(options.until ?? '"event":"ready"')
    return agent
  }

  async teardown(config = this.config()): Promise<{ code: number; output: string }> {
    const path = join(this.directory, 'teardown.yaml')
    await writeFile(path, stringify(config))
    const child = this.spawn('node', process.execPath, [MAIN, 'teardown', '--config', path])
    let output = ''
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
    const [code] = (await once(child, 'close')) as [number]
    return { code, output }
  }

  /** Who answers a client at an address. */
  async answerer(address: string, transport: 'udp' | 'tcp', where: 'pod' | 'node' = 'pod'): Promise<Answerer> {
    const ask = async (...question: string[]) => {
      const how = transport === 'udp' ? ['+notcp', '+ignore'] : ['+tcp']
      try {
        return await this.in(
          where,
          'dig',
          `@${address}`,
          ...how,
          '+tries=1',
          `+time=${ANSWER_SECONDS}`,
          '+noedns',
          ...question,
        )
      } catch (error) {
        return (error as { stdout: string }).stdout
      }
    }
    const text = await ask('who.self.nodelocal-mcs.invalid', 'TXT')
    if (/ANSWER: 1,/.test(text)) return 'agent'
    if (/refused/i.test(text)) return 'refused'
    if (/status:/.test(text)) return (await ask(CLUSTER_NAME, 'A')).includes(CLUSTER_ANSWER) ? 'kube-dns' : 'nobody'
    return 'nobody'
  }

  /** Entries of connection tracking on the node for port 53 at addresses of the agent. */
  async trackedFlows(): Promise<string[]> {
    const flows = await Promise.all(
      ['ipv4', 'ipv6'].map((family) => this.shell('node', `conntrack -L -f ${family} 2>/dev/null || true`)),
    )
    const ours = [LINK_LOCAL, LINK_LOCAL_V6, CLUSTER_IP, CLUSTER_IP_V6]
    return flows
      .join('\n')
      .split('\n')
      .filter((line) => / (s|d)port=53 /.test(line) && ours.some((address) => line.includes(`=${address} `)))
  }

  /** Links and rules of the node, whoever made them. */
  async leftBehind(): Promise<string> {
    return await this.shell('node', 'ip link; nft list ruleset; iptables-legacy-save; ip6tables-legacy-save')
  }

  /** Until a load has begun to arrive: the counters of the pod's link say so. */
  async underLoad(packetsMin = 1_000): Promise<void> {
    const packets = async () => Number(await this.shell('pod', 'cat /sys/class/net/v1i*/statistics/rx_packets'))
    const before = await packets()
    await until(
      async () => (await packets()) > before + packetsMin,
      START_MS,
      () => 'there is no load',
    )
  }

  /** Whatever became of a test, the next one finds the node without agents. */
  async stopAgents(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.stop()))
  }

  async destroy(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.kill()))
    if (this.#unbound !== undefined && this.#unbound.exitCode === null) {
      this.#unbound.kill('SIGKILL')
      await once(this.#unbound, 'exit')
    }
    for (const name of Object.values(this.#names)) await run('ip', ['netns', 'delete', name]).catch(() => undefined)
    await rm(this.directory, { recursive: true, force: true })
  }

  async #build(): Promise<void> {
    const { node, pod, dns } = this.#names
    const id = node.slice(-6)
    for (const name of [node, pod, dns]) {
      await run('ip', ['netns', 'add', name])
      await run('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
    }
    await this.shell('node', 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding')
    for (const [name, net] of [
      [pod, 1],
      [dns, 2],
    ] as const) {
      const [inner, outer] = [`v${net}i${id}`, `v${net}o${id}`]
      await run('ip', ['link', 'add', outer, 'netns', node, 'type', 'veth', 'peer', 'name', inner, 'netns', name])
      for (const [where, link, host] of [
        [node, outer, 1],
        [name, inner, 2],
      ] as const) {
        await run('ip', ['-n', where, 'address', 'add', `10.77.${net}.${host}/24`, 'dev', link])
        await run('ip', ['-n', where, '-6', 'address', 'add', `fd77:${net}::${host}/64`, 'dev', link, 'nodad'])
        await run('ip', ['-n', where, 'link', 'set', link, 'up'])
      }
      await run('ip', ['-n', name, 'route', 'add', 'default', 'via', `10.77.${net}.1`])
      await run('ip', ['-n', name, '-6', 'route', 'add', 'default', 'via', `fd77:${net}::1`])
    }
    // As every node has one: without it a program on the node is told at once that there is no way, before any rule is asked.
    for (const family of ['-4', '-6'])
      await run('ip', ['-n', node, family, 'route', 'add', 'default', 'dev', `v2o${id}`])
  }

  async #startKubeDns(): Promise<void> {
    const path = join(this.directory, 'unbound.conf')
    await writeFile(
      path,
      `server:
  interface: 0.0.0.0
  interface: ::0
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  username: ""
  pidfile: ""
  num-threads: 1
  access-control: 0.0.0.0/0 allow
  access-control: ::0/0 allow
  local-zone: "cluster.local." static
  local-data: "${CLUSTER_NAME}. 30 IN A ${CLUSTER_ANSWER}"
${Array.from({ length: 200 }, (_, i) => `  local-data: "svc-${i}.default.svc.cluster.local. 30 IN A 10.96.1.${i}"`).join('\n')}
  incoming-num-tcp: 1000
  so-rcvbuf: 4m
remote-control:
  control-enable: no
`,
    )
    this.#unbound = this.spawn('dns', 'unbound', ['-d', '-p', '-c', path])
  }

  async #startKubeProxy(kind: KubeProxy): Promise<void> {
    if (kind === 'none') return
    if (kind === 'nftables') {
      const table = (family: string, cluster: string, pod: string) => `
        table ${family} kube-proxy {
          chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
          chain nat-output { type nat hook output priority -100; jump services; }
          chain services { ${family} daddr ${cluster} meta l4proto { tcp, udp } th dport 53 dnat to ${pod}; }
        }`
      await writeFile(
        join(this.directory, 'kube-proxy.nft'),
        table('ip', CLUSTER_IP, KUBE_DNS) + table('ip6', CLUSTER_IP_V6, KUBE_DNS_V6),
      )
      await this.in('node', 'nft', '-f', join(this.directory, 'kube-proxy.nft'))
      return
    }
    const variant = kind.slice('iptables-'.length)
    for (const [tool, cluster, pod] of [
      [`iptables-${variant}`, CLUSTER_IP, `${KUBE_DNS}:53`],
      [`ip6tables-${variant}`, CLUSTER_IP_V6, `[${KUBE_DNS_V6}]:53`],
    ] as const) {
      await this.shell(
        'node',
        `${tool} -t mangle -N KUBE-PROXY-CANARY
         ${tool} -t nat -N KUBE-SERVICES
         for p in udp tcp; do ${tool} -t nat -A KUBE-SERVICES -d ${cluster} -p $p --dport 53 -j DNAT --to-destination ${pod}; done
         for c in PREROUTING OUTPUT; do ${tool} -t nat -A $c -j KUBE-SERVICES; done`,
      )
    }
  }
}

/** An agent in a test node. */
export class NodeAgent {
  readonly process: ChildProcess
  readonly #node: TestNode
  #output = ''

  constructor(child: ChildProcess, node: TestNode) {
    this.process = child
    this.#node = node
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk: Buffer) => (this.#output += chunk.toString()))
  }

  output(): string {
    return this.#output
  }

  get isOver(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  async untilSaid(text: string, times = 1): Promise<void> {
    const said = () => this.#output.split(text).length - 1
    await until(
      () => said() >= times || this.isOver,
      START_MS,
      () => this.#output,
    )
    if (said() < times) throw new Error(`the agent ended without saying ${text}:\n${this.#output}`)
  }

  async metric(pattern: RegExp): Promise<number> {
    return Number(pattern.exec(await this.page('http://127.0.0.1:9253/metrics'))?.[1] ?? Number.NaN)
  }

  async isReady(): Promise<boolean> {
    const { status } = JSON.parse(await this.page('http://127.0.0.1:8099/readyz')) as { status: string }
    return status === 'ok'
  }

  async page(url: string): Promise<string> {
    const script = `fetch(${JSON.stringify(url)}).then(async (reply) => console.log(await reply.text()))`
    return await this.#node.in('node', process.execPath, '-e', script)
  }

  /** SIGTERM, then the exit code. */
  async stop(): Promise<number | null> {
    if (!this.isOver) {
      this.process.kill('SIGTERM')
      await once(this.process, 'exit', { signal: AbortSignal.timeout(STOP_MS) })
    }
    return this.process.exitCode
  }

  async kill(): Promise<void> {
    if (this.isOver) return
    const gone = once(this.process, 'exit')
    this.process.kill('SIGKILL')
    await gone
  }
}
