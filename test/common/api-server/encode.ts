/** Objects as JSON, the way the API server writes them. */

import type { Stored } from './object-store.ts'
import type { Resource } from './resources.ts'

/** What a watch event or a get has: with apiVersion and kind. */
export function objectJson(resource: Resource, version: string, stored: Stored, asOf = stored.version): string {
  const { fields } = stored
  const metadata = asOf === stored.version ? stored.metadata : { ...stored.metadata, resourceVersion: String(asOf) }
  const apiVersion = `${resource.group}/${version}`
  return resource.isCustom
    ? JSON.stringify({ apiVersion, kind: resource.kind, metadata, ...fields })
    : JSON.stringify({ kind: resource.kind, apiVersion, metadata, ...fields })
}

/** What a list has: the items of built-in resources come without apiVersion and kind. */
export function itemJson(resource: Resource, version: string, stored: Stored): string {
  if (resource.isCustom) return objectJson(resource, version, stored)
  return JSON.stringify({ metadata: stored.metadata, ...stored.fields })
}

/** What is before and after the items. The list of a custom resource has its metadata last, with an empty `continue` where no page follows; of a built-in one first. */
export function listFrame(resource: Resource, version: string, metadata: object): { head: string; tail: string } {
  const apiVersion = `${resource.group}/${version}`
  const kind = `${resource.kind}List`
  return resource.isCustom
    ? {
        head: `{"apiVersion":"${apiVersion}","items":[`,
        tail: `],"kind":"${kind}","metadata":${JSON.stringify({ continue: '', ...metadata })}}\n`,
      }
    : {
        head: `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},"items":[`,
        tail: ']}\n',
      }
}

export function bookmarkJson(resource: Resource, version: string, asOf: number, isInitialEnd: boolean): string {
  const annotations = isInitialEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}
  return JSON.stringify({
    type: 'BOOKMARK',
    object: {
      kind: resource.kind,
      apiVersion: `${resource.group}/${version}`,
      metadata: { resourceVersion: String(asOf), ...annotations },
      ...resource.emptyFields,
    },
  })
}
