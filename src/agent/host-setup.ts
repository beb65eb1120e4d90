/**
 * Interface and rules of this node: set up, looked after while we run, taken away when we leave. What the node refuses is
 * logged once per state, counted by type, and tried again: an agent that ends because a lock was held helps nobody.
 */

import type { Config } from '../config/config.ts'
import { type Converse, converse, type Execute, execute } from '../host/execute.ts'
import {
  chooseIptablesVariant,
  chooseRules,
  hasInterface,
  type RulesChoice,
  variantsInForce,
} from '../host/kube-proxy.ts'
import { Link } from '../host/link.ts'
import { type ClientEnd, NO_RULES, type Removed, type Rules, type RulesOptions } from '../host/rules.ts'
import { CombinedRules } from '../host/rules-combined.ts'
import { Fallback } from '../host/rules-fallback.ts'
import { IptablesRules } from '../host/rules-iptables.ts'
import { NftablesRules, removeTablesOfOthers } from '../host/rules-nftables.ts'
import type { SetupErrorType, SetupProblem } from '../host/setup-problem.ts'
import type { Log } from '../observe/log.ts'
import { addressesWithFallback, ownAddresses } from './own-addresses.ts'

export interface HostSetupParts {
  readonly log: Log
  /** Names what only this process has. */
  readonly instance: string
  readonly execute?: Execute
  readonly converse?: Converse
  wait(milliseconds: number): Promise<unknown>
}

export interface HostStatus {
  /** undefined: not ours to set up. */
  readonly isInterfacePresent: boolean | undefined
  readonly areRulesPresent: boolean | undefined
  /** undefined: there is none to be. */
  readonly isFallbackPresent: boolean | undefined
  readonly backend: string
  readonly repairs: Readonly<Record<Thing, number>>
  readonly errors: Readonly<Record<string, number>>
}

/** Milliseconds between attempts at an interface that cannot be had, from the first to the largest. */
const RETRY_MS = 500
const RETRY_MS_MAX = 10_000

type Thing = 'interface' | 'rules' | 'fallback'

/** What the node may refuse us. */
type Wanted = Thing | 'state directory'

export class HostSetup {
  readonly #config: Config
  readonly #parts: HostSetupParts
  readonly #execute: Execute
  readonly #link: Link | undefined
  readonly #fallback: Fallback | undefined
  readonly #present: Record<Thing, boolean> = { interface: false, rules: false, fallback: false }
  readonly #wasPresent: Record<Thing, boolean> = { interface: false, rules: false, fallback: false }
  readonly #repairs: Record<Thing, number> = { interface: 0, rules: 0, fallback: 0 }
  readonly #errors: Record<string, number> = {}
  /** What was last said of each, so that an error that stays is said once. */
  readonly #said: Record<Wanted, string> = { interface: '', rules: '', fallback: '', 'state directory': '' }
  #rules: Rules | undefined
  #repair: NodeJS.Timeout | undefined
  /** Everything that changes the node goes through here, one after another. */
  #turn: Promise<unknown> = Promise.resolve()
  #isLeaving = false

  constructor(config: Config, parts: HostSetupParts) {
    this.#config = config
    this.#parts = parts
    this.#execute = parts.execute ?? execute
    const { interface: name, interfaceType: type } = config.host
    this.#link = name === null ? undefined : new Link({ name, type, addresses: ownAddresses(config) }, this.#execute)
    const { fallback: clusterIps } = config.host
    if (clusterIps.length > 0) {
      const addresses = addressesWithFallback(config)
      this.#fallback = new Fallback({ addresses, clusterIps, port: config.listen.port }, this.#execute)
    }
    if (config.host.rules === 'none') this.#rules = NO_RULES
  }

  get hasInterface(): boolean {
    return this.#link !== undefined
  }

  /** Whether clients are led to us by something that we take away when we leave. */
  get hasRules(): boolean {
    return this.#config.host.rules !== 'none' && this.#rules !== NO_RULES
  }

  get isRulesReady(): boolean {
    return !this.hasRules || this.#present.rules
  }

