/**
 * The text of a manifest file to the objects in it; yaml's door for manifests. Pure, and slow where the text is large or deeply
 * nested: `manifest-parser.ts` decides where that is done.
 */

import { parseAllDocuments } from 'yaml'
import type { Finding } from './ignored-book.ts'
import { fieldOf, objectKeyOf } from './object-intake.ts'
import type { ObjectKey, ObjectKind } from './object-store.ts'

/** Aliases one document may resolve: a few lines of YAML must not become gigabytes. */
const ALIASES_MAX = 100

/** Documents of one file that are reported; the others are ignored without a word. */
const FINDINGS_MAX = 20

export interface ManifestObject {
  readonly kind: ObjectKind
  readonly key: ObjectKey
  readonly object: unknown
}

export interface ParsedManifests {
  readonly objects: readonly ManifestObject[]
  readonly findings: readonly Finding[]
  /** Whether the YAML itself has errors: `objects` is then only what could be made of the rest. */
  readonly isBroken: boolean
}

/** The ServiceImports and EndpointSlices in a YAML or JSON text, those in Lists too. Never throws. */
export function parseManifests(text: string): ParsedManifests {
  const objects: ManifestObject[] = []
  const findings: Finding[] = []
  let isBroken = false
  const find = (reason: Finding['reason'], detail: string): void => {
    if (findings.length < FINDINGS_MAX) findings.push({ reason, detail, count: 1 })
  }
  const documents = parseAllDocuments(text)
  ;(Array.isArray(documents) ? documents : []).forEach((document, i) => {
    const error = document.errors[0]
    if (error !== undefined) {
      isBroken = true
      find('syntax', `document ${i + 1}: ${error.message.split('\n', 1)[0]}`)
      return
    }
    try {
      addObjects(document.toJS({ maxAliasCount: ALIASES_MAX }), `document ${i + 1}`, objects, find)
    } catch (failure) {
      isBroken = true
      find('syntax', `document ${i + 1}: ${failure instanceof Error ? failure.message : String(failure)}`)
    }
  })
  return { objects, findings, isBroken }
}

/** `kind` as manifests write it. */
const KINDS = new Map<unknown, { readonly kind: ObjectKind; readonly group: string }>([
  ['ServiceImport', { kind: 'serviceImport', group: 'multicluster.x-k8s.io/' }],
  ['EndpointSlice', { kind: 'endpointSlice', group: 'discovery.k8s.io/' }],
])

function addObjects(
  value: unknown,
  where: string,
  objects: ManifestObject[],
  find: (reason: Finding['reason'], detail: string) => void,
): void {
  // Comments alone, or nothing between two separators.
  if (value === null || value === undefined) return
  const kindName = fieldOf(value, 'kind')
  const items = fieldOf(value, 'items')
  if (typeof kindName === 'string' && kindName.endsWith('List') && Array.isArray(items)) {
    const itemKind = kindName.slice(0, -'List'.length)
    for (const [i, item] of items.entries()) {
      // The API server leaves kind and apiVersion out of the items of a typed list.
      const isTyped = itemKind !== '' && fieldOf(item, 'kind') === undefined
      const whole = isTyped ? { ...(item as object), kind: itemKind, apiVersion: fieldOf(value, 'apiVersion') } : item
      addObjects(whole, `${where} item ${i + 1}`, objects, find)
    }
    return
  }
  const known = KINDS.get(kindName)
  const apiVersion = fieldOf(value, 'apiVersion')
  if (known === undefined || typeof apiVersion !== 'string' || !apiVersion.startsWith(known.group)) {
    find('kind', `${where}: ${String(apiVersion)} ${String(kindName)} is neither a ServiceImport nor an EndpointSlice`)
    return
  }
  const object = withNamespace(value)
  const key = objectKeyOf(object)
  if (key === undefined) find('malformed', `${where}: a ${String(kindName)} without a name`)
  else objects.push({ kind: known.kind, key, object })
}

function withNamespace(object: unknown): unknown {
  const metadata = fieldOf(object, 'metadata')
  const namespace = fieldOf(metadata, 'namespace')
  if (typeof metadata !== 'object' || metadata === null || (namespace !== undefined && namespace !== null))
    return object
  return { ...(object as object), metadata: { ...metadata, namespace: 'default' } }
}
