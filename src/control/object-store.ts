/**
 * The objects as last seen, reduced to what DNS needs, found by service.
 *
 * It remembers and tells which services a change touches; it reads no Kubernetes and decides nothing.
 */

import type { ServiceKey } from '../dns/zone/rrset.ts'
import type { ServiceImportFacts, SliceFacts } from './records/facts.ts'
import type { ServiceFacts } from './records/records-of.ts'
import { isSameImport, isSameSlice } from './records/same-facts.ts'

export type ObjectKind = 'serviceImport' | 'endpointSlice'

export const OBJECT_KINDS: readonly ObjectKind[] = ['serviceImport', 'endpointSlice']

/** `namespace/name` of an object. */
export type ObjectKey = string

interface SliceEntry {
  readonly service: ServiceKey
  readonly facts: SliceFacts
  triggeredAtMs: number | undefined
}

export class ObjectStore {
  readonly #touch: (service: ServiceKey, triggeredAtMs?: number) => void
  readonly #imports = new Map<ServiceKey, ServiceImportFacts>()
  readonly #slices = new Map<ObjectKey, SliceEntry>()
  readonly #slicesOfService = new Map<ServiceKey, Set<ObjectKey>>()

  #changes = 0

  /** `touch` hears of every service whose objects changed, and when the change behind it happened where that is new. */
  constructor(touch: (service: ServiceKey, triggeredAtMs?: number) => void) {
    this.#touch = (service, triggeredAtMs) => {
      this.#changes++
      touch(service, triggeredAtMs)
    }
  }

  /** Grows with every change. */
  get changes(): number {
    return this.#changes
  }

  /** Objects kept of a kind. */
  count(kind: ObjectKind): number {
    return kind === 'serviceImport' ? this.#imports.size : this.#slices.size
  }

  keys(kind: ObjectKind): Iterable<ObjectKey> {
    return kind === 'serviceImport' ? this.#imports.keys() : this.#slices.keys()
  }

  hasImport(service: ServiceKey): boolean {
    return this.#imports.has(service)
  }

  of(service: ServiceKey): ServiceFacts {
    const keys = this.#slicesOfService.get(service)
    const slices = keys === undefined ? [] : Array.from(keys, (key) => this.#slices.get(key)!.facts)
    return { import: this.#imports.get(service), slices }
  }

  /** The import's key is its service's. What says the same as before, as most of a list does, touches nothing. */
  putImport(service: ServiceKey, facts: ServiceImportFacts): void {
    const former = this.#imports.get(service)
    if (former !== undefined && isSameImport(former, facts)) return
    this.#imports.set(service, facts)
    this.#touch(service)
  }

  /** A slice whose label names another service than before leaves the former one. As `putImport` otherwise. */
  putSlice(key: ObjectKey, service: ServiceKey, facts: SliceFacts, triggeredAtMs?: number): void {
    const former = this.#slices.get(key)
    if (former !== undefined && isSameSlice(former.facts, facts)) {
      former.triggeredAtMs = triggeredAtMs
      return
    }
    if (former !== undefined && former.service !== service) this.#unlink(key, former.service)
    this.#slices.set(key, { service, facts, triggeredAtMs })
    const keys = this.#slicesOfService.get(service)
    if (keys === undefined) this.#slicesOfService.set(service, new Set([key]))
    else keys.add(key)
    // Seen again, as in every list, it is no news.
    this.#touch(service, triggeredAtMs === former?.triggeredAtMs ? undefined : triggeredAtMs)
  }

  remove(kind: ObjectKind, key: ObjectKey): void {
    if (kind === 'serviceImport') {
      if (this.#imports.delete(key)) this.#touch(key)
      return
    }
    const former = this.#slices.get(key)
    if (former === undefined) return
    this.#slices.delete(key)
    this.#unlink(key, former.service)
  }

  /** Every import and slice, for a snapshot: a view that follows changes while it is walked. */
  *imports(): Iterable<readonly [ObjectKey, ServiceImportFacts]> {
    yield* this.#imports
  }

  *slices(): Iterable<readonly [ObjectKey, ServiceKey, SliceFacts]> {
    for (const [key, entry] of this.#slices) yield [key, entry.service, entry.facts]
  }

  #unlink(key: ObjectKey, service: ServiceKey): void {
    const keys = this.#slicesOfService.get(service)
    keys?.delete(key)
    if (keys?.size === 0) this.#slicesOfService.delete(service)
    this.#touch(service)
  }
}