  status(): HostStatus {
    return {
      isInterfacePresent: this.#link === undefined ? undefined : this.#present.interface,
      areRulesPresent: this.hasRules ? this.#present.rules : undefined,
      isFallbackPresent: this.#hasFallback ? this.#present.fallback : undefined,
      backend: this.#rules?.backend ?? 'none',
      repairs: this.#repairs,
      errors: this.#errors,
    }
  }

  /** Tries until the interface and its addresses are there, or `isOver`; without an interface of ours there is nothing to do. */
  async untilInterface(isOver: () => boolean): Promise<void> {
    if (this.#link === undefined) return
    for (
      let pauseMs = RETRY_MS;
      !(await this.#ensureInterface()) && !isOver();
      pauseMs = Math.min(pauseMs * 2, RETRY_MS_MAX)
    ) {
      // Short waits: whoever asks us to stop does not wait for the pause to end.
      for (let waitedMs = 0; waitedMs < pauseMs && !isOver(); waitedMs += RETRY_MS) await this.#parts.wait(RETRY_MS)
    }
  }

  /** By asking several programs; once. */
  async chooseRules(): Promise<void> {
    await this.#inTurn(async () => {
      this.#rules ??= await this.#chooseRules()
    })
  }

  /** One attempt; false when the node refused. `isAlive` tells whose rules are left alone. */
  async ensureRules(isAlive: (instance: string) => boolean): Promise<boolean> {
    return await this.#inTurn(async () => {
      this.#rules ??= await this.#chooseRules()
      if (this.#rules.backend.startsWith('nftables')) {
        const { removed } = await removeTablesOfOthers(
          (id) => id === this.#parts.instance || isAlive(id),
          this.#execute,
        )
        if (removed.length > 0) this.#parts.log.info('rules-left-behind-removed', { removed })
      }
      const areThere = await this.#ensure('rules')
      // With iptables they go in the same transaction; beside nftables alone nobody else looks.
      if (areThere && this.#rules.backend === 'nftables') await this.#removeOldIptables()
      // Behind the rules: what they do not lead to us, it leads away.
      if (areThere) await this.#ensureFallback()
      return areThere
    })
  }

  /** Looks after everything at an interval. */
  keepUp(): void {
    if (this.#link === undefined && !this.hasRules) return
    const again = (): void => {
      this.#repair = setTimeout(() => {
        this.#lookAfter().then(again, again)
      }, this.#config.host.repairSeconds * 1000).unref()
    }
    again()
  }

  /** No more repairs: what goes away from now on goes because we leave. */
  leave(): void {
    this.#isLeaving = true
    clearTimeout(this.#repair)
  }

  /** New flows go elsewhere; open connections and responses stay as they are. */
  async releaseRules(connections: () => readonly ClientEnd[]): Promise<void> {
    await this.#inTurn(async () => {
      const problem = await this.#rules?.release(connections())
      if (problem !== undefined) this.#fail('rules', problem)
      this.#present.rules = false
    })
  }

  async removeRules(): Promise<void> {
    await this.#remove((rules) => rules.remove())
  }

  /** Another agent of this node goes on with what we share. */
  async removeOwnRules(): Promise<void> {
    await this.#remove((rules) => rules.removeOwn())
  }

  async #remove(how: (rules: Rules) => Promise<Removed>): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#rules === undefined) return
      const { removed, problem } = await how(this.#rules)
      if (problem !== undefined) this.#fail('rules', problem)
      if (removed.length > 0) this.#parts.log.info('rules-removed', { removed })
      this.#present.rules = false
    })
  }

  async removeInterface(): Promise<void> {
    await this.#inTurn(async () => {
      const removed = await this.#link?.remove()
      if (removed === undefined) return
      this.#present.interface = false
      if (removed.kind === 'problem') this.#fail('interface', removed.problem)
      else if (removed.what.length > 0) this.#parts.log.info('interface-removed', { removed: removed.what })
    })
  }

  async #lookAfter(): Promise<void> {
    if (this.#link !== undefined) await this.#ensureInterface()
    await this.#inTurn(async () => {
      if (this.#isLeaving || this.#rules === undefined) return
      if (await this.#ensure('rules')) await this.#ensureFallback()
    })
  }

  async #ensureInterface(): Promise<boolean> {
    return await this.#inTurn(async () => this.#isLeaving || (await this.#ensure('interface')))
  }

  /** What NodeLocal DNSCache, or we with another configuration, left in iptables would lead the ClusterIP here without us. */
  async #removeOldIptables(): Promise<void> {
    for (const variant of variantsInForce()) {
      const { removed, problem } = await new IptablesRules(this.#rulesOptions, variant, this.#execute).remove()
      if (removed.length > 0) this.#parts.log.info('rules-left-behind-removed', { removed })
      // Without the program nobody wrote any.
      if (problem !== undefined && !/ is not installed/.test(problem.text)) {
        this.#parts.log.warn('rules-left-behind-unknown', { error: problem.text })
      }
    }
  }

  get #rulesOptions(): RulesOptions {
    const { host, listen } = this.#config
    return { addresses: ownAddresses(this.#config), port: listen.port, notrack: host.notrack }
  }

  /** Without a switch that goes with us everything would be led away. */
  get #hasFallback(): boolean {
    return this.#fallback !== undefined && this.hasRules
  }

  async #ensureFallback(): Promise<void> {
    if (this.#hasFallback) await this.#ensure('fallback')
  }

  async #ensure(thing: Thing): Promise<boolean> {
    const kept = { interface: this.#link, rules: this.#rules, fallback: this.#fallback }[thing]!
    const ensured = await kept.ensure()
    if (ensured.kind === 'problem') {
      this.#fail(thing, ensured.problem)
      this.#present[thing] = false
      return false
    }
    this.#present[thing] = true
    this.#said[thing] = ''
    const { changes } = ensured
    if (changes.length > 0) {
      const isRepair = this.#wasPresent[thing]
      if (isRepair) this.#repairs[thing]++
      const { log } = this.#parts
      if (isRepair) log.warn(`${thing}-repaired`, { changes })
      else log.info(`${thing}-set-up`, { changes })
    }
    this.#wasPresent[thing] = true
    return true
  }

  async #chooseRules(): Promise<Rules> {
    const wanted = this.#config.host.rules
    const choice = await this.#choice()
    const rules = this.#rulesOf(choice)
    this.#parts.log.info('rules-chosen', { wanted, backend: rules.backend, why: choice.why })
    return rules
  }

  async #choice(): Promise<RulesChoice> {
    const { rules } = this.#config.host
    if (rules === 'auto') return await chooseRules({ execute: this.#execute, hasInterface })
    const why = 'the configuration says so'
    if (rules !== 'iptables') return { kind: rules, why }
    return { kind: rules, variant: await chooseIptablesVariant(this.#execute), isLedByNftables: false, why }
  }

  #rulesOf(choice: RulesChoice): Rules {
    const options = this.#rulesOptions
    if (choice.kind !== 'iptables') return choice.kind === 'none' ? NO_RULES : this.#nftables(options)
    if (!choice.isLedByNftables) return new IptablesRules(options, choice.variant, this.#execute)
    const lettingIn = new IptablesRules({ ...options, notrack: false }, choice.variant, this.#execute)
    return new CombinedRules(this.#nftables(options), lettingIn)
  }

  #nftables(options: RulesOptions): NftablesRules {
    return new NftablesRules(options, this.#parts.instance, {
      execute: this.#execute,
      converse: this.#parts.converse ?? converse,
      wait: (milliseconds) => this.#parts.wait(milliseconds),
    })
  }

  /** Of the directory that others look after. */
  stateDirectoryFailed(text: string): void {
    this.#fail('state directory', { type: 'state_directory', text })
  }

  #fail(what: Wanted, { type, text }: SetupProblem): void {
    this.#errors[type] = (this.#errors[type] ?? 0) + 1
    if (this.#said[what] === text) return
    this.#said[what] = text
    this.#parts.log.error('setup-failed', { what, errortype: type satisfies SetupErrorType, error: text })
  }

  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return await result
  }
}
