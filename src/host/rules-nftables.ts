/**
 * The rules of `rules.ts` in nftables: a table of our own, written in one transaction, owned by an `nft` that stays.
 *
 * The kernel removes an owned table when its owner is gone, and the owner is gone when its standard input ends: so the rules
 * end with this process however it ends. Others can read the table but neither change nor flush it. Kernels before 5.12 know no
 * owners; there the table is a plain one and outlives a crash, but leads Pods here only while a socket is there, as iptables does.
 *
 * Each process has a table of its own, named after it: two that say the same say it once, and nobody removes another's.
 */

import type { Conversation, Converse, Execute } from './execute.ts'
import {
  type AddressFamily,
  addressesOfFamily,
  FAMILIES,
  type Removed,
  type Rules,
  type RulesOptions,
} from './rules.ts'
import { type Ensured, problemOf, type SetupProblem } from './setup-problem.ts'

/** Every table of ours begins with this; the rest is the instance that wrote it. */
const TABLE_PREFIX = 'nodelocal_mcs_'

export interface NftablesParts {
  readonly execute: Execute
  readonly converse: Converse
  wait(milliseconds: number): Promise<unknown>
}

/** Looks at whether a transaction of the owner went through, and milliseconds between two. */
const LOOKS_MAX = 150
const LOOK_PAUSE_MS = 20

/** Connections of clients that begin while we linger; those beyond it are still ours. */
const LED_AWAY_MAX = 131_072

/** Matches while there is a socket for the packet; whether that is a transparent one, which ours is not, nobody else asks. */
const WHILE_THERE = 'socket transparent 0'

const NO_OWNERS = /not supported|unexpected string, expecting|unknown.*flag|unexpected owner/i

export class NftablesRules implements Rules {
  readonly backend = 'nftables'
  readonly #options: RulesOptions
  readonly #parts: NftablesParts
  readonly #table: string
  #owner: Conversation | undefined
  #knowsOwners = true
  #generation = 0
  /** The table as the kernel told it after it was written. */
  #asWritten: string | undefined

  constructor(options: RulesOptions, instance: string, parts: NftablesParts) {
    this.#options = options
    this.#parts = parts
    this.#table = `inet ${TABLE_PREFIX}${instance}`
  }

  async ensure(): Promise<Ensured> {
    const look = await this.#look()
    if (look.kind === 'problem') return look
    const isOwned = !this.#knowsOwners || this.#owner?.isOver === false
    if (isOwned && look.text !== undefined && look.text === this.#asWritten) return { kind: 'present', changes: [] }
    const problem = await this.#write((match) => (this.#options.notrack ? untrackedChains(this.#options, match) : ''))
    return problem === undefined ? { kind: 'present', changes: [`table ${this.#table}`] } : { kind: 'problem', problem }
  }

  /** Needs nobody's connections: they are those that began before. */
  async release(): Promise<SetupProblem | undefined> {
    if (this.#asWritten === undefined || !this.#options.notrack) return undefined
    return await this.#write(() => lingeringChains(this.#options))
  }

  async remove(): Promise<Removed> {
    const owner = this.#owner
    this.#owner = undefined
    this.#asWritten = undefined
    if (owner !== undefined) {
      await owner.end()
      return { removed: [`table ${this.#table}`], problem: undefined }
    }
    return await deleteTables([this.#table], this.#parts.execute)
  }

  /** The table is this process's alone. */
  async removeOwn(): Promise<Removed> {
    return await this.remove()
  }

  /** `chains` is told a match for what Pods ask. */
  async #write(chains: (match: string) => string): Promise<SetupProblem | undefined> {
    this.#generation++
    if (this.#knowsOwners) {
      const problem = await this.#writeOwned(chains(''))
      if (problem === undefined || !NO_OWNERS.test(problem.text)) return problem
      this.#knowsOwners = false
    }
    const problem = await this.#writePlain(chains(WHILE_THERE))
    // Without nft_socket as well.
    return problem === undefined ? undefined : await this.#writePlain(chains(''))
  }

  async #writeOwned(chains: string): Promise<SetupProblem | undefined> {
    if (this.#owner === undefined || this.#owner.isOver) this.#owner = this.#parts.converse('nft', ['--interactive'])
    const owner = this.#owner
    owner.say(this.#transaction(' flags owner;', chains))
    // The owner says nothing when it is done, so the table is looked at; what went wrong it does say.
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      await this.#parts.wait(LOOK_PAUSE_MS)
      const look = await this.#look()
      if (look.kind === 'problem') return look.problem
      if (this.#isWritten(look.text)) return undefined
      const heard = owner.heard().replaceAll(/\s+/g, ' ').trim()
      if (/Error/.test(heard) || owner.isOver) {
        await owner.end()
        this.#owner = undefined
        const text = heard === '' ? 'nft ended' : heard
        return problemOf('nftables', `write table ${this.#table}`, { kind: 'failed', code: null, text })
      }
    }
    return { type: 'nftables', text: `write table ${this.#table}: nft did not do it in time` }
  }

  async #writePlain(chains: string): Promise<SetupProblem | undefined> {
    const written = await this.#parts.execute('nft', ['--file', '-'], { input: this.#transaction('', chains) })
    if (written.kind !== 'done') return problemOf('nftables', `write table ${this.#table}`, written)
    const look = await this.#look()
    if (look.kind === 'problem') return look.problem
    return this.#isWritten(look.text) ? undefined : { type: 'nftables', text: `table ${this.#table} went at once` }
  }

  /** One line, one transaction: there is no moment without rules when they are written anew. */
  #transaction(flags: string, chains: string): string {
    const mark = `set generation_${this.#generation} { type mark; };`
    const table = this.#table
    return `add table ${table} {${flags} }; delete table ${table}; add table ${table} {${flags} ${mark} ${chains} };\n`
  }

  #isWritten(text: string | undefined): boolean {
    if (text === undefined || !text.includes(`set generation_${this.#generation} {`)) return false
    this.#asWritten = text
    return true
  }

  async #look(): Promise<{ kind: 'table'; text: string | undefined } | { kind: 'problem'; problem: SetupProblem }> {
    const listed = await this.#parts.execute('nft', ['list', 'table', ...this.#table.split(' ')])
    if (listed.kind === 'done') return { kind: 'table', text: listed.stdout }
    if (listed.kind === 'failed' && /No such file/.test(listed.text)) return { kind: 'table', text: undefined }
    return { kind: 'problem', problem: problemOf('nftables', `list table ${this.#table}`, listed) }
  }
}

