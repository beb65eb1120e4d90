/** Which core a bench's programs run on: wherever the kernel puts them, or servers on one of their own. */

export type Part = 'server' | 'others'

let areApart = false

/** From now on servers start on core 0, clients and upstreams on core 1. */
export function keepServersApart(): void {
  areApart = true
}

/** The command that runs a program where it belongs. */
export function onCore(part: Part, command: string, args: readonly string[]): [string, string[]] {
  return areApart ? ['taskset', ['-c', part === 'server' ? '0' : '1', command, ...args]] : [command, [...args]]
}
