/** What a request's path asks for. */

import type { Verb } from './faults.ts'
import { RESOURCES, type ResourceName } from './resources.ts'

export interface Target {
  readonly verb: Verb
  readonly group: string | undefined
  readonly version: string | undefined
  /** The resource's name as in the path, served or not. */
  readonly name: string | undefined
  readonly resource: ResourceName | undefined
  readonly namespace: string | undefined
  readonly objectName: string | undefined
  readonly query: URLSearchParams
}

/** `/apis[/GROUP[/VERSION[[/namespaces/NAMESPACE]/RESOURCE[/NAME]]]]`; anything else has the verb `other`. */
export function targetOf(url: string): Target {
  const { pathname, searchParams: query } = new URL(url, 'http://localhost')
  const [root, group, version, ...rest] = pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent)
  const namespace = rest[0] === 'namespaces' ? rest[1] : undefined
  const [name, objectName, ...more] = namespace === undefined ? rest : rest.slice(2)
  const resource = RESOURCES.find((resource) => resource.name === name)?.name
  return { verb: verbOf(), group, version, name, resource, namespace, objectName, query }

  function verbOf(): Verb {
    if (root !== 'apis' || more.length > 0) return 'other'
    if (name === undefined) return namespace === undefined ? 'discovery' : 'other'
    if (objectName !== undefined) return namespace === undefined ? 'other' : 'get'
    const watch = query.get('watch')
    return watch === null || watch === 'false' || watch === '0' ? 'list' : 'watch'
  }
}
