/** The name servers in a resolv.conf (resolv.conf(5)). Pure. */

/** glibc takes three; clusters write more, and an upstream more costs nothing. */
export const NAMESERVERS_MAX = 8

export interface ResolvConf {
  /** As written: IPv4, IPv6, or IPv6 with a scope. */
  readonly nameservers: readonly string[]
  /** What was passed over, ready to read. */
  readonly problems: readonly string[]
}

/** The `nameserver` lines of a text; `isAddress` tells what an address is. */
export function parseResolvConf(text: string, isAddress: (text: string) => boolean): ResolvConf {
  const nameservers: string[] = []
  const problems: string[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const [keyword, value] = line.trim().split(/\s+/)
    if (keyword !== 'nameserver') continue
    if (value === undefined || !isAddress(value))
      problems.push(`line ${index + 1}: ${value ?? 'nothing'} is no address`)
    else if (nameservers.length >= NAMESERVERS_MAX)
      problems.push(`line ${index + 1}: more than ${NAMESERVERS_MAX} name servers`)
    else if (!nameservers.includes(value)) nameservers.push(value)
  }
  return { nameservers, problems }
}
