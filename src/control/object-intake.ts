/** Raw objects in, facts remembered: the one way from every source (API, manifests) into the object store. */

import type { ServiceKey } from '../dns/zone/rrset.ts'
import type { IgnoredBook } from './ignored-book.ts'
import type { ObjectKey, ObjectKind, ObjectStore } from './object-store.ts'
import { serviceImportFacts, sliceFacts, triggeredAtMsOf } from './objects.ts'

/** The identity of a raw object; undefined when it has none. */
export function objectKeyOf(object: unknown): ObjectKey | undefined {
  const metadata = fieldOf(object, 'metadata')
  const namespace = fieldOf(metadata, 'namespace')
  const name = fieldOf(metadata, 'name')
  return typeof namespace === 'string' && typeof name === 'string' ? `${namespace}/${name}` : undefined
}

/** A field of a value that may be anything. */
export function fieldOf(value: unknown, field: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[field] : undefined
}

export class ObjectIntake {
  readonly #store: ObjectStore
  readonly #ignored: IgnoredBook

  constructor(store: ObjectStore, ignored: IgnoredBook) {
    this.#store = store
    this.#ignored = ignored
  }

  /** An object was added or modified. What DNS cannot use counts as not there. Returns its key. */
  put(kind: ObjectKind, object: unknown): ObjectKey | undefined {
    const key = objectKeyOf(object)
    const service = kind === 'serviceImport' ? this.#putImport(key, object) : this.#putSlice(key, object)
    if (key !== undefined && service === undefined) this.#store.remove(kind, key)
    return key
  }

  /** An object was deleted. */
  remove(kind: ObjectKind, key: ObjectKey): void {
    this.#ignored.report(`${kind} ${key}`, [])
    this.#store.remove(kind, key)
  }

  /**
   * The end of a list: removes every object of a kind (and namespace) that it did not name. `breathe` is asked for every
   * object; whoever waits for it must put none of this kind and namespace meanwhile.
   */
  async retain(
    kind: ObjectKind,
    namespace: string | undefined,
    listed: ReadonlySet<ObjectKey>,
    breathe: () => Promise<void> | undefined,
  ): Promise<void> {
    const prefix = namespace === undefined ? '' : `${namespace}/`
    for (const key of this.#store.keys(kind)) {
      if (key.startsWith(prefix) && !listed.has(key)) this.remove(kind, key)
      const pause = breathe()
      if (pause !== undefined) await pause
    }
  }

  #putImport(key: ObjectKey | undefined, object: unknown): ServiceKey | undefined {
    const { facts, ignored } = serviceImportFacts(object)
    this.#ignored.report(`serviceImport ${key ?? 'without a name'}`, ignored)
    if (facts === undefined) return undefined
    const service = `${facts.namespace}/${facts.name}`
    this.#store.putImport(service, facts)
    return service
  }

  #putSlice(key: ObjectKey | undefined, object: unknown): ServiceKey | undefined {
    const { facts, ignored } = sliceFacts(object)
    this.#ignored.report(`endpointSlice ${key ?? 'without a name'}`, ignored)
    if (facts === undefined) return undefined
    const service = `${facts.namespace}/${facts.service}`
    this.#store.putSlice(`${facts.namespace}/${facts.name}`, service, facts, triggeredAtMsOf(object))
    return service
  }
}
