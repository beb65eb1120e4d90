/**
 * Routes from the ConfigMap of kube-dns, mounted as a directory: clusters that have one need not write it twice.
 *
 * Where it and `forward` name the same zone the ConfigMap wins: whoever points us at it means it.
 */

import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { parseUpstream } from '../config/syntax.ts'
import { readKubeDnsConfig } from '../dns/policy/kube-dns-config.ts'
import { textOfName } from '../dns/wire/name.ts'
import type { Log } from '../observe/log.ts'

const KEYS = ['stubDomains', 'upstreamNameservers'] as const

/** How often the files are looked at, in milliseconds; kubelet itself takes up to a minute and a half. */
const POLL_MS = 5_000

/** Queries under way on a route from the ConfigMap; it has no word for it. */
const MAX_IN_FLIGHT = 2000

/** The configuration with the routes of its kube-dns ConfigMap; problems are logged, the rest works. */
export function withKubeDnsRoutes(config: Config, log: Log): Config {
  const directory = config.kubeDnsConfigDirectory
  if (directory === null) return config
  const [stubDomains, upstreamNameservers] = KEYS.map((key) => textOf(join(directory, key), log))
  const { routes, problems } = readKubeDnsConfig({ stubDomains, upstreamNameservers }, (upstream) => {
    const parsed = parseUpstream(upstream)
    return parsed.kind === 'address' ? undefined : parsed.kind === 'problem' ? parsed.text : 'is a path'
  })
  for (const { path, problem } of problems) log.warn('kube-dns-config-problem', { directory, path, problem })
  const added = routes.flatMap(({ zone, upstreams, transport }) => {
    const name = textOfName(zone).replace(/(.)\.$/, '$1')
    if (config.clusterset.zones.includes(name)) {
      log.warn('kube-dns-config-problem', { directory, path: name, problem: 'is a clusterset zone' })
      return []
    }
    return [{ zones: [name], upstreams, transport, randomizeCase: false, maxInFlight: MAX_IN_FLIGHT }]
  })
  const claimed = new Set(added.flatMap(({ zones }) => zones))
  const kept = config.forward
    .map((route) => Object.assign({}, route, { zones: route.zones.filter((zone) => !claimed.has(zone)) }))
    .filter(({ zones }) => zones.length > 0)
  return { ...config, forward: [...kept, ...added] }
}

/** Calls back when a file of the ConfigMap changed, came or went; returns the function that ends the watch. */
export function watchKubeDnsConfig(directory: string, onChange: () => void): () => void {
  const files = KEYS.map((key) => join(directory, key))
  for (const file of files) watchFile(file, { interval: POLL_MS, persistent: false }, onChange)
  return () => {
    for (const file of files) unwatchFile(file, onChange)
  }
}

/** The text of a key; undefined where the ConfigMap has none. */
function textOf(file: string, log: Log): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') log.error('kube-dns-config-unreadable', { file, code })
    return undefined
  }
}
