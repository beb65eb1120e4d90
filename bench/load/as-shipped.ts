/** How the image starts the agent: benches measure that. */

import { readFileSync } from 'node:fs'

const root = new URL('../../', import.meta.url)

/** The bundle that the image runs. */
export const BUNDLE = new URL('dist/nodelocal-mcs.js', root).pathname

/** What stands between the runtime and the bundle in the Dockerfile's ENTRYPOINT. */
export const RUNTIME_OPTIONS: readonly string[] = runtimeOptions()

function runtimeOptions(): string[] {
  const entrypoint = /^ENTRYPOINT (\[.+\])$/m.exec(readFileSync(new URL('Dockerfile', root), 'utf8'))?.[1]
  if (entrypoint === undefined) throw new Error('the Dockerfile has no ENTRYPOINT of the expected form')
  return (JSON.parse(entrypoint) as string[]).slice(1, -1)
}
