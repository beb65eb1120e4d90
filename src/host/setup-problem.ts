/** What could not be set up on the host: a value with the label that it is counted under. */

import type { Execution } from './execute.ts'

/** As NodeLocal DNSCache labels them, and two of ours. */
export type SetupErrorType =
  | 'iptables'
  | 'iptables_lock'
  | 'nftables'
  | 'interface_add'
  | 'interface_check'
  | 'state_directory'

export interface SetupProblem {
  readonly type: SetupErrorType
  /** What happened and what to do about it, for a person. */
  readonly text: string
}

/** What became of making something as it should be. */
export type Ensured =
  /** `changes`: what had to be mended, for the log; empty when all was well. */
  | { readonly kind: 'present'; readonly changes: readonly string[] }
  | { readonly kind: 'problem'; readonly problem: SetupProblem }

type Failure = Exclude<Execution, { kind: 'done' }>

export function problemOf(type: SetupErrorType, doing: string, failure: Failure): SetupProblem {
  if (type === 'iptables' && failure.kind === 'failed' && /xtables lock/.test(failure.text)) {
    return { type: 'iptables_lock', text: `${doing}: another process held the xtables lock: ${failure.text}` }
  }
  const hint = /Operation not permitted|Permission denied|must be root/.test(failure.text)
    ? ' (needs CAP_NET_ADMIN)'
    : ''
  return { type, text: `${doing}: ${failure.text}${hint}` }
}
