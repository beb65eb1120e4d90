/**
 * What every way of writing firewall rules has in common. The rules have one job: what goes to the listen addresses, and what
 * comes from them, is not tracked. That spares connection tracking, and it is the switch between us and kube-dns: untracked
 * packets skip the NAT with which kube-proxy leads the ClusterIP away, so they reach the interface that we made.
 *
 *    untouched --ensure--> led to us --release--> new flows led away, old ones still ours --remove--> untouched
 *
 * | file             | in                          | goes with the process | lets through INPUT |
 * | ---------------- | --------------------------- | --------------------- | ------------------ |
 * | rules-nftables   | a table of our own          | yes (Linux 5.12)      | no                 |
 * | rules-iptables   | chains in raw and filter    | for Pods (1)          | yes                |
 * | rules-combined   | that table, chains in filter| yes (Linux 5.12)      | yes                |
 *
 * (1) Its rules stay, but do not match what Pods ask once the socket is gone.
 *
 * `rules-fallback` leads what we do not take to kube-dns, at addresses that kube-proxy knows nothing of.
 */

import type { Ensured, SetupProblem } from './setup-problem.ts'

export interface RulesOptions {
  /** Without addresses of one family no rule of that family is written. */
  readonly addresses: readonly string[]
  readonly port: number
  /** false: traffic is let in and tracked; for network policies that need to see it. */
  readonly notrack: boolean
}

/** A client's end of a TCP connection that stays with us. */
export interface ClientEnd {
  readonly address: string
  readonly port: number
}

export interface Rules {
  /** For log and metrics: `nftables`, `iptables-nft`, `iptables-legacy`, `none`. */
  readonly backend: string
  /** Idempotent; `changes` tells what was not as it should be. */
  ensure(): Promise<Ensured>
  /**
   * Leads new flows away and leaves open connections, and all our responses, as they were: a response that was tracked would
   * begin an entry that leads the client's next query straight back to us. `connections`: those that are open, for rules that
   * cannot see by themselves which began before.
   */
  release(connections: readonly ClientEnd[]): Promise<SetupProblem | undefined>
  /** Idempotent; says what was there. */
  remove(): Promise<Removed>
  /** `remove` of that alone which no other agent of this node uses. */
  removeOwn(): Promise<Removed>
}

export interface Removed {
  readonly removed: readonly string[]
  readonly problem: SetupProblem | undefined
}

export const NOTHING_REMOVED: Removed = { removed: [], problem: undefined }

export const FAMILIES = ['ipv4', 'ipv6'] as const
export type AddressFamily = (typeof FAMILIES)[number]

export function familyOfAddress(address: string): AddressFamily {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

/** The addresses of one family, without a scope: rules know none. */
export function addressesOfFamily(addresses: readonly string[], family: AddressFamily): string[] {
  return addresses
    .filter((address) => familyOfAddress(address) === family)
    .map((address) => address.replace(/%.*$/, ''))
}

/** For `host.rules: none`. */
export const NO_RULES: Rules = {
  backend: 'none',
  ensure: () => Promise.resolve({ kind: 'present', changes: [] }),
  release: () => Promise.resolve(undefined),
  remove: () => Promise.resolve(NOTHING_REMOVED),
  removeOwn: () => Promise.resolve(NOTHING_REMOVED),
}
