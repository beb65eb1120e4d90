/**
 * Kubernetes objects to facts: whatever JSON says it is a ServiceImport or an EndpointSlice comes in, what DNS needs of
 * it comes out. Schemas are not believed (the CRD validates little, manifests nothing): a broken part is left out and
 * told, the rest stays, nothing throws.
 */

import { type Address, addressFromText } from '../dns/wire/address.ts'
import { clusterIdFrom } from './records/cluster-id.ts'
import type { EndpointFacts, PortFacts, Protocol, ServiceImportFacts, SliceFacts } from './records/facts.ts'
import { hostOfAddress, isLabel } from './records/hostname.ts'
import { type Ignored, IgnoredList } from './records/ignored.ts'

/** A slice belongs to the import that this label names; the API server can select on it. */
export const SERVICE_NAME_LABEL = 'multicluster.kubernetes.io/service-name'
export const SOURCE_CLUSTER_LABEL = 'multicluster.kubernetes.io/source-cluster'
export const SUBMARINER_HEADLESS_LABEL = 'lighthouse.submariner.io/is-headless'

/**
 * Addresses read of one object. The API allows a slice 1,000 endpoints, each with an address (only the first of several is of
 * use to kube-proxy, up to 100 are admitted); more than this would take longer than a turn of the event loop may.
 */
export const ADDRESSES_MAX = 10_000

/** Ports read of one object. The API allows a slice 100, and an import what fits into it. */
export const PORTS_MAX = 1_000

/** When the change happened that made the slice what it is: the endpoint slice controller writes it, importers may copy it. */
const TRIGGER_TIME_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time'

/** Milliseconds of the Unix epoch at the change behind a slice, as its source cluster's clock has it; undefined when it does not say. */
export function triggeredAtMsOf(object: unknown): number | undefined {
  const annotations = fieldsOf(fieldsOf(fieldsOf(object)['metadata'])['annotations'])
  const text = annotations[TRIGGER_TIME_ANNOTATION]
  const atMs = typeof text === 'string' ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : atMs
}

/** What an object said. `facts` is undefined when it is of no use to DNS; the object then counts as not there. */
export interface Reading<Facts> {
  readonly facts: Facts | undefined
  readonly ignored: readonly Ignored[]
}

/** The facts of a ServiceImport, v1alpha1 or v1beta1: both have the same fields. Never throws. */
export function serviceImportFacts(object: unknown): Reading<ServiceImportFacts> {
  const ignored = new IgnoredList()
  const metadata = fieldsOf(fieldsOf(object)['metadata'])
  const spec = fieldsOf(fieldsOf(object)['spec'])
  const { namespace, name } = metadata
  const type = spec['type']
  if (typeof namespace !== 'string' || typeof name !== 'string') {
    ignored.add('malformed', 'metadata', 'a ServiceImport without a namespace and a name')
  } else if (!isLabel(namespace) || !isLabel(name)) {
    ignored.add('name', 'metadata', `${namespace}/${name}`)
  } else if (type !== 'ClusterSetIP' && type !== 'Headless') {
    ignored.add('type', 'spec.type', type)
  } else {
    const addresses = addressesOf(
      firstOf(itemsOf(spec['ips']), ADDRESSES_MAX, 'spec.ips', ignored),
      'spec.ips',
      ignored,
    )
    const ports = portsOf(spec['ports'], 'spec.ports', ignored)
    return { facts: { namespace, name, type, addresses, ports }, ignored: ignored.entries }
  }
  return { facts: undefined, ignored: ignored.entries }
}

/** The facts of an EndpointSlice; those of local Services (no `SERVICE_NAME_LABEL`) have none. Never throws. */
export function sliceFacts(object: unknown): Reading<SliceFacts> {
  const ignored = new IgnoredList()
  const fields = fieldsOf(object)
  const metadata = fieldsOf(fields['metadata'])
  const labels = fieldsOf(metadata['labels'])
  const { namespace, name } = metadata
  const service = labels[SERVICE_NAME_LABEL]
  if (service === undefined) return { facts: undefined, ignored: [] }
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof service !== 'string') {
    ignored.add('malformed', 'metadata', 'an EndpointSlice without a namespace, a name and the name of its service')
  } else if (!isLabel(namespace) || !isLabel(service)) {
    ignored.add('name', `metadata.labels["${SERVICE_NAME_LABEL}"]`, isLabel(namespace) ? service : namespace)
  } else if (fields['addressType'] === 'FQDN') {
    ignored.add('address-type', 'addressType', 'FQDN')
  } else {
    const clusterId = clusterIdOf(labels[SOURCE_CLUSTER_LABEL], ignored)
    const isServiceAddress = labels[SUBMARINER_HEADLESS_LABEL] === 'false'
    const ports = portsOf(fields['ports'], 'ports', ignored)
    const { endpoints, notReady } = endpointsOf(fields['endpoints'], ignored)
    const facts = { namespace, name, service, clusterId, isServiceAddress, ports, endpoints, notReady }
    return { facts, ignored: ignored.entries }
  }
  return { facts: undefined, ignored: ignored.entries }
}

