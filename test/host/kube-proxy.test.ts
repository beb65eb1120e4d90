/** Which kind of rules `auto` takes for what kube-proxy left on a node. */

import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Execute, Execution } from '../../src/host/execute.ts'
import { chooseRules } from '../../src/host/kube-proxy.ts'

const MISSING: Execution = { kind: 'missing', text: 'is not installed' }
const NOTHING: Execution = { kind: 'done', stdout: '' }

/** Answers by the beginning of the command line; what it does not know is not installed. */
function host(commands: Readonly<Record<string, Execution>>): Execute {
  return (program, args) => {
    const line = [program, ...args].join(' ')
    const known = Object.keys(commands).find((start) => line.startsWith(start))
    return Promise.resolve(known === undefined ? MISSING : commands[known]!)
  }
}

const canary: Execution = { kind: 'done', stdout: '*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n' }
const noChain: Execution = { kind: 'failed', code: 1, text: 'No chain by that name.' }
const nft: Execution = { kind: 'done', stdout: 'table ip kube-proxy\ntable ip6 kube-proxy\n' }
const kubelet: Execution = { kind: 'done', stdout: '*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n' }

const cases: readonly {
  promise: string
  commands: Readonly<Record<string, Execution>>
  interfaces?: readonly string[]
  kind: string
  why: RegExp
}[] = [
  {
    promise: 'none beside IPVS, whatever else there is',
    commands: { 'nft list tables': nft },
    interfaces: ['kube-ipvs0'],
    kind: 'none',
    why: /IPVS/,
  },
  {
    promise: 'nftables beside the table of kube-proxy',
    commands: { 'nft list tables': nft },
    kind: 'nftables',
    why: /uses nftables/,
  },
  {
    promise: 'nftables to lead and iptables-nft to let in beside its chains',
    commands: { 'nft list tables': NOTHING, 'iptables-nft-save -t mangle': canary },
    kind: 'nftables+iptables-nft',
    why: /uses iptables-nft .*; nft works, and its rules go with the process/,
  },
  {
    promise: 'iptables-nft alone where nft is not installed',
    commands: { 'iptables-nft-save -t mangle': canary },
    kind: 'iptables-nft',
    why: /uses iptables-nft/,
  },
  {
    promise: 'iptables-legacy beside its chains, without nft too',
    commands: { 'iptables-nft-save -t mangle': NOTHING, 'iptables-legacy-save -t mangle': canary },
    kind: 'iptables-legacy',
    why: /uses iptables-legacy/,
  },
  {
    promise: 'iptables-nft where only ip6tables has chains',
    commands: { 'ip6tables-nft-save -t mangle': canary },
    kind: 'iptables-nft',
    why: /uses iptables-nft/,
  },
  {
    promise: 'iptables-legacy where an old kube-proxy has chains and no canary',
    commands: { 'iptables-legacy -w 5 -t nat -S KUBE-NODEPORTS': { kind: 'done', stdout: '-N KUBE-NODEPORTS\n' } },
    kind: 'iptables-legacy',
    why: /uses iptables-legacy/,
  },
  {
    promise: 'none beside Cilium without kube-proxy',
    commands: { 'nft list tables': NOTHING },
    interfaces: ['cilium_host'],
    kind: 'none',
    why: /Cilium/,
  },
  {
    promise: 'nftables where there is no kube-proxy: the chains of the kubelet are not its',
    commands: { 'nft list tables': NOTHING, 'iptables-nft-save -t mangle': kubelet, 'iptables-nft -w': noChain },
    kind: 'nftables',
    why: /nft works/,
  },
  {
    promise: 'iptables where nothing is known and nft does not work',
    commands: { 'iptables-legacy-save -t raw': NOTHING },
    kind: 'iptables-legacy',
    why: /nft does not work/,
  },
  { promise: 'nftables, to be tried again, where nothing works', commands: {}, kind: 'nftables', why: /tried again/ },
]

suite('auto chooses', () => {
  for (const { promise, commands, interfaces = [], kind, why } of cases) {
    test(promise, async () => {
      const choice = await chooseRules({ execute: host(commands), hasInterface: (name) => interfaces.includes(name) })
      const leading = choice.kind === 'iptables' && choice.isLedByNftables ? 'nftables+' : ''
      assert.equal(choice.kind === 'iptables' ? `${leading}iptables-${choice.variant}` : choice.kind, kind)
      assert.match(choice.why, why)
    })
  }
})
