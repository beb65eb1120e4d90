/**
 * The configuration in force: what the file says, and beside it the ConfigMap of kube-dns, followed while we run.
 *
 * Whatever goes wrong with a new one, the old one stays in force: a node without DNS is worse than one with old settings.
 */

import type { Config, LoadedConfig } from '../config/config.ts'
import { watchConfig } from '../config/config-watch.ts'
import type { Log } from '../observe/log.ts'
import { watchKubeDnsConfig, withKubeDnsRoutes } from './kube-dns-routes.ts'
import { sectionsThatWait, untilRestart } from './reload.ts'

export interface ConfigInForceParts {
  readonly log: Log
  /** Gives every part that can change while running another configuration. When it throws, none has changed. */
  apply(config: Config): void
}

export class ConfigInForce {
  readonly #path: string | undefined
  readonly #parts: ConfigInForceParts
  readonly #watches: (() => void)[] = []
  /** As the file has it, but for what waits for a restart. */
  #written: Config
  /** With the routes of the kube-dns ConfigMap: what every part is made from. */
  #config: Config
  #hash: string
  #appliedAtSeconds = Date.now() / 1000
  #reloadsFailed = 0
  /** Times that the ConfigMap of kube-dns could not be used as it was. */
  #kubeDnsProblems = 0

  /** `path`: the file that is watched for changes; undefined for the embedded defaults. */
  constructor(written: Config, hash: string, path: string | undefined, parts: ConfigInForceParts) {
    this.#written = written
    this.#hash = hash
    this.#path = path
    this.#parts = parts
    this.#config = this.#withKubeDnsRoutes(written)
  }

  get config(): Config {
    return this.#config
  }

  get hash(): string {
    return this.#hash
  }

  status(): { hash: string; appliedAtSeconds: number; reloadsFailed: number; errors: number } {
    const [hash, appliedAtSeconds, reloadsFailed] = [this.#hash, this.#appliedAtSeconds, this.#reloadsFailed]
    return { hash, appliedAtSeconds, reloadsFailed, errors: reloadsFailed + this.#kubeDnsProblems }
  }

  /** Follows the file and the ConfigMap until `stop`. */
  follow(): void {
    const { log } = this.#parts
    const directory = this.#written.kubeDnsConfigDirectory
    if (directory !== null) {
      const stop = watchKubeDnsConfig(directory, () => {
        if (this.#apply(this.#written)) log.info('kube-dns-config-applied', { directory })
      })
      this.#watches.push(stop)
    }
    if (this.#path === undefined) return
    const stop = watchConfig(this.#path, this.#hash, {
      onChange: (loaded) => this.reload(loaded),
      onWatchError: (error) => log.warn('config-watch-failed', { error: error.message }),
    })
    this.#watches.push(stop)
  }

  stop(): void {
    for (const end of this.#watches) end()
  }

  /** The file changed: what is good is applied; what is not is reported. */
  reload(loaded: LoadedConfig): void {
    const { log } = this.#parts
    if (loaded.kind === 'problems') {
      this.#reloadsFailed++
      for (const problem of loaded.problems) log.error('config-problem', { problem })
      log.error('config-refused', { problems: loaded.problems.length, inForce: this.#hash })
      return
    }
    const { hash, config: wanted } = loaded
    const inForce = this.#written
    const waiting = sectionsThatWait(wanted, inForce)
    if (waiting.length > 0) log.warn('config-needs-restart', { sections: waiting })

    if (!this.#apply(untilRestart(wanted, inForce))) return
    this.#hash = hash
    this.#appliedAtSeconds = Date.now() / 1000
    log.setLevel(wanted.log.level)
    log.info('config-applied', { hash })
  }

  #apply(written: Config): boolean {
    const before = this.#config
    try {
      this.#config = this.#withKubeDnsRoutes(written)
      this.#parts.apply(this.#config)
    } catch (error) {
      this.#config = before
      this.#reloadsFailed++
      this.#parts.log.error('config-failed', { error, inForce: this.#hash })
      return false
    }
    this.#written = written
    return true
  }

  #withKubeDnsRoutes(config: Config): Config {
    return withKubeDnsRoutes(config, this.#parts.log, () => void this.#kubeDnsProblems++)
  }
}
