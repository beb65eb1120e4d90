/** Which way a question goes: the longest zone at or above its name decides (RFC 1034 section 4.3.2, step 2). */

import { type Name, parentOf, ROOT } from '../wire/name.ts'

/** Routes by zone; `Target` is whatever the user of the table finds there. */
export class RouteTable<Target> {
  readonly #routes: ReadonlyMap<Name, Target>

  constructor(routes: Iterable<readonly [zone: Name, target: Target]>) {
    this.#routes = new Map(routes)
  }

  /** The target of the longest zone that holds the name; undefined when none does. At most 128 look-ups. */
  find(name: Name): Target | undefined {
    for (let zone = name; ; zone = parentOf(zone)) {
      const target = this.#routes.get(zone)
      if (target !== undefined || zone === ROOT) return target
    }
  }

  /** Every zone that holds the name, the longest first: the first is the one that decides. */
  matches(name: Name): (readonly [zone: Name, target: Target])[] {
    const matches: (readonly [Name, Target])[] = []
    for (let zone = name; ; zone = parentOf(zone)) {
      const target = this.#routes.get(zone)
      if (target !== undefined) matches.push([zone, target])
      if (zone === ROOT) return matches
    }
  }
}
