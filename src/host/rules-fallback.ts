/**
 * Leads clients of addresses that are ours alone to kube-dns while nobody of us takes what they ask.
 *
 * kube-proxy leads a ClusterIP to kube-dns when we do not; a link-local address it does not know. So this table makes a ClusterIP
 * of such an address before connection tracking and kube-proxy see the packet, and the address of it again behind them. What our
 * rules lead to us is untracked and passes by: they are the switch here too. The table belongs to no process. It stays after a stop and
 * after a crash, until `teardown`.
 *
 *    query      raw: ours untracked ->  here: 169.254.20.10 -> 10.96.0.10, remembered  -> kube-proxy: 10.96.0.10 -> a Pod
 *    response   kube-proxy: a Pod -> 10.96.0.10  ->  here: 10.96.0.10 -> 169.254.20.10, if remembered for this client
 */

import type { Execute } from './execute.ts'
import { addressesOfFamily, FAMILIES, familyOfAddress } from './rules.ts'
import { deleteTables } from './rules-nftables.ts'
import { type Ensured, problemOf, type SetupProblem } from './setup-problem.ts'

export interface FallbackOptions {
  /** Those that are ours alone. */
  readonly addresses: readonly string[]
  /** The ClusterIPs of kube-dns, one of a family. */
  readonly clusterIps: readonly string[]
  readonly port: number
}

/** No instance has it for itself. */
const FALLBACK_TABLE = 'inet nodelocal_dns_fallback'

/** Clients' ports that are remembered, and for how long after their last query: room for 8,700 new ones a second. */
const REMEMBERED_MAX = 262_144
const REMEMBERED_SECONDS = 30

/** Behind `raw` (-300), where our rules decide, and before connection tracking (-200). */
const BEFORE_TRACKING = -299
/** Before the masquerading of others (100). */
const SOURCE = 99
/** Behind all NAT. */
const BEHIND_NAT = 300

export class Fallback {
  readonly #execute: Execute
  readonly #script: string
  /** The table, without what it remembers, as the kernel told it after it was written. */
  #asWritten: string | undefined

  constructor(options: FallbackOptions, execute: Execute) {
    this.#execute = execute
    this.#script = scriptOf(options)
  }

  /** Idempotent. Agents that say the same do not disturb each other, nor what the table remembers. */
  async ensure(): Promise<Ensured> {
    const before = await this.#look()
    if (before.kind === 'problem') return before
    if (before.text !== undefined && before.text === this.#asWritten) return { kind: 'present', changes: [] }
    const problem = await this.#write(['add'])
    // One of another version may have other hooks; the kernel changes none of a chain that is there.
    if (problem !== undefined && (await this.#write(['add', 'delete', 'add'])) !== undefined) {
      return { kind: 'problem', problem }
    }
    const after = await this.#look()
    if (after.kind === 'problem') return after
    this.#asWritten = after.text
    // Another agent, or this one before a crash, wrote the same.
    return { kind: 'present', changes: after.text === before.text ? [] : [`table ${FALLBACK_TABLE}`] }
  }

  async #write(verbs: readonly ('add' | 'delete')[]): Promise<SetupProblem | undefined> {
    const input = `${verbs.map((verb) => `${verb} table ${FALLBACK_TABLE}\n`).join('')}${this.#script}`
    const written = await this.#execute('nft', ['--file', '-'], { input })
    return written.kind === 'done' ? undefined : problemOf('nftables', `write table ${FALLBACK_TABLE}`, written)
  }

  async #look(): Promise<{ kind: 'table'; text: string | undefined } | { kind: 'problem'; problem: SetupProblem }> {
    const listed = await this.#execute('nft', ['--terse', 'list', 'table', ...FALLBACK_TABLE.split(' ')])
    if (listed.kind === 'done') return { kind: 'table', text: listed.stdout }
    if (listed.kind === 'failed' && /No such file/.test(listed.text)) return { kind: 'table', text: undefined }
    return { kind: 'problem', problem: problemOf('nftables', `list table ${FALLBACK_TABLE}`, listed) }
  }
}

