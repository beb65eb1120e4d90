/** What the control plane asks of a source of objects: the Kubernetes API, a directory, nothing. */

import type { ObjectKind } from './object-store.ts'

/** A source's own part of the status. */
export interface SourceStatus {
  readonly connected: boolean
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
