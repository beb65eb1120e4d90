/**
 * The rules of `rules.ts` in iptables and ip6tables: chains of our own, written with iptables-restore in one transaction per
 * table, and jumps to them from the built-in chains. `-w` waits for the lock of other programs.
 *
 *    raw     PREROUTING --port 53----> NODELOCAL-MCS-TO    to a listen address, while a socket is there: NOTRACK
 *            OUTPUT --port 53--------> NODELOCAL-MCS-NODE  to a listen address: NOTRACK
 *            OUTPUT --from port 53---> NODELOCAL-MCS-FROM  from a listen address: NOTRACK
 *    filter  INPUT, OUTPUT ----------> TO and FROM         ACCEPT
 *
 * Jumps of an older run, duplicates, and the rules of NodeLocal DNSCache for our addresses go in the same transaction, from
 * `raw` also when nothing is to be written there.
 *
 * The rules outlive a crash of this process, but what Pods ask is led here only while a socket of ours is there (xt_socket, which
 * most kernels have and which sees none that is bound to a wildcard). What programs of the node ask cannot be told so, because in
 * OUTPUT the packet has a socket already: theirs. They are refused at once, for loopback knows no limit of refusals.
 */

import type { Execute, Execution } from './execute.ts'
import {
  type AddressFamily,
  addressesOfFamily,
  type ClientEnd,
  FAMILIES,
  familyOfAddress,
  NOTHING_REMOVED,
  type Removed,
  type Rules,
  type RulesOptions,
} from './rules.ts'
import { type Ensured, problemOf, type SetupProblem } from './setup-problem.ts'

/** Which of the two implementations of iptables: they do not see each other's rules. */
export type IptablesVariant = 'nft' | 'legacy'

const TO = 'NODELOCAL-MCS-TO'
const NODE = 'NODELOCAL-MCS-NODE'
const FROM = 'NODELOCAL-MCS-FROM'
const CHAINS = { raw: [TO, NODE, FROM], filter: [TO, FROM] } as const
const COMMENT = 'nodelocal-mcs'

/** What NodeLocal DNSCache writes on its rules. */
const NODE_LOCAL_DNS_CACHE = /--comment "?NodeLocal DNS Cache:/

/** Seconds to wait for the lock. */
const LOCK_WAIT_SECONDS = 5

const TABLES = ['raw', 'filter'] as const
type Table = (typeof TABLES)[number]

const INCOMING = { raw: 'PREROUTING', filter: 'INPUT' } as const
const TOOL = { ipv4: 'iptables', ipv6: 'ip6tables' } as const

type Saved =
  | { readonly kind: 'saved'; readonly text: string }
  | { readonly kind: 'problem'; readonly problem: SetupProblem }

export class IptablesRules implements Rules {
  readonly backend: string
  readonly #options: RulesOptions
  readonly #variant: IptablesVariant
  readonly #execute: Execute
  /** Our lines of each table as they were told after they were written. */
  readonly #asWritten = new Map<string, string>()
  /** Families whose kernel or program refused to look for a socket, and what it said. */
  readonly #socketless = new Map<AddressFamily, string>()

  constructor(options: RulesOptions, variant: IptablesVariant, execute: Execute) {
    this.#options = options
    this.#variant = variant
    this.#execute = execute
    this.backend = `iptables-${variant}`
  }