/** Idempotent; says what was there. */
export async function removeFallback(
  execute: Execute,
): Promise<{ removed: readonly string[]; problem: SetupProblem | undefined }> {
  return await deleteTables([FALLBACK_TABLE], execute)
}

const SAYS = { ipv4: 'ip', ipv6: 'ip6' } as const
const TYPES = { ipv4: 'ipv4_addr', ipv6: 'ipv6_addr' } as const
const LOOPBACK = { ipv4: '127.0.0.0/8', ipv6: '::1' } as const

/** Chains are emptied and filled in one transaction; what is remembered stays, a set for each of our addresses. */
function scriptOf({ addresses, clusterIps, port }: FallbackOptions): string {
  const led = FAMILIES.flatMap((family) => {
    const clusterIp = clusterIps.find((address) => familyOfAddress(address) === family)
    if (clusterIp === undefined) return []
    return addressesOfFamily(addresses, family).map((ours, place) => ({
      family,
      ip: SAYS[family],
      clients: `clients_${family}_${place}`,
      ours,
      clusterIp,
    }))
  })
  const ports = (which: 'dport' | 'sport'): string => `meta l4proto { tcp, udp } th ${which} ${port}`
  const away = led.map(({ ip, clients, ours, clusterIp }) => {
    const remember = `update @${clients} { ${ip} saddr . meta l4proto . th sport }`
    return `${ip} daddr ${ours} ${ports('dport')} ${remember} ${ip} daddr set ${clusterIp}`
  })
  // A client's port that asks the ClusterIP itself now is no longer one that asked us: it would not know the answer for its own.
  const forget = led.map(
    ({ ip, clients, clusterIp }) =>
      `${ip} daddr ${clusterIp} ${ports('dport')} delete @${clients} { ${ip} saddr . meta l4proto . th sport }`,
  )
  const back = led.map(({ ip, clients, ours, clusterIp }) => {
    const isRemembered = `${ip} daddr . meta l4proto . th dport @${clients}`
    return `${ip} saddr ${clusterIp} ${ports('sport')} ${isRemembered} ${ip} saddr set ${ours}`
  })
  // A client on the node has the address it asks for its own, and no Pod could answer that.
  const masquerade = led.map(({ ip, ours }) => `${ip} saddr ${ours} ct status dnat masquerade`)
  // We ask ourselves from loopback, and nobody else does.
  const ourselves = led.map(({ family, ip, ours }) => `${ip} saddr ${LOOPBACK[family]} ${ip} daddr ${ours} accept`)
  const untracked = 'ct state untracked accept'
  const lines = [
    ...led.map(
      ({ family, clients }) =>
        `add set ${FALLBACK_TABLE} ${clients} { type ${TYPES[family]} . inet_proto . inet_service; size ${REMEMBERED_MAX}; flags dynamic,timeout; timeout ${REMEMBERED_SECONDS}s; }`,
    ),
    chain('prerouting', `type filter hook prerouting priority ${BEFORE_TRACKING}`, [untracked, ...forget, ...away]),
    chain('output', `type route hook output priority ${BEFORE_TRACKING}`, [
      untracked,
      ...forget,
      ...ourselves,
      ...away,
    ]),
    chain('source', `type nat hook postrouting priority ${SOURCE}`, masquerade),
    chain('postrouting', `type filter hook postrouting priority ${BEHIND_NAT}`, [untracked, ...back]),
    chain('input', `type filter hook input priority ${BEHIND_NAT}`, [untracked, ...back]),
  ]
  return `${lines.join('\n')}\n`
}

function chain(name: string, hook: string, rules: readonly string[]): string {
  return [
    `add chain ${FALLBACK_TABLE} ${name} { ${hook}; policy accept; }`,
    `flush chain ${FALLBACK_TABLE} ${name}`,
    ...rules.map((rule) => `add rule ${FALLBACK_TABLE} ${name} ${rule}`),
  ].join('\n')
}
