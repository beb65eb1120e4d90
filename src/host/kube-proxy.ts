/** Which kind of rules fits this node: what kube-proxy uses here decides, because ours have to come before its. */

import { existsSync, readFileSync } from 'node:fs'
import type { Execute } from './execute.ts'
import type { IptablesVariant } from './rules-iptables.ts'

export type RulesChoice =
  | { readonly kind: 'nftables' | 'none'; readonly why: string }
  | {
      readonly kind: 'iptables'
      readonly variant: IptablesVariant
      /** iptables only lets in; what leads to us is nftables', which goes when we are gone. */
      readonly isLedByNftables: boolean
      readonly why: string
    }

export interface ChoiceParts {
  readonly execute: Execute
  /** Whether this network namespace has an interface. */
  hasInterface(name: string): boolean
}

export const hasInterface = (name: string): boolean => existsSync(`/sys/class/net/${name}`)

/** A chain that kube-proxy in iptables mode always has, in a table that stays small. */
const CANARY = ':KUBE-PROXY-CANARY '

/** The kind of rules for `auto`, with a reason for the log. */
export async function chooseRules(parts: ChoiceParts): Promise<RulesChoice> {
  if (parts.hasInterface('kube-ipvs0')) {
    return {
      kind: 'none',
      why: 'kube-proxy uses IPVS (kube-ipvs0 is there), which knows no NOTRACK; listen on the link-local address alone',
    }
  }
  const tables = await parts.execute('nft', ['list', 'tables'])
  const hasNft = tables.kind === 'done'
  if (hasNft && /^table ip6? kube-proxy$/m.test(tables.stdout)) {
    return { kind: 'nftables', why: 'kube-proxy uses nftables (table kube-proxy is there)' }
  }
  for (const variant of ['nft', 'legacy'] as const) {
    if (await hasKubeProxyChains(variant, parts.execute)) {
      const why = `kube-proxy uses iptables-${variant} (its chains are there)`
      return hasNft
        ? {
            kind: 'iptables',
            variant,
            isLedByNftables: true,
            why: `${why}; nft works, and its rules go with the process`,
          }
        : { kind: 'iptables', variant, isLedByNftables: false, why }
    }
  }
  if (parts.hasInterface('cilium_host')) {
    return {
      kind: 'none',
      why: 'no rules of kube-proxy, and Cilium is here (cilium_host): it leads Services by itself',
    }
  }
  if (hasNft) return { kind: 'nftables', why: 'no rules of kube-proxy are here, and nft works' }
  const variant = await installedVariant(parts.execute)
  if (variant !== undefined)
    return {
      kind: 'iptables',
      variant,
      isLedByNftables: false,
      why: `no rules of kube-proxy are here, nft does not work, iptables-${variant} does`,
    }
  return { kind: 'nftables', why: 'neither nft nor iptables works; nft will be tried again' }
}

/** The implementation of iptables to use where the operator asks for iptables. */
export async function chooseIptablesVariant(execute: Execute): Promise<IptablesVariant> {
  for (const variant of ['nft', 'legacy'] as const) if (await hasKubeProxyChains(variant, execute)) return variant
  return (await installedVariant(execute)) ?? 'nft'
}

/** Those whose rules are in force here. Only to ask the legacy one would load its modules; the kernel lists what it has of them. */
export function variantsInForce(): IptablesVariant[] {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').trim() === '' ? ['nft'] : ['nft', 'legacy']
  } catch {
    // A kernel without them, or one that does not tell everybody.
    return ['nft']
  }
}

async function installedVariant(execute: Execute): Promise<IptablesVariant | undefined> {
  for (const variant of ['nft', 'legacy'] as const) {
    if ((await execute(`iptables-${variant}-save`, ['-t', 'raw'])).kind === 'done') return variant
  }
  return undefined
}

async function hasKubeProxyChains(variant: IptablesVariant, execute: Execute): Promise<boolean> {
  for (const tool of ['iptables', 'ip6tables']) {
    const mangle = await execute(`${tool}-${variant}-save`, ['-t', 'mangle'])
    if (mangle.kind === 'done' && mangle.stdout.includes(CANARY)) return true
    const nodePorts = await execute(`${tool}-${variant}`, ['-w', '5', '-t', 'nat', '-S', 'KUBE-NODEPORTS'])
    if (nodePorts.kind === 'done') return true
  }
  return false
}
