/** The names of a service, relative to the zone's apex (MCS DNS specification 2.3 and 2.4). Their labels are valid facts. */

import { labelsOf, type RelativeName } from '../../dns/wire/name.ts'
import type { PortFacts } from './facts.ts'

/** `<service>.<namespace>.svc` */
export function nameOfService(namespace: string, service: string): RelativeName {
  return `${label(service)}${label(namespace)}${label('svc')}`
}

/** `_<port>._<protocol>.<service>…`; the port has a name. */
export function nameOfPort(port: PortFacts, serviceName: RelativeName): RelativeName {
  return `${label(`_${port.name}`)}${label(`_${port.protocol}`)}${serviceName}`
}

/** `<cluster id>.<service>…`: never a name of the zone itself (the specification forbids it), but its endpoints end in it. */
export function nameOfCluster(clusterId: string, serviceName: RelativeName): RelativeName {
  return `${clusterId.split('.').map(label).join('')}${serviceName}`
}

/** `<host>.<cluster id>.<service>…` */
export function nameOfEndpoint(host: string, clusterName: RelativeName): RelativeName {
  return `${label(host)}${clusterName}`
}

/** The service that a name belongs to, or would if there were one, and the labels before it; undefined where none can. */
export function serviceOfName(
  name: RelativeName,
): { readonly namespace: string; readonly service: string; readonly below: readonly string[] } | undefined {
  const labels = labelsOf(name)
  const [service, namespace, svc] = labels.slice(-3)
  return svc === 'svc' ? { namespace: namespace!, service: service!, below: labels.slice(0, -3) } : undefined
}

function label(text: string): string {
  return String.fromCharCode(text.length) + text
}
