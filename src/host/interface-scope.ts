/** The interface that the scope of a link-local address means (RFC 4007 section 11.2): `fe80::1%eth0`, or `%2`, its index. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'

const INTERFACES = '/sys/class/net'

export interface ScopedInterface {
  readonly name: string
  readonly index: number
}

/** Undefined where this machine has no such interface. */
export function interfaceOfScope(scope: string): ScopedInterface | undefined {
  const index = indexOf(scope)
  if (index !== undefined) return { name: scope, index }
  // Another system than Linux: that knows its interfaces itself.
  if (!existsSync(INTERFACES)) return { name: scope, index: Number(scope) || 0 }
  if (!/^\d+$/.test(scope)) return undefined
  const name = readdirSync(INTERFACES).find((each) => indexOf(each) === Number(scope))
  return name === undefined ? undefined : { name, index: Number(scope) }
}

function indexOf(name: string): number | undefined {
  try {
    return Number(readFileSync(`${INTERFACES}/${name}/ifindex`, 'utf8'))
  } catch {
    // No such interface, or one that went away in this moment: the caller says so.
    return undefined
  }
}
