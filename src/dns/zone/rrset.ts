/** The records of services as the zone holds them, relative to an apex, so that every configured zone shares them. */

import type { Rdata } from '../wire/message.ts'
import type { RelativeName } from '../wire/name.ts'

/** `namespace/name` of a ServiceImport; both are label-checked by Kubernetes and never hold a slash. */
export type ServiceKey = string

/**
 * The records of one type at one name, without duplicates, never none. Types: A, AAAA and SRV.
 * The rdata of an SRV record ends in a relative name (no root label): the apex is appended when it is told.
 */
export interface Rrset {
  readonly type: number
  /** Of each record, without what `rdataStart` says. */
  readonly rdata: readonly Rdata[]
  /** What the rdata of all records begin with: priority and weight of SRV records, nothing of others. */
  readonly rdataStart: Rdata
}

/**
 * Every name of one service with its rrsets, at most one per type. A name without rrsets exists and has no data; a
 * service without names still makes its namespace exist.
 */
export interface ServiceRecords extends Iterable<readonly [RelativeName, readonly Rrset[]]> {
  readonly size: number
  get(name: RelativeName): readonly Rrset[] | undefined
  has(name: RelativeName): boolean
  keys(): Iterable<RelativeName>
}

/** What stands at a name that exists without data. */
export const NO_RRSETS: readonly Rrset[] = []

/** Octets of an SRV rdata before its target, `rdataStart` (priority and weight) left out: the port. */
export const PORT_OCTETS = 2
