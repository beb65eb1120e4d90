/**
 * The Kubernetes API as a source of objects: which collections to follow, and when they are all listed.
 *
 * EndpointSlices are always served; ServiceImports only while their CRD is installed, in one of two versions, so they
 * are discovered first, and again whenever a watch on them ends.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { BackOff } from './back-off.ts'
import { discoverImports, IMPORT_GROUP, IMPORT_RESOURCE } from './discovery.ts'
import type { IgnoredBook } from './ignored-book.ts'
import type { KubernetesApi } from './kubernetes-api.ts'
import type { ControlLog } from './log.ts'
import { type ObjectIntake, objectKeyOf } from './object-intake.ts'
import { OBJECT_KINDS, type ObjectKind } from './object-store.ts'
import { SERVICE_NAME_LABEL } from './objects.ts'
import { oneAtATime } from './one-at-a-time.ts'
import type { SourceStatus } from './source.ts'
import type { Turns } from './turns.ts'
import { Watch, type WatchEnd, type WatchLimits } from './watch.ts'

/** Milliseconds between two looks for absent CRDs, at most; jittered down to half of it. */
export const ABSENT_POLL_MS = 5_000

/**
 * Milliseconds that known imports survive the absence of their CRD: an API server that is just starting may say for
 * a moment that it does not know them.
 */
export const ABSENT_GRACE_MS = 30_000

/** Error codes that are counted apart; others are counted as `other`. */
const ERROR_CODES_MAX = 64

export interface KubernetesSourceParts {
  readonly api: KubernetesApi
  readonly intake: ObjectIntake
  readonly ignored: IgnoredBook
  readonly log: ControlLog
  readonly limits: WatchLimits
  readonly turns: Turns
  /** Both kinds are listed, or (`absent`) the imports are not served. */
  onSettled(state: 'synced' | 'absent'): void
  /** Both kinds are listed in one of the namespaces that are named (all of them), and not yet in all. */
  onNamespaceSettled(namespace: string, all: readonly string[]): void
  /** The imports are served from now on and not listed yet. */
  onUnsettled(): void
  /** Whether imports are known, from the API or a snapshot. */
  hasImports(): boolean
  nowMs(): number
  nowSeconds(): number
  chance(): number
}

export class KubernetesSource {
  readonly #parts: KubernetesSourceParts
  readonly #namespaces: readonly (string | undefined)[]
  readonly #abort = new AbortController()
  readonly #listed = new Set<string>()
  readonly #connected = new Set<string>()
  readonly #watchErrors = new Map<string, number>()
  readonly #lastFailures = new Map<string, string>()
  #running: Promise<unknown> = Promise.resolve()
  #crdVersion: string | null | undefined
  #absentSinceMs: number | undefined
  #lastEventAt: number | undefined
  #relists = 0
  #isSettled = false

  /** `namespaces`: empty for all. */
  constructor(namespaces: readonly string[], parts: KubernetesSourceParts) {
    this.#parts = parts
    // Named twice, one would be waited for that nobody follows.
    this.#namespaces = namespaces.length === 0 ? [undefined] : [...new Set(namespaces)]
  }

  start(): void {
    this.#running = Promise.all([this.#followSlices(), this.#followImports()])
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#running
    this.#parts.api.close()
  }

  /** Everything listed that there is to list. */
  get isSettled(): boolean {
    return this.#isSettled
  }