/** Removes the tables of instances that are gone: plain ones that a crash left behind. */
export async function removeTablesOfOthers(isAlive: (instance: string) => boolean, execute: Execute): Promise<Removed> {
  const listed = await execute('nft', ['list', 'tables', 'inet'])
  if (listed.kind !== 'done') return { removed: [], problem: problemOf('nftables', 'list tables', listed) }
  const instances = [...listed.stdout.matchAll(new RegExp(`^table inet ${TABLE_PREFIX}(\\w+)`, 'gm'))].map(
    (match) => match[1]!,
  )
  const tables = instances.filter((instance) => !isAlive(instance)).map((instance) => `inet ${TABLE_PREFIX}${instance}`)
  return await deleteTables(tables, execute)
}

/** Those that are there; says which. */
export async function deleteTables(tables: readonly string[], execute: Execute): Promise<Removed> {
  const removed: string[] = []
  for (const table of tables) {
    const execution = await execute('nft', ['delete', 'table', ...table.split(' ')])
    if (execution.kind === 'done') removed.push(`table ${table}`)
    else if (execution.kind !== 'failed' || !/No such file/.test(execution.text)) {
      return { removed, problem: problemOf('nftables', `delete table ${table}`, execution) }
    }
  }
  return { removed, problem: undefined }
}

const SAYS = { ipv4: 'ip', ipv6: 'ip6' } as const
const TYPES = { ipv4: 'ipv4_addr', ipv6: 'ipv6_addr' } as const
const PREROUTING = 'chain prerouting { type filter hook prerouting priority raw; policy accept;'
const OUTPUT = 'chain output { type filter hook output priority raw; policy accept;'

/** Nothing to us and nothing from us is tracked. */
function untrackedChains(options: RulesOptions, match: string): string {
  const to = (where: string): string =>
    familiesOf(options)
      .map((family) => `${SAYS[family]} daddr @addresses_${family} ${ports('dport', options)} ${where} notrack;`)
      .join(' ')
  return `${sets(options)} ${PREROUTING} ${to(match)} }; ${OUTPUT} ${to('')} ${fromUs(options)} };`
}

/**
 * Only what belongs to connections that are there is ours still, and everything that we say. Which those are the packets tell
 * themselves: a connection that begins from now on is remembered as led away, in the moment of its first packet. A list of those
 * that we know would be old when the kernel gets it, and one that began meanwhile would be torn from us in its middle.
 */
function lingeringChains(options: RulesOptions): string {
  const families = familiesOf(options)
  const ledAway = families.map(
    (family) =>
      `set led_away_${family} { type ${TYPES[family]} . inet_service; size ${LED_AWAY_MAX}; flags dynamic; };`,
  )
  const to = families.map((family) => {
    const ip = SAYS[family]
    const ours = `${ip} daddr @addresses_${family} tcp dport ${options.port}`
    const client = `${ip} saddr . tcp sport`
    return [
      `${ours} tcp flags & (syn | ack) == syn add @led_away_${family} { ${client} } accept;`,
      `${ours} ${client} @led_away_${family} accept;`,
      `${ours} notrack;`,
    ].join(' ')
  })
  return `${sets(options)} ${ledAway.join(' ')} ${PREROUTING} ${to.join(' ')} }; ${OUTPUT} ${fromUs(options)} ${to.join(' ')} };`
}

function familiesOf({ addresses }: RulesOptions): AddressFamily[] {
  return FAMILIES.filter((family) => addressesOfFamily(addresses, family).length > 0)
}

function sets(options: RulesOptions): string {
  return familiesOf(options)
    .map((family) => {
      const elements = addressesOfFamily(options.addresses, family).join(', ')
      return `set addresses_${family} { type ${TYPES[family]}; elements = { ${elements} }; };`
    })
    .join(' ')
}

function fromUs(options: RulesOptions): string {
  return familiesOf(options)
    .map((family) => `${SAYS[family]} saddr @addresses_${family} ${ports('sport', options)} notrack;`)
    .join(' ')
}

function ports(which: 'dport' | 'sport', { port }: RulesOptions): string {
  return `meta l4proto { tcp, udp } th ${which} ${port}`
}
