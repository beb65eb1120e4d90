/** What a resolv.conf says (resolv.conf(5)): name servers, and what a stub resolver tries for a name. Pure. */

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

/** What a stub resolver does with a name before it asks. */
export interface SearchList {
  /** Without the last dot. */
  readonly suffixes: readonly string[]
  /** Dots that a name has at least to be tried as it is first. */
  readonly ndots: number
}

/** As glibc has them (resolv.conf(5)): what `ndots` may be, and is when nobody says. */
const NDOTS_MAX = 15
const NDOTS_DEFAULT = 1

/** Suffixes that are tried; Kubernetes allows 32 (`dnsConfig.searches`). */
export const SEARCHES_MAX = 32

/** The search list of a text: the last `search` or `domain` line counts, of every option the last one. */
export function parseSearchList(text: string): SearchList {
  let suffixes: string[] = []
  let ndots = NDOTS_DEFAULT
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trim().split(/\s+/)
    if (keyword === 'search' || keyword === 'domain') {
      const wanted = keyword === 'domain' ? words.slice(0, 1) : words.slice(0, SEARCHES_MAX)
      suffixes = wanted.map((word) => word.replace(/\.$/, '')).filter((word) => word !== '')
    } else if (keyword === 'options') {
      for (const word of words) {
        const dots = /^ndots:(\d+)$/.exec(word)?.[1]
        if (dots !== undefined) ndots = Math.min(Number(dots), NDOTS_MAX)
      }
    }
  }
  return { suffixes, ndots }
}

/** The names that a stub resolver tries for one, in its order, until one has an answer; with a dot at its end it is tried alone. */
export function namesTried(name: string, { suffixes, ndots }: SearchList): string[] {
  if (name.endsWith('.')) return [name]
  const searched = suffixes.map((suffix) => `${name}.${suffix}.`)
  const dots = name.split('.').length - 1
  return dots >= ndots ? [`${name}.`, ...searched] : [...searched, `${name}.`]
}
