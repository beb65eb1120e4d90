/** `nodelocal-mcs teardown`: takes away what an agent that is gone left on the node. Idempotent; touches nothing that one uses. */

import type { Config } from '../config/config.ts'
import { execute } from '../host/execute.ts'
import { instancesIn } from '../host/instances.ts'
import { Link } from '../host/link.ts'
import { removeFallback } from '../host/rules-fallback.ts'
import { IptablesRules } from '../host/rules-iptables.ts'
import { removeTablesOfOthers } from '../host/rules-nftables.ts'
import type { SetupProblem } from '../host/setup-problem.ts'
import { ownAddresses } from './own-addresses.ts'

export interface Voice {
  say(text: string): void
  complain(text: string): void
}

/** false when something is still there that should not be. */
export async function tearDown(config: Config, voice: Voice): Promise<boolean> {
  const { stateDirectory, interface: name, interfaceType, rules, notrack } = config.host
  const alive = stateDirectory === null ? [] : await instancesIn(stateDirectory)
  if (alive.length > 0) {
    voice.complain(
      `an agent is running here (${alive.map(({ id, phase }) => `${id}: ${phase}`).join(', ')}); nothing removed`,
    )
    return false
  }
  let isClean = true
  const tell = (removed: readonly string[], problem: SetupProblem | undefined, isOptional: boolean): void => {
    for (const what of removed) voice.say(`removed ${what}`)
    if (problem === undefined) return
    // What is not installed has written nothing, unless the configuration says that it did.
    if (isOptional && / is not installed/.test(problem.text)) return
    isClean = false
    voice.complain(`cannot remove: ${problem.text}`)
  }
  const addresses = ownAddresses(config)
  if (rules !== 'none') {
    // Nobody's fallback is of use when nobody leads to us, and without it the addresses are as unknown here as before.
    for (const remove of [() => removeTablesOfOthers(() => false, execute), () => removeFallback(execute)]) {
      const { removed, problem } = await remove()
      tell(removed, problem, rules !== 'nftables')
    }
    for (const variant of ['nft', 'legacy'] as const) {
      const { removed, problem } = await new IptablesRules(
        { addresses, port: config.listen.port, notrack },
        variant,
        execute,
      ).remove()
      tell(removed, problem, rules !== 'iptables')
    }
  }
  if (name !== null) {
    const removed = await new Link({ name, type: interfaceType, addresses }, execute).remove()
    if (removed.kind === 'removed') tell(removed.what, undefined, false)
    else tell([], removed.problem, false)
  }
  if (isClean) voice.say('nothing of an agent is left here')
  return isClean
}
