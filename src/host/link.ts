/**
 * The interface that carries the listen addresses: made, addressed, repaired, removed, with `ip` of iproute2.
 *
 * It stays down: local addresses answer on a link that is down, and nothing can be sent out of it by mistake. IPv6 addresses
 * skip duplicate address detection, which would keep them unusable for a second, or on a link that is down for good.
 */

import type { Execute } from './execute.ts'
import { type Ensured, problemOf, type SetupErrorType, type SetupProblem } from './setup-problem.ts'

export interface LinkOptions {
  readonly name: string
  /** The kernel's name of the link type, `dummy`. */
  readonly type: string
  readonly addresses: readonly string[]
}

export type Removed =
  | { readonly kind: 'removed'; readonly what: readonly string[] }
  | { readonly kind: 'problem'; readonly problem: SetupProblem }

/** What we read of `ip -json -details address show`. */
interface ShownLink {
  readonly ifname: string
  readonly linkinfo?: { readonly info_kind?: string }
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number; readonly scope?: string }[]
}

type Look =
  | { readonly kind: 'link'; readonly link: ShownLink | undefined }
  | { readonly kind: 'problem'; problem: SetupProblem }

export class Link {
  readonly #options: LinkOptions
  readonly #execute: Execute

  constructor(options: LinkOptions, execute: Execute) {
    this.#options = options
    this.#execute = execute
  }

  /** Makes the interface and its addresses as they should be. Idempotent; two processes may do it at once. */
  async ensure(): Promise<Ensured> {
    const { name, type, addresses } = this.#options
    const changes: string[] = []
    const before = await this.#look()
    if (before.kind === 'problem') return before
    if (before.link === undefined) {
      const problem = await this.#run('interface_add', `make interface ${name}`, ['link', 'add', name, 'type', type])
      if (problem !== undefined) return { kind: 'problem', problem: withTypeHint(problem, type) }
      changes.push(`interface ${name}`)
    }
    const present = addressesOf(before.link)
    for (const address of addresses.filter((wanted) => !present.has(wanted))) {
      const problem = await this.#run(
        'interface_add',
        `add ${address} to ${name}`,
        addressCommand('add', address, name),
      )
      if (problem !== undefined) return { kind: 'problem', problem }
      changes.push(address)
    }
    return { kind: 'present', changes }
  }

  /**
   * Takes our addresses away, and the interface with them when it is of our type and nobody else's address is left on it:
   * someone who names `lo` or a link of his own keeps it.
   */
  async remove(): Promise<Removed> {
    const { name, type, addresses } = this.#options
    const look = await this.#look()
    if (look.kind === 'problem') return look
    if (look.link === undefined) return { kind: 'removed', what: [] }
    const present = addressesOf(look.link)
    const others = [...present].filter((address) => !addresses.includes(address))
    if (look.link.linkinfo?.info_kind === type && others.length === 0) {
      const problem = await this.#run('interface_check', `remove interface ${name}`, ['link', 'delete', name])
      return problem === undefined ? { kind: 'removed', what: [`interface ${name}`] } : { kind: 'problem', problem }
    }
    const what: string[] = []
    for (const address of addresses.filter((ours) => present.has(ours))) {
      const doing = `remove ${address} from ${name}`
      const problem = await this.#run('interface_check', doing, addressCommand('delete', address, name))
      if (problem !== undefined) return { kind: 'problem', problem }
      what.push(address)
    }
    return { kind: 'removed', what }
  }

  async #look(): Promise<Look> {
    const { name } = this.#options
    const shown = await this.#execute('ip', ['-json', '-details', 'address', 'show', 'dev', name])
    if (shown.kind === 'done') {
      try {
        const links = JSON.parse(shown.stdout) as ShownLink[]
        return { kind: 'link', link: links.find(({ ifname }) => ifname === name) }
      } catch {
        return { kind: 'problem', problem: { type: 'interface_check', text: `ip said of ${name} what is no JSON` } }
      }
    }
    if (shown.kind === 'failed' && /does not exist|Cannot find device/.test(shown.text)) {
      return { kind: 'link', link: undefined }
    }
    return { kind: 'problem', problem: problemOf('interface_check', `look at interface ${name}`, shown) }
  }

  async #run(type: SetupErrorType, doing: string, args: readonly string[]): Promise<SetupProblem | undefined> {
    const execution = await this.#execute('ip', args)
    if (execution.kind === 'done') return undefined
    // Somebody did the same a moment ago: that is what we wanted.
    if (execution.kind === 'failed' && /File exists|Address already assigned/.test(execution.text)) return undefined
    return problemOf(type, doing, execution)
  }
}

function addressCommand(verb: 'add' | 'delete', address: string, name: string): string[] {
  if (!address.includes(':')) return ['address', verb, `${address}/32`, 'dev', name]
  return ['-6', 'address', verb, `${address}/128`, 'dev', name, ...(verb === 'add' ? ['nodad'] : [])]
}

/** Those that somebody gave the link; the kernel's own link-local one is not. */
function addressesOf(link: ShownLink | undefined): Set<string> {
  return new Set(
    (link?.addr_info ?? []).flatMap(({ local, scope }) =>
      local === undefined || isKernels(local, scope) ? [] : [local],
    ),
  )
}

function isKernels(local: string, scope: string | undefined): boolean {
  return scope === 'link' && local.startsWith('fe80:')
}

function withTypeHint(problem: SetupProblem, type: string): SetupProblem {
  if (!/Unknown device type|not supported/i.test(problem.text)) return problem
  return {
    ...problem,
    text: `${problem.text}: this kernel has no links of type ${type}; load its module, or set host.interfaceType to bridge`,
  }
}
