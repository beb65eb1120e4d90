/** Objects, one resource version over all of them, and what changed, as far back as the last compaction. */

import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { KubernetesObject } from '../api-under-test.ts'
import type { Resource, ResourceName } from './resources.ts'
import { listExpired } from './status.ts'

/** An object in one of its versions; never changed once stored. */
export interface Stored {
  /** `namespace/name`; lists are in this order. */
  readonly key: string
  readonly namespace: string
  readonly version: number
  /** Without apiVersion and kind: one object is served in several versions. */
  readonly fields: Readonly<Record<string, unknown>>
  readonly metadata: Readonly<Record<string, unknown>>
}

export interface Change {
  readonly resource: ResourceName
  readonly version: number
  readonly before: Stored | undefined
  /** Undefined: deleted. */
  readonly after: Stored | undefined
}

/** Changes remembered; older ones are compacted away, as etcd does every few minutes. */
const HISTORY_CHANGES_MAX = 200_000
/** A server that just started has written some hundred objects of its own. */
const FIRST_VERSION = 200

export class ObjectStore {
  #version = FIRST_VERSION
  #compactedTo = 0
  #history: Change[] = []
  readonly #objects = new Map<ResourceName, Map<string, Stored>>()
  readonly #listeners = new Set<(change: Change) => void>()

  get version(): number {
    return this.#version
  }

  /** Changes up to this version are forgotten; nothing can be watched from before it. */
  get compactedTo(): number {
    return this.#compactedTo
  }

  /** Creates or replaces; what is equal already stays as it is, version too. */
  apply(resource: Resource, object: KubernetesObject): void {
    const { apiVersion, kind: _, metadata: given, ...said } = structuredClone(object)
    const content = resource.withDefaults(said)
    const key = `${given.namespace}/${given.name}`
    const before = this.#of(resource.name).get(key)
    const metadata = { ...given, ...serverMetadata(before, content) }
    if (before !== undefined && isDeepStrictEqual(withoutVersion(before), { ...content, metadata })) return
    const version = ++this.#version
    const managedFields = [
      {
        manager: 'clusterset-controller',
        operation: 'Update',
        apiVersion,
        time: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
        fieldsType: 'FieldsV1',
        fieldsV1: managedOf(given, content),
      },
    ]
    const whole = { ...metadata, resourceVersion: String(version), managedFields }
    const after: Stored = { key, namespace: given.namespace, version, fields: content, metadata: whole }
    this.#of(resource.name).set(key, after)
    this.#tell({ resource: resource.name, version, before, after })
  }

  /** False when there is no such object. */
  remove(resource: Resource, namespace: string, name: string): boolean {
    const before = this.#of(resource.name).get(`${namespace}/${name}`)
    if (before === undefined) return false
    this.#of(resource.name).delete(before.key)
    this.#tell({ resource: resource.name, version: ++this.#version, before, after: undefined })
    return true
  }

  removeAll(resource: Resource): void {
    for (const { namespace, metadata } of this.#of(resource.name).values()) {
      this.remove(resource, namespace, String(metadata['name']))
    }
  }

  find(resource: Resource, namespace: string, name: string): Stored | undefined {
    return this.#of(resource.name).get(`${namespace}/${name}`)
  }

  /** All objects as they were at a version, in order of their keys. Throws 410 when that is compacted. */
  at(resource: Resource, version: number): Stored[] {
    const objects = new Map(this.#of(resource.name))
    if (version < this.#version) {
      if (version < this.#compactedTo) throw listExpired()
      for (let i = this.#history.length - 1; i >= 0 && this.#history[i]!.version > version; i--) {
        const { resource: name, before, after } = this.#history[i]!
        if (name !== resource.name) continue
        if (before === undefined) objects.delete(after!.key)
        else objects.set(before.key, before)
      }
    }
    return [...objects.values()].sort((a, b) => (a.key < b.key ? -1 : 1))
  }

  /** The changes after a version, oldest first; undefined when some of them are compacted. */
  since(resource: Resource, version: number): Change[] | undefined {
    if (version < this.#compactedTo) return undefined
    return this.#history.filter((change) => change.version > version && change.resource === resource.name)
  }

  compact(): void {
    this.#history = []
    this.#compactedTo = this.#version
  }

  /** Makes the version grow without a change of anything served, as other objects of a cluster do all the time. */
  passTime(): void {
    this.#version++
  }

  /** Returns how to stop listening. */
  onChange(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  #of(name: ResourceName): Map<string, Stored> {
    const objects = this.#objects.get(name) ?? new Map<string, Stored>()
    this.#objects.set(name, objects)
    return objects
  }

  #tell(change: Change): void {
    this.#history.push(change)
    if (this.#history.length > HISTORY_CHANGES_MAX) {
      const forgotten = this.#history.splice(0, HISTORY_CHANGES_MAX / 2)
      this.#compactedTo = forgotten.at(-1)!.version
    }
    for (const listener of this.#listeners) listener(change)
  }
}

/** What the server decides itself; an object keeps its identity, and its generation counts changes outside of metadata. */
function serverMetadata(before: Stored | undefined, content: object): Record<string, unknown> {
  if (before === undefined) {
    return { uid: randomUUID(), creationTimestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z'), generation: 1 }
  }
  const { uid, creationTimestamp, generation } = before.metadata
  const isSame = isDeepStrictEqual(before.fields, content)
  return { uid, creationTimestamp, generation: Number(generation) + (isSame ? 0 : 1) }
}

function withoutVersion({ fields, metadata }: Stored): object {
  const { resourceVersion: _, managedFields: __, ...rest } = metadata
  return { ...fields, metadata: rest }
}

/** Half of what a real object weighs is this, so it has to be here for measurements to mean something. */
function managedOf(metadata: object, content: object): object {
  const labels = Object.keys((metadata as { labels?: object }).labels ?? {})
  return {
    'f:metadata': { 'f:labels': { '.': {}, ...Object.fromEntries(labels.map((label) => [`f:${label}`, {}])) } },
    ...Object.fromEntries(Object.entries(content).map(([field, value]) => [`f:${field}`, managedValue(value)])),
  }
}

function managedValue(value: unknown): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {}
  return Object.fromEntries(Object.keys(value).map((field) => [`f:${field}`, {}]))
}
