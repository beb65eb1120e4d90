/**
 * The rules of `rules.ts` beside a kube-proxy that uses iptables: nftables leads, because its table goes with the process, and
 * iptables lets in, because a table of nftables cannot accept for a chain of iptables that drops.
 *
 * What iptables holds may outlive us: it lets in to port 53 of addresses that are gone by then.
 */

import type { ClientEnd, Removed, Rules } from './rules.ts'
import type { Ensured, SetupProblem } from './setup-problem.ts'

export class CombinedRules implements Rules {
  readonly #leading: Rules
  readonly #lettingIn: Rules

  constructor(leading: Rules, lettingIn: Rules) {
    this.#leading = leading
    this.#lettingIn = lettingIn
  }

  get backend(): string {
    return `${this.#leading.backend}+${this.#lettingIn.backend}`
  }

  /** Leading comes first: what iptables of an older run still leads, it gives up in the second. */
  async ensure(): Promise<Ensured> {
    const led = await this.#leading.ensure()
    if (led.kind === 'problem') return led
    const letIn = await this.#lettingIn.ensure()
    return letIn.kind === 'problem' ? letIn : { kind: 'present', changes: [...led.changes, ...letIn.changes] }
  }

  async release(connections: readonly ClientEnd[]): Promise<SetupProblem | undefined> {
    return await this.#leading.release(connections)
  }

  async remove(): Promise<Removed> {
    const both = [await this.#leading.remove(), await this.#lettingIn.remove()]
    return {
      removed: both.flatMap(({ removed }) => removed),
      problem: both.find(({ problem }) => problem !== undefined)?.problem,
    }
  }

  async removeOwn(): Promise<Removed> {
    return await this.#leading.removeOwn()
  }
}