  status(): SourceStatus {
    const imports = this.#crdVersion === null ? 0 : this.#namespaces.length
    return {
      connected: this.#connected.size >= this.#namespaces.length + imports,
      namespaces: this.#named.map((name) => ({
        name,
        isListed: this.#isSettled || this.#isListed(name),
        failures: [...new Set(OBJECT_KINDS.flatMap((kind) => this.#lastFailures.get(nameOf(kind, name)) ?? []))],
      })),
      watched: new Map(
        OBJECT_KINDS.filter((kind) => kind !== 'serviceImport' || this.#crdVersion !== null).map((kind) => [
          kind,
          this.#namespaces.every((namespace) => this.#connected.has(nameOf(kind, namespace))),
        ]),
      ),
      lastEventAt: this.#lastEventAt,
      relists: this.#relists,
      watchErrors: this.#watchErrors,
      crdVersion: this.#crdVersion,
      fromSnapshot: false,
    }
  }

  async #followSlices(): Promise<void> {
    const signal = this.#abort.signal
    const follow = async (namespace: string | undefined): Promise<void> => {
      const path = pathOf('discovery.k8s.io/v1', 'endpointslices', namespace)
      const watch = this.#watch('endpointSlice', namespace, path, SERVICE_NAME_LABEL, () => Promise.resolve(true))
      const backOff = new BackOff(this.#parts.chance)
      while (!signal.aborted) {
        await watch.run(signal)
        // 404: something that is no API server answers in its place, or one that is still starting.
        await wait(backOff.next(), signal)
      }
    }
    await Promise.all(this.#namespaces.map(follow))
  }

  async #followImports(): Promise<void> {
    const signal = this.#abort.signal
    const backOff = new BackOff(this.#parts.chance)
    while (!signal.aborted) {
      const found = await this.#discover(signal)
      if (signal.aborted) return
      if (found.kind === 'failed') {
        this.#failed('discovery', found.code, found.message)
        if (found.code === '401' || found.code === '403') this.#parts.api.forgetCredentials()
        await wait(backOff.next(found.retryAfterSeconds), signal)
      } else if (found.kind === 'absent') {
        backOff.reset()
        this.#heard()
        await this.#importsAreAbsent()
        await wait(ABSENT_POLL_MS * (0.5 + this.#parts.chance() / 2), signal)
      } else {
        this.#heard()
        this.#importsAreServed(found.version)
        const end = await this.#followVersion(found.version, signal)
        if (end === 'missing') await wait(backOff.next(), signal)
        else backOff.reset()
      }
    }
  }

  /** Follows the imports of one version in every namespace until one of the watches finds that it is not the right one. */
  async #followVersion(version: string, signal: AbortSignal): Promise<WatchEnd> {
    const abort = new AbortController()
    const both = AbortSignal.any([signal, abort.signal])
    // One look at a time for all namespaces: who asks while one is under way shares the next one, which begins after that.
    const isStillRight = oneAtATime(async (): Promise<boolean> => {
      const found = await this.#discover(both)
      return found.kind === 'failed' || (found.kind === 'served' && found.version === version)
    })
    // What changed between discovery and the opening of a watch, no watch tells: so it is looked up once more then.
    const moved = Promise.withResolvers<WatchEnd>()
    const onOpened = (): void => {
      isStillRight().then(
        (isRight) => {
          if (!isRight && !both.aborted) moved.resolve('moved')
        },
        (failure: unknown) => this.#failed('discovery', 'ERROR', String(failure)),
      )
    }
    const watches = this.#namespaces.map((namespace) => {
      const path = pathOf(`${IMPORT_GROUP}/${version}`, IMPORT_RESOURCE, namespace)
      return this.#watch('serviceImport', namespace, path, undefined, isStillRight, onOpened).run(both)
    })
    const end = await Promise.race([...watches, moved.promise])
    abort.abort()
    await Promise.all(watches)
    return end
  }

  async #discover(signal: AbortSignal): ReturnType<typeof discoverImports> {
    const { headersTimeoutMs, listIdleMs } = this.#parts.limits
    return discoverImports(this.#parts.api, { headersTimeoutMs, idleTimeoutMs: listIdleMs }, signal)
  }

  #importsAreServed(version: string): void {
    const wasAbsent = this.#crdVersion === null
    this.#absentSinceMs = undefined
    if (this.#crdVersion !== version) this.#parts.log.info('crds-served', { group: IMPORT_GROUP, version })
    this.#crdVersion = version
    if (!wasAbsent) return
    this.#isSettled = false
    this.#parts.onUnsettled()
  }

  async #importsAreAbsent(): Promise<void> {
    const nowMs = this.#parts.nowMs()
    this.#absentSinceMs ??= nowMs
    if (this.#parts.hasImports() && nowMs - this.#absentSinceMs < ABSENT_GRACE_MS) return
    if (this.#crdVersion === null) return
    this.#parts.log.warn('crds-absent', { group: IMPORT_GROUP, kind: 'ServiceImport' })
    this.#crdVersion = null
    for (const namespace of this.#namespaces) {
      await this.#parts.intake.retain('serviceImport', namespace, new Set(), () => this.#parts.turns.breathe())
      this.#listed.delete(nameOf('serviceImport', namespace))
    }
    this.#isSettled = true
    this.#parts.onSettled('absent')
  }

  #watch(
    kind: ObjectKind,
    namespace: string | undefined,
    path: string,
    labelSelector: string | undefined,
    isStillRight: () => Promise<boolean>,
    onOpened?: () => void,
  ): Watch {
    const { api, limits, intake, ignored, turns, chance, nowMs } = this.#parts
    const name = nameOf(kind, namespace)
    return new Watch({
      api,
      path,
      labelSelector,
      limits,
      put: (object) => intake.put(kind, object),
      remove: (object) => {
        const key = objectKeyOf(object)
        if (key !== undefined) intake.remove(kind, key)
      },
      retain: (listed) => intake.retain(kind, namespace, listed, () => turns.breathe()),
      onListed: () => this.#wasListed(kind, namespace),
      onWord: () => this.#heard(),
      onConnected: (isConnected) => {
        if (!isConnected) this.#connected.delete(name)
        else {
          if (!this.#connected.has(name)) onOpened?.()
          this.#connected.add(name)
          this.#lastFailures.delete(name)
        }
      },
      onRelist: () => {
        this.#relists++
      },
      onTooLarge: (octets) =>
        ignored.report(`${kind} of ${octets} octets`, [{ reason: 'too-large', detail: `${octets} octets`, count: 1 }]),
      onFailure: (code, message) => this.#failed(name, code, message),
      isStillRight,
      nowMs,
      chance,
      wait,
      breathe: () => turns.breathe(),
    })
  }

  #wasListed(kind: ObjectKind, namespace: string | undefined): void {
    this.#listed.add(nameOf(kind, namespace))
    if (this.#isSettled) return
    if (this.#namespaces.every((one) => this.#isListed(one))) {
      this.#isSettled = true
      this.#parts.onSettled('synced')
    } else if (namespace !== undefined && this.#isListed(namespace)) {
      this.#parts.onNamespaceSettled(namespace, this.#named)
    }
  }

  #isListed(namespace: string | undefined): boolean {
    return OBJECT_KINDS.every((kind) => this.#listed.has(nameOf(kind, namespace)))
  }

  /** The namespaces that are followed, where not all of them are. */
  get #named(): readonly string[] {
    return this.#namespaces.filter((namespace) => namespace !== undefined)
  }

  #heard(): void {
    this.#lastEventAt = this.#parts.nowSeconds()
  }

  /** Counted every time; logged when it is another failure than the last one of the same collection. */
  #failed(name: string, code: string, message: string): void {
    const known = this.#watchErrors.has(code) || this.#watchErrors.size < ERROR_CODES_MAX ? code : 'other'
    this.#watchErrors.set(known, (this.#watchErrors.get(known) ?? 0) + 1)
    if (this.#lastFailures.get(name) === code) return
    this.#lastFailures.set(name, code)
    this.#parts.log.warn('watch-failed', { collection: name, code, message })
  }
}

function nameOf(kind: ObjectKind, namespace: string | undefined): string {
  return namespace === undefined ? kind : `${kind} ${namespace}`
}

function pathOf(groupVersion: string, resource: string, namespace: string | undefined): string {
  return `/apis/${groupVersion}/${namespace === undefined ? '' : `namespaces/${namespace}/`}${resource}`
}

async function wait(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal, ref: false })
  } catch (failure) {
    if (!signal.aborted) throw failure
  }
}
