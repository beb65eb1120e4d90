/** The two resources, their groups and versions, and what discovery says about them. */

import type { CrdVersion, ObjectKind } from '../api-under-test.ts'

export type ResourceName = 'serviceimports' | 'endpointslices'

export interface Resource {
  readonly name: ResourceName
  readonly kind: ObjectKind
  readonly group: string
  readonly singularName: string
  readonly shortNames: readonly string[]
  /** Custom resources are encoded as they are stored, keys sorted; built-in ones by their Go types. */
  readonly isCustom: boolean
  /** Fields that the Go type always writes, so that bookmarks have them too. */
  readonly emptyFields: Readonly<Record<string, unknown>>
  /** An object as it is stored: with what its kind says where the object does not. */
  withDefaults(fields: Record<string, unknown>): Record<string, unknown>
}

export const SERVICE_IMPORTS: Resource = {
  name: 'serviceimports',
  kind: 'ServiceImport',
  group: 'multicluster.x-k8s.io',
  singularName: 'serviceimport',
  shortNames: ['svcim', 'svcimport'],
  isCustom: true,
  emptyFields: {},
  withDefaults: (fields) => fields,
}

export const ENDPOINT_SLICES: Resource = {
  name: 'endpointslices',
  kind: 'EndpointSlice',
  group: 'discovery.k8s.io',
  singularName: 'endpointslice',
  shortNames: [],
  isCustom: false,
  emptyFields: { addressType: '', endpoints: null, ports: null },
  withDefaults: ({ endpoints = null, ports = null, ...fields }) => ({
    ...fields,
    endpoints: eachWith({ conditions: {} }, endpoints),
    ports: eachWith({ name: '', protocol: 'TCP' }, ports),
  }),
}

/** What is no list of objects stays as it is: tests serve malformed ones. */
function eachWith(defaults: object, list: unknown): unknown {
  if (!Array.isArray(list)) return list
  return list.map((item: unknown) => (typeof item === 'object' && item !== null ? { ...defaults, ...item } : item))
}

export const RESOURCES: readonly Resource[] = [ENDPOINT_SLICES, SERVICE_IMPORTS]

export function resourceOfKind(kind: string): Resource {
  const resource = RESOURCES.find((resource) => resource.kind === kind)
  if (resource === undefined) throw new Error(`this API server has no kind ${kind}`)
  return resource
}

/** The versions each resource is served in right now, preferred first. */
export class ServedVersions {
  #crd: readonly CrdVersion[]

  constructor(crd: readonly CrdVersion[]) {
    this.#crd = crd
  }

  setCrd(versions: readonly CrdVersion[]): void {
    // Discovery puts beta before alpha, whatever the order in the CRD.
    this.#crd = [...versions].sort().reverse()
  }

  of(resource: Resource): readonly string[] {
    return resource.isCustom ? this.#crd : ['v1']
  }

  find(group: string, version: string, name: string): Resource | undefined {
    return RESOURCES.find(
      (resource) => resource.group === group && resource.name === name && this.of(resource).includes(version),
    )
  }

  isBuiltIn(group: string, version: string): boolean {
    return RESOURCES.some((one) => !one.isCustom && one.group === group && this.of(one).includes(version))
  }

  /** The document at `/apis`, `/apis/GROUP` or `/apis/GROUP/VERSION`; undefined when there is nothing served under it. */
  discover(group?: string, version?: string): object | undefined {
    const groups = RESOURCES.filter((resource) => this.of(resource).length > 0)
    if (group === undefined) {
      return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map((resource) => this.#apiGroup(resource)) }
    }
    const resource = groups.find((resource) => resource.group === group)
    if (resource === undefined) return undefined
    if (version === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...this.#apiGroup(resource) }
    return this.of(resource).includes(version) ? apiResourceList(resource, version) : undefined
  }

  #apiGroup(resource: Resource): object {
    const versions = this.of(resource).map((version) => ({ groupVersion: `${resource.group}/${version}`, version }))
    return { name: resource.group, versions, preferredVersion: versions[0] }
  }
}

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']

function apiResourceList(resource: Resource, version: string): object {
  const { name, singularName, kind, shortNames } = resource
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: `${resource.group}/${version}`,
    resources: [
      {
        name,
        singularName,
        namespaced: true,
        kind,
        verbs: VERBS,
        ...(shortNames.length > 0 && { shortNames }),
        storageVersionHash: 'Nx3SIv6I0mE=',
      },
    ],
  }
}
