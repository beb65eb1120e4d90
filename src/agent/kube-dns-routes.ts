/**
 * Routes from the ConfigMap of kube-dns, mounted as a directory: clusters that have one need not write it twice.
 *
 * Where it and `forward` name the same zone the ConfigMap wins: whoever points us at it means it.
 */

import { readFileSync, type Stats, unwatchFile, watchFile } from 'node:fs'
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

/**
 * The configuration with the routes of its kube-dns ConfigMap; problems are logged, the rest works. `onProblems` is called once
 * when there were any.
 */
export function withKubeDnsRoutes(config: Config, log: Log, onProblems: () => void): Config {
  const directory = config.kubeDnsConfigDirectory
  if (directory === null) return config
  let isWhole = true
  const complain = (path: string, problem: string): void => {
    isWhole = false
    log.warn('kube-dns-config-problem', { directory, path, problem })
  }
  const [stubDomains, upstreamNameservers] = KEYS.map((key) => {
    const read = readKey(join(directory, key))
    if (read.kind === 'text') return read.text
    if (read.code === 'ENOENT') return undefined
    isWhole = false
    log.error('kube-dns-config-unreadable', { file: join(directory, key), code: read.code })
    return undefined
  })
  const { routes, problems } = readKubeDnsConfig({ stubDomains, upstreamNameservers }, (upstream) => {
    const parsed = parseUpstream(upstream)
    return parsed.kind === 'address' ? undefined : parsed.kind === 'problem' ? parsed.text : 'is a path'
  })
  for (const { path, problem } of problems) complain(path, problem)
  const added = routes.flatMap(({ zone, upstreams, transport }) => {
    const name = textOfName(zone).replace(/(.)\.$/, '$1')
    if (config.clusterset.zones.includes(name)) {
      complain(name, 'is a clusterset zone')
      return []
    }
    return [{ zones: [name], upstreams, transport, caFile: null, randomizeCase: false, maxInFlight: MAX_IN_FLIGHT }]
  })
  if (!isWhole) onProblems()
  const claimed = new Set(added.flatMap(({ zones }) => zones))
  const kept = config.forward
    .map((route) => Object.assign({}, route, { zones: route.zones.filter((zone) => !claimed.has(zone)) }))
    .filter(({ zones }) => zones.length > 0)
  return { ...config, forward: [...kept, ...added] }
}

/** Calls back when a file of the ConfigMap changed, came or went; returns the function that ends the watch. */
export function watchKubeDnsConfig(directory: string, onChange: () => void): () => void {
  const files = KEYS.map((key) => join(directory, key))
  // One that is not there is told of at once, as if it had changed.
  const look = (now: Stats, before: Stats): void => {
    if (now.mtimeMs !== before.mtimeMs || now.ino !== before.ino || now.size !== before.size) onChange()
  }
  for (const file of files) watchFile(file, { interval: POLL_MS, persistent: false }, look)
  return () => {
    for (const file of files) unwatchFile(file, look)
  }
}

type KeyRead = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'unreadable'; readonly code: string }

function readKey(file: string): KeyRead {
  try {
    return { kind: 'text', text: readFileSync(file, 'utf8') }
  } catch (error) {
    return { kind: 'unreadable', code: (error as NodeJS.ErrnoException).code ?? 'ERROR' }
  }
}
