/** What the control plane asks of a source of objects: the Kubernetes API, a directory, nothing. */

import type { ObjectKind } from './object-store.ts'

/** A namespace that is watched by name. */
export interface WatchedNamespace {
  readonly name: string
  /** Whether all of it has been listed. */
  readonly isListed: boolean
  /** What its watches failed with last, if they did since they were open: HTTP status or error code. */
  readonly failures: readonly string[]
}

/** A source's own part of the status. */
export interface SourceStatus {
  readonly connected: boolean
  readonly namespaces: readonly WatchedNamespace[]
  readonly watched: ReadonlyMap<ObjectKind, boolean>
  readonly lastEventAt: number | undefined
  readonly relists: number
  readonly watchErrors: ReadonlyMap<string, number>
  readonly crdVersion: string | null | undefined
  readonly fromSnapshot: boolean
}

export interface Source {
  status(): SourceStatus
  stop(): Promise<void>
}
