/** When the snapshot is read and written: at the start, at the stop, and in between seldom and only after changes. */

import type { ControlLog } from './log.ts'
import type { ObjectStore } from './object-store.ts'
import { readSnapshot, SNAPSHOT_EVERY_MS, type SnapshotClock, writeSnapshot } from './snapshot.ts'

export interface SnapshotKeeperParts {
  readonly log: ControlLog
  readonly store: ObjectStore
  readonly clock: SnapshotClock
}

export class SnapshotKeeper {
  readonly #path: string
  readonly #parts: SnapshotKeeperParts
  readonly #clock: SnapshotClock
  #isReadyToWrite: () => boolean = () => false
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()
  #changesWritten = -1

  constructor(path: string, parts: SnapshotKeeperParts) {
    this.#path = path
    this.#parts = parts
    this.#clock = parts.clock
  }

  /** Whether the store now holds what a snapshot said. A file that is of no use is told and otherwise ignored. */
  async read(namespaces: readonly string[]): Promise<boolean> {
    const { log, store } = this.#parts
    const reading = await readSnapshot(this.#path, store, namespaces, this.#clock)
    const path = this.#path
    switch (reading.kind) {
      case 'none':
        return false
      case 'corrupt':
        log.error('snapshot-unusable', { path, why: reading.why })
        return false
      case 'read':
        log.info('snapshot-read', { path, objects: reading.objects, writtenAt: reading.writtenAt })
        return true
    }
  }

  /** `isReadyToWrite`: whether the store is what the API said, not half a list. */
  start(isReadyToWrite: () => boolean): void {
    this.#isReadyToWrite = isReadyToWrite
    this.#timer = setInterval(() => void this.#write(), SNAPSHOT_EVERY_MS)
    this.#timer.unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#write()
  }

  #write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeNow())
    return this.#writing
  }

  async #writeNow(): Promise<void> {
    const { log, store } = this.#parts
    const { changes } = store
    if (!this.#isReadyToWrite() || changes === this.#changesWritten) return
    try {
      await writeSnapshot(this.#path, store, this.#clock)
      this.#changesWritten = changes
      log.info('snapshot-written', { path: this.#path })
    } catch (failure) {
      const error = failure instanceof Error ? failure.message : String(failure)
      log.error('snapshot-not-written', { path: this.#path, error })
    }
  }
}