function clusterIdOf(label: unknown, ignored: IgnoredList): string | undefined {
  const where = `metadata.labels["${SOURCE_CLUSTER_LABEL}"]`
  if (label === undefined || label === null || label === '') {
    ignored.add('no-cluster-id', where, undefined)
    return undefined
  }
  const clusterId = typeof label === 'string' ? clusterIdFrom(label) : undefined
  if (clusterId === undefined) ignored.add('cluster-id', where, label)
  return clusterId
}

function endpointsOf(value: unknown, ignored: IgnoredList): { endpoints: EndpointFacts[]; notReady: number } {
  const endpoints: EndpointFacts[] = []
  let notReady = 0
  let addressesLeft = ADDRESSES_MAX
  itemsOf(value).forEach((item, i) => {
    const endpoint = fieldsOf(item)
    // Ready unless it says otherwise; `serving` and `terminating` have no say (MCS DNS specification).
    if (fieldsOf(endpoint['conditions'])['ready'] === false) {
      notReady++
      return
    }
    const where = `endpoints[${i}]`
    const texts = firstOf(itemsOf(endpoint['addresses']), addressesLeft, `${where}.addresses`, ignored)
    addressesLeft -= texts.length
    const host = hostnameOf(endpoint['hostname'], where, ignored)
    if (host !== undefined) {
      const addresses = addressesOf(texts, `${where}.addresses`, ignored)
      if (addresses.length > 0) endpoints.push({ host, addresses })
      return
    }
    for (const text of texts) {
      const address = addressOf(text, `${where}.addresses`, ignored)
      if (address !== undefined) endpoints.push({ host: hostOfAddress(text as string), addresses: [address] })
    }
  })
  return { endpoints, notReady }
}

function hostnameOf(value: unknown, where: string, ignored: IgnoredList): string | undefined {
  if (value === undefined || value === null || value === '') return undefined
  const host = typeof value === 'string' ? value.toLowerCase() : ''
  if (isLabel(host)) return host
  ignored.add('hostname', `${where}.hostname`, value)
  return undefined
}

/** No more than `max` of the items; that there are more is told. */
function firstOf(items: readonly unknown[], max: number, where: string, ignored: IgnoredList): readonly unknown[] {
  if (items.length <= max) return items
  ignored.add('too-many', where, items.length, items.length - max)
  return items.slice(0, max)
}

function addressesOf(items: readonly unknown[], where: string, ignored: IgnoredList): Address[] {
  // A hundred thousand endpoints have one address each.
  if (items.length === 1) {
    const address = addressOf(items[0], where, ignored)
    return address === undefined ? [] : [address]
  }
  const addresses = new Set<Address>()
  for (const text of items) {
    const address = addressOf(text, where, ignored)
    if (address !== undefined) addresses.add(address)
  }
  return [...addresses]
}

function addressOf(value: unknown, where: string, ignored: IgnoredList): Address | undefined {
  const address = typeof value === 'string' ? addressFromText(value) : undefined
  if (address === undefined) ignored.add('address', where, value)
  return address
}

const PROTOCOLS = new Map<unknown, Protocol>([
  // The documented default that no schema fills in.
  [undefined, 'tcp'],
  [null, 'tcp'],
  ['', 'tcp'],
  ['TCP', 'tcp'],
  ['UDP', 'udp'],
  ['SCTP', 'sctp'],
])

function portsOf(value: unknown, where: string, ignored: IgnoredList): PortFacts[] {
  const ports: PortFacts[] = []
  firstOf(itemsOf(value), PORTS_MAX, where, ignored).forEach((item, i) => {
    const { name, protocol, port } = fieldsOf(item)
    const here = `${where}[${i}]`
    if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) {
      ignored.add('port', `${here}.port`, port)
      return
    }
    const known = PROTOCOLS.get(protocol)
    if (known === undefined) ignored.add('protocol', `${here}.protocol`, protocol)
    else ports.push({ name: portNameOf(name, here, ignored), protocol: known, port })
  })
  return ports
}

/** Octets of a port's name: with the underscore before it, it is a label (RFC 2782). */
const PORT_NAME_OCTETS_MAX = 62

function portNameOf(value: unknown, where: string, ignored: IgnoredList): string {
  if (value === undefined || value === null || value === '') return ''
  const name = typeof value === 'string' ? value.toLowerCase() : ''
  if (name.length <= PORT_NAME_OCTETS_MAX && isLabel(name)) return name
  ignored.add('port-name', `${where}.name`, value)
  return ''
}

type Fields = Readonly<Record<string, unknown>>

const NO_FIELDS: Fields = {}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : NO_FIELDS
}

function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
