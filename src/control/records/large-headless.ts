/**
 * A headless service of thousands of endpoints, whose records change in place: a slice that changed costs what changed in
 * it, not what the service has. What it holds is what `headless.ts` would make of the same slices, in another order.
 *
 * Each record is counted as often as slices tell it, so that it goes with the last of them.
 */

import { NAME_OCTETS_MAX, type RelativeName, textOfName } from '../../dns/wire/name.ts'
import { RecordType } from '../../dns/wire/record-type.ts'
import type { ServiceRecords } from '../../dns/zone/rrset.ts'
import { isIpv4, portAndTarget } from './drafts.ts'
import type { EndpointFacts, PortFacts, SliceFacts } from './facts.ts'
import { GradualMap } from './gradual-map.ts'
import { type Ignored, IgnoredList } from './ignored.ts'
import { LiveRrset } from './live-rrset.ts'
import { nameOfCluster, nameOfEndpoint, nameOfPort } from './names.ts'
import { hasSameFrame, isSameEndpoint } from './same-facts.ts'

type Step = 'add' | 'remove'

/**
 * Records told or taken back until it is looked whether there is time for more: a tenth of a millisecond, and a few where the
 * tables of many ports' records grow, which they do all at the same endpoint.
 */
const RECORDS_A_LOOK = 50

/** Names that do not fit of which is known that they were told. */
const TOO_LONG_MAX = 1_000

export class LargeHeadless {
  readonly #serviceName: RelativeName
  readonly #nameOctetsMax: number
  /** By the slice's name. */
  readonly #slices = new Map<string, SliceFacts>()
  readonly #records = new GradualMap<LiveRrset[]>()
  /** Names with SRV records: their answers hold the addresses of the names they lead to. */
  readonly #owners = new Set<RelativeName>()
  /** Names that did not fit. */
  readonly #tooLong = new Set<RelativeName>()
  /** Since `takeChanged`, which also begins it: before the first publication everything is new. */
  #changed: Set<RelativeName> | undefined
  #hasTargetChanged = false
  /** A slice that is taken in by part: gone on with before anything else. It stops where others may have their turn. */
  #unfinished: Iterator<void, void> | undefined

  /** `apexOctetsMax`: octets of the longest apex that the names will stand under, its root label included. */
  constructor(serviceName: RelativeName, apexOctetsMax: number) {
    this.#serviceName = serviceName
    this.#nameOctetsMax = NAME_OCTETS_MAX - apexOctetsMax
  }

  /** As the slices taken in so far have them; they change in place with the next ones. */
  get records(): ServiceRecords {
    return this.#records
  }

