/**
 * What the control plane keeps of Kubernetes objects: validated, normalised, and no more than DNS needs, for a node
 * may hold 10,000 imports and 100,000 endpoints. `control/objects.ts` makes them, `records-of.ts` turns them into records.
 */

import type { Address } from '../../dns/wire/address.ts'

export interface PortFacts {
  /** A DNS label in lower case; `''` where the port has no (usable) name. */
  readonly name: string
  readonly protocol: Protocol
  /** 1 to 65535. */
  readonly port: number
}

export type Protocol = 'tcp' | 'udp' | 'sctp'

/** A ServiceImport (`multicluster.x-k8s.io`). */
export interface ServiceImportFacts {
  /** A DNS label. */
  readonly namespace: string
  /** A DNS label; imports whose names are not cannot be Services. */
  readonly name: string
  readonly type: 'ClusterSetIP' | 'Headless'
  /** `spec.ips` without what is no address and without duplicates. */
  readonly addresses: readonly Address[]
  /** `spec.ports`; only ClusterSetIP imports use them. */
  readonly ports: readonly PortFacts[]
}

/** One name below a headless service and the addresses behind it. Only ready endpoints become facts. */
export interface EndpointFacts {
  /** The endpoint's hostname or else the address with dashes: one DNS label in lower case (`hostname.ts`). */
  readonly host: string
  /** At least one. */
  readonly addresses: readonly Address[]
}

/** An EndpointSlice (`discovery.k8s.io/v1`) that belongs to an import. It holds endpoints of exactly one cluster. */
export interface SliceFacts {
  /** A DNS label. */
  readonly namespace: string
  /** The slice's own name: with the namespace it is the object's identity. */
  readonly name: string
  /** Name of the ServiceImport it belongs to: label `multicluster.kubernetes.io/service-name`. */
  readonly service: string
  /** Label `multicluster.kubernetes.io/source-cluster` in lower case; undefined where it is missing or malformed. */
  readonly clusterId: string | undefined
  /** Submariner: the endpoints are a cluster's service address (`lighthouse.submariner.io/is-headless: "false"`). */
  readonly isServiceAddress: boolean
  readonly ports: readonly PortFacts[]
  /** Ready endpoints; an endpoint with several addresses and no hostname is one entry per address. */
  readonly endpoints: readonly EndpointFacts[]
  /** Endpoints that are not ready: no record tells of them. Undefined in what a snapshot of an older version told. */
  readonly notReady?: number
}
