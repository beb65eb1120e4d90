/** What RBAC allows: roles and bindings as in manifests, asked as the API server's authorizer asks them. */

export interface RbacObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly rules?: readonly PolicyRule[]
  readonly roleRef?: { readonly apiGroup: string; readonly kind: string; readonly name: string }
  readonly subjects?: readonly { readonly kind: string; readonly name: string; readonly namespace?: string }[]
}

export interface PolicyRule {
  readonly apiGroups?: readonly string[]
  readonly resources?: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly verbs: readonly string[]
}

/** One request, or one thing that a role grants; `namespace` undefined: all of them. */
export interface Access {
  readonly verb: string
  readonly group: string
  readonly resource: string
  readonly namespace: string | undefined
}

/** As `list serviceimports.multicluster.x-k8s.io in shop`, for comparisons and messages. */
export function textOfAccess({ verb, group, resource, namespace }: Access): string {
  return `${verb} ${resource}.${group} in ${namespace ?? 'all namespaces'}`
}

/** Everything that the objects grant a service account, each verb of each resource one by one. Wildcards are told as they are. */
export function granted(objects: readonly RbacObject[], account: { namespace: string; name: string }): Access[] {
  return objects.flatMap((binding) => {
    const isOfCluster = binding.kind === 'ClusterRoleBinding'
    if (!isOfCluster && binding.kind !== 'RoleBinding') return []
    const isMeant = binding.subjects?.some(
      ({ kind, name, namespace }) =>
        kind === 'ServiceAccount' && name === account.name && namespace === account.namespace,
    )
    if (isMeant !== true) return []
    const namespace = isOfCluster ? undefined : binding.metadata.namespace
    const role = objects.find(
      ({ kind, metadata }) =>
        kind === binding.roleRef?.kind &&
        metadata.name === binding.roleRef.name &&
        (kind === 'ClusterRole' || metadata.namespace === binding.metadata.namespace),
    )
    if (role === undefined) throw new Error(`${binding.kind} ${binding.metadata.name} names a role that is not there`)
    return (role.rules ?? []).flatMap((rule) => {
      if (rule.resourceNames !== undefined) throw new Error('resourceNames are not known here')
      return (rule.apiGroups ?? []).flatMap((group) =>
        (rule.resources ?? []).flatMap((resource) =>
          rule.verbs.map((verb) => ({ verb, group, resource, namespace }) satisfies Access),
        ),
      )
    })
  })
}

/** Whether one of the grants covers what is asked. */
export function allows(grants: readonly Access[], asked: Access): boolean {
  const covers = (granted: string, wanted: string): boolean => granted === '*' || granted === wanted
  return grants.some(
    ({ verb, group, resource, namespace }) =>
      covers(verb, asked.verb) &&
      covers(group, asked.group) &&
      covers(resource, asked.resource) &&
      (namespace === undefined || namespace === asked.namespace),
  )
}

/** The objects without one verb of one resource, wherever it is granted. */
export function without(
  objects: readonly RbacObject[],
  { verb, group, resource }: Pick<Access, 'verb' | 'group' | 'resource'>,
): RbacObject[] {
  return objects.map((object) =>
    object.rules === undefined
      ? object
      : {
          ...object,
          rules: object.rules.map((rule) =>
            rule.apiGroups?.includes(group) === true && rule.resources?.includes(resource) === true
              ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) }
              : rule,
          ),
        },
  )
}