  async ensure(): Promise<Ensured> {
    const changes: string[] = []
    for (const { family, table } of this.#places()) {
      const saved = await this.#save(family, table)
      if (saved.kind === 'problem') return saved
      const ours = ourLines(saved.text, this.#options)
      const foreign = ours.filter((line) => NODE_LOCAL_DNS_CACHE.test(line)).length
      if (!this.#isWritten(table)) {
        if (ours.length === 0) continue
        const problem = await this.#clear(family, table, ours)
        if (problem !== undefined) return { kind: 'problem', problem }
        changes.push(
          `${ours.length} lines of ${TOOL[family]} ${table} removed, ${foreign} of them of NodeLocal DNSCache`,
        )
        continue
      }
      if (ours.join('\n') === this.#asWritten.get(`${family} ${table}`)) continue
      const problem = await this.#writeLeading(family, table, saved.text)
      if (problem !== undefined) return { kind: 'problem', problem }
      const instead = foreign === 0 ? '' : ` instead of ${foreign} rules of NodeLocal DNSCache`
      const refused = table === 'raw' ? this.#socketless.get(family) : undefined
      const without = refused === undefined ? '' : `, whether we are there or not (${refused})`
      changes.push(`${TOOL[family]} ${table}${instead}${without}`)
    }
    return { kind: 'present', changes }
  }

  async release(connections: readonly ClientEnd[]): Promise<SetupProblem | undefined> {
    if (!this.#options.notrack) return undefined
    for (const family of this.#families()) {
      const saved = await this.#save(family, 'raw')
      if (saved.kind === 'problem') return saved.problem
      const ends = connections.filter(({ address }) => familyOfAddress(address) === family)
      const problem = await this.#write(family, 'raw', saved.text, this.#stayingRules(family, ends))
      if (problem !== undefined) return problem
    }
    return undefined
  }

  async remove(): Promise<Removed> {
    const removed: string[] = []
    this.#asWritten.clear()
    for (const family of FAMILIES) {
      for (const table of TABLES) {
        const saved = await this.#save(family, table)
        // A family that this node has no tool for was never written.
        if (saved.kind === 'problem') {
          if (addressesOfFamily(this.#options.addresses, family).length === 0) continue
          return { removed, problem: saved.problem }
        }
        const lines = ourLines(saved.text, this.#options)
        if (lines.length === 0) continue
        const problem = await this.#clear(family, table, lines)
        if (problem !== undefined) return { removed, problem }
        removed.push(`${lines.length} lines of ${TOOL[family]} ${table}`)
      }
    }
    return { removed, problem: undefined }
  }

  /** All agents of a node share the chains. */
  removeOwn(): Promise<Removed> {
    return Promise.resolve(NOTHING_REMOVED)
  }

  #families(): AddressFamily[] {
    return FAMILIES.filter((family) => addressesOfFamily(this.#options.addresses, family).length > 0)
  }

  #places(): { family: AddressFamily; table: Table }[] {
    return this.#families().flatMap((family) => TABLES.map((table) => ({ family, table })))
  }

  /** Whether there is anything to say in a table. */
  #isWritten(table: Table): boolean {
    return table === 'filter' || this.#options.notrack
  }

  /** Takes away what `ourLines` found. */
  async #clear(family: AddressFamily, table: Table, lines: readonly string[]): Promise<SetupProblem | undefined> {
    const chains = CHAINS.raw.filter((chain) => lines.some((line) => line.startsWith(`:${chain} `)))
    const script = [
      ...deletions(lines),
      ...chains.map((chain) => `-F ${chain}`),
      ...chains.map((chain) => `-X ${chain}`),
    ]
    return await this.#restore(family, table, script)
  }

  /** Leads everything here; where nobody can look for a socket, whether we are there or not. */
  async #writeLeading(family: AddressFamily, table: Table, before: string): Promise<SetupProblem | undefined> {
    if (table === 'filter' || this.#socketless.has(family)) {
      return await this.#write(family, table, before, this.#leadingRules(family, table, ''))
    }
    const problem = await this.#write(family, table, before, this.#leadingRules(family, table, '-m socket '))
    if (problem === undefined || problem.type === 'iptables_lock') return problem
    const stillProblem = await this.#write(family, table, before, this.#leadingRules(family, table, ''))
    if (stillProblem === undefined) this.#socketless.set(family, problem.text.replaceAll(/\s+/g, ' '))
    return stillProblem
  }

  /** `where`: a match for what Pods ask. */
  #leadingRules(family: AddressFamily, table: Table, where: string): string[] {
    const rules = (chain: string, match: string): string[] =>
      addressesOfFamily(this.#options.addresses, family).map(
        (address) => `-A ${chain} ${match.replace('ADDRESS', address)}${targetIn(table)}`,
      )
    const from = rules(FROM, '-s ADDRESS ')
    if (table === 'filter') return [...rules(TO, '-d ADDRESS '), ...from]
    return [...rules(TO, `-d ADDRESS ${where}`), ...rules(NODE, '-d ADDRESS '), ...from]
  }

  /** Leads only these connections here, and leaves our responses as they were. */
  #stayingRules(family: AddressFamily, staying: readonly ClientEnd[]): string[] {
    const addresses = addressesOfFamily(this.#options.addresses, family)
    const to = staying.flatMap((client) =>
      addresses.map((address) => `-s ${client.address} -d ${address} -p tcp --sport ${client.port} ${targetIn('raw')}`),
    )
    return [
      ...[TO, NODE].flatMap((chain) => to.map((rule) => `-A ${chain} ${rule}`)),
      ...addresses.map((address) => `-A ${FROM} -s ${address} ${targetIn('raw')}`),
    ]
  }

  async #write(
    family: AddressFamily,
    table: Table,
    before: string,
    rules: readonly string[],
  ): Promise<SetupProblem | undefined> {
    const { port } = this.#options
    const jumps = ['tcp', 'udp'].flatMap((protocol) => {
      const jump = (from: string, match: string, to: string) =>
        `-I ${from} 1 -p ${protocol} ${match} ${port} -m comment --comment ${COMMENT} -j ${to}`
      const always = [jump(INCOMING[table], '--dport', TO), jump('OUTPUT', '--sport', FROM)]
      return table === 'raw' ? always.concat(jump('OUTPUT', '--dport', NODE)) : always
    })
    const script = [
      ...CHAINS[table].map((chain) => `:${chain} - [0:0]`),
      ...deletions(ourLines(before, this.#options)),
      ...rules,
      ...jumps,
    ]
    const problem = await this.#restore(family, table, script)
    if (problem !== undefined) return problem
    const after = await this.#save(family, table)
    if (after.kind === 'problem') return after.problem
    this.#asWritten.set(`${family} ${table}`, ourLines(after.text, this.#options).join('\n'))
    return undefined
  }

  async #save(family: AddressFamily, table: Table): Promise<Saved> {
    const saved = await this.#execute(this.#tool(family, 'save'), ['-t', table])
    return saved.kind === 'done'
      ? { kind: 'saved', text: saved.stdout }
      : { kind: 'problem', problem: this.#problem(family, table, 'read', saved) }
  }

  async #restore(family: AddressFamily, table: Table, lines: readonly string[]): Promise<SetupProblem | undefined> {
    const input = `*${table}\n${lines.join('\n')}\nCOMMIT\n`
    const args = ['--noflush', '--wait', String(LOCK_WAIT_SECONDS)]
    const restored = await this.#execute(this.#tool(family, 'restore'), args, { input })
    return restored.kind === 'done' ? undefined : this.#problem(family, table, 'write', restored)
  }

  #problem(
    family: AddressFamily,
    table: Table,
    doing: string,
    failure: Exclude<Execution, { kind: 'done' }>,
  ): SetupProblem {
    return problemOf('iptables', `${doing} ${table} with ${TOOL[family]} (${this.#variant})`, failure)
  }

  #tool(family: AddressFamily, what: 'save' | 'restore'): string {
    return `${TOOL[family]}-${this.#variant}-${what}`
  }
}

function targetIn(table: Table): string {
  return `-m comment --comment ${COMMENT} -j ${table === 'raw' ? 'NOTRACK' : 'ACCEPT'}`
}

/** Of what iptables-save wrote: our chains, their rules, jumps to them, and what NodeLocal DNSCache wrote for our addresses. */
function ourLines(saved: string, { addresses }: RulesOptions): string[] {
  return saved
    .split('\n')
    .map((line) => line.replace(/\[\d+:\d+\]/, '').trim())
    .filter((line) => {
      if (/^(:|-A )NODELOCAL-MCS-(TO|NODE|FROM)\b/.test(line)) return true
      if (/-j NODELOCAL-MCS-(TO|NODE|FROM)$/.test(line)) return true
      return NODE_LOCAL_DNS_CACHE.test(line) && addresses.some((address) => line.includes(` ${address}/`))
    })
}

/** The commands that delete what stands in built-in chains; once for each time that it stands there. */
function deletions(lines: readonly string[]): string[] {
  return lines.filter((line) => /^-A (?!NODELOCAL-MCS-)/.test(line)).map((line) => line.replace(/^-A /, '-D '))
}