  get ignored(): readonly Ignored[] {
    if (this.#tooLong.size === 0) return []
    const ignored = new IgnoredList()
    for (const name of this.#tooLong) ignored.add('name-too-long', 'the name below the zone', textOfName(name))
    return ignored.entries
  }

  /** Takes in the slices that changed, one after the other until `isSpent`. True when nothing is left to do. */
  follow(slices: readonly SliceFacts[], isSpent: () => boolean): boolean {
    if (!this.#goOn(isSpent)) return false
    let present = 0
    for (const slice of slices) {
      const former = this.#slices.get(slice.name)
      if (former !== undefined) present++
      if (former === slice) continue
      this.#slices.set(slice.name, slice)
      if (former === undefined) present++
      this.#unfinished = this.#replacing(former, slice)
      if (!this.#goOn(isSpent) || isSpent()) return false
    }
    return present === this.#slices.size || this.#forgetOthers(slices, isSpent)
  }

  /** The names whose answers changed since it was asked last; all of them at the first time. */
  takeChanged(): RelativeName[] {
    const changed = this.#changed
    if (changed !== undefined && this.#hasTargetChanged) for (const owner of this.#owners) changed.add(owner)
    this.#hasTargetChanged = false
    this.#changed = new Set()
    return [...(changed ?? this.#records.keys())]
  }

  #forgetOthers(slices: readonly SliceFacts[], isSpent: () => boolean): boolean {
    const names = new Set(slices.map((slice) => slice.name))
    for (const [name, former] of this.#slices) {
      if (names.has(name)) continue
      this.#slices.delete(name)
      this.#unfinished = this.#replacing(former, undefined)
      if (!this.#goOn(isSpent) || isSpent()) return false
    }
    return true
  }

  /** Goes on with what is unfinished; false when it still is. */
  #goOn(isSpent: () => boolean): boolean {
    while (this.#unfinished !== undefined) {
      if (this.#unfinished.next().done === true) this.#unfinished = undefined
      else if (isSpent()) return false
    }
    return true
  }

  /** What is new is added before what is old is removed: a record that both tell does not change. */
  *#replacing(former: SliceFacts | undefined, slice: SliceFacts | undefined): Generator<void, void> {
    const isSameFrame = former !== undefined && slice !== undefined && hasSameFrame(former, slice)
    const [start, formerEnd, end] = isSameFrame
      ? rangesThatDiffer(former.endpoints, slice.endpoints)
      : [0, former?.endpoints.length ?? 0, slice?.endpoints.length ?? 0]
    if (slice !== undefined) yield* this.#applying('add', slice, start, end)
    if (former !== undefined) yield* this.#applying('remove', former, start, formerEnd)
  }

  *#applying(step: Step, slice: SliceFacts, start: number, end: number): Generator<void, void> {
    if (start >= end || !this.#admits(this.#serviceName)) return
    const { clusterId, endpoints } = slice
    // As in `headless.ts`: without a cluster id there are no names of endpoints.
    const clusterName = clusterId === undefined ? undefined : nameOfCluster(clusterId, this.#serviceName)
    const ports = clusterId === undefined ? [] : slice.ports.map((port) => ({ port, owner: this.#ownerOf(port) }))
    let records = 0
    for (let i = start; i < end; i++) {
      const { host, addresses } = endpoints[i]!
      const target = clusterName === undefined ? undefined : nameOfEndpoint(host, clusterName)
      const isTarget = target !== undefined && this.#admits(target)
      for (const address of addresses) {
        this.#count(step, this.#serviceName, typeOf(address), address)
        if (isTarget && this.#count(step, target, typeOf(address), address)) this.#hasTargetChanged = true
        if (++records % RECORDS_A_LOOK === 0) yield
      }
      if (!isTarget) continue
      for (const { port, owner } of ports) {
        const service = portAndTarget(port, target)
        // A service may have a port twice, under two names or under none: counted as often here as there.
        this.#count(step, this.#serviceName, RecordType.SRV, service)
        if (owner !== undefined) this.#count(step, owner, RecordType.SRV, service)
        if (++records % RECORDS_A_LOOK === 0) yield
      }
    }
  }

  #ownerOf(port: PortFacts): RelativeName | undefined {
    if (port.name === '') return undefined
    const name = nameOfPort(port, this.#serviceName)
    return this.#admits(name) ? name : undefined
  }

  #admits(name: RelativeName): boolean {
    if (name.length <= this.#nameOctetsMax) return true
    if (this.#tooLong.size < TOO_LONG_MAX) this.#tooLong.add(name)
    return false
  }

  /** Adds or removes one record; true when the name's answer changed with it. */
  #count(step: Step, name: RelativeName, type: number, record: string): boolean {
    const rrsets = this.#records.get(name)
    const rrset = rrsets?.find((one) => one.type === type)
    if (step === 'add') {
      if (rrset !== undefined && !rrset.add(record)) return false
      if (rrset === undefined) this.#addRrset(name, rrsets, new LiveRrset(type, record))
    } else {
      if (rrset?.remove(record) !== true) return false
      if (rrset.rdata.length === 0) this.#removeRrset(name, rrsets!, rrset)
    }
    this.#changed?.add(name)
    return true
  }

  #addRrset(name: RelativeName, rrsets: LiveRrset[] | undefined, rrset: LiveRrset): void {
    if (rrsets === undefined) this.#records.set(name, [rrset])
    else rrsets.push(rrset)
    if (rrset.type === RecordType.SRV) this.#owners.add(name)
  }

  #removeRrset(name: RelativeName, rrsets: LiveRrset[], rrset: LiveRrset): void {
    rrsets.splice(rrsets.indexOf(rrset), 1)
    if (rrsets.length === 0) this.#records.delete(name)
    if (rrset.type === RecordType.SRV) this.#owners.delete(name)
  }
}

function typeOf(address: string): number {
  return isIpv4(address) ? RecordType.A : RecordType.AAAA
}

/** Where two lists begin to differ, and where each ends to: a change is mostly one endpoint. */
function rangesThatDiffer(one: readonly EndpointFacts[], other: readonly EndpointFacts[]): [number, number, number] {
  let start = 0
  while (start < one.length && start < other.length && isSameEndpoint(one[start]!, other[start]!)) start++
  let end = one.length
  let otherEnd = other.length
  while (end > start && otherEnd > start && isSameEndpoint(one[end - 1]!, other[otherEnd - 1]!)) {
    end--
    otherEnd--
  }
  return [start, end, otherEnd]
}
