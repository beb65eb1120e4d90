/**
 * The other agents of this node, as far as the state directory tells, and our place among them.
 *
 * Without the directory (read-only, full, not ours) an agent answers all the same. It says so, tries again while it runs, and is told by
 * `isSeen` that nobody can wait for it: what others may use it leaves where it is.
 */

import { join } from 'node:path'
import { Instances, instancesIn, type OtherInstance, type Phase } from '../host/instances.ts'
import type { Log } from '../observe/log.ts'
import { textOf } from './error-text.ts'

export interface NeighboursParts {
  /** null: we are alone. */
  readonly directory: string | null
  readonly instance: string
  /** Between two looks at whether others still see us. */
  readonly lookSeconds: number
  readonly log: Log
  /** Called whenever the directory cannot be used. */
  onRefused(text: string): void
}

export class Neighbours {
  readonly #parts: NeighboursParts
  #others: readonly OtherInstance[] = []
  #ours: Instances | undefined
  #phase: Phase = 'starting'
  #looking: NodeJS.Timeout | undefined
  #isLeaving = false

  constructor(parts: NeighboursParts) {
    this.#parts = parts
  }

  /** As of the last look. */
  get others(): readonly OtherInstance[] {
    return this.#others
  }

  /** Who goes on in our place; undefined without one. */
  get successor(): string | undefined {
    return this.#others.find(({ phase }) => phase === 'ready')?.id
  }

  /** Whether those that there are see us; where there is no directory there are none. */
  get isSeen(): boolean {
    return this.#parts.directory === null || this.#ours?.isFound === true
  }

  /** Where an agent takes connections, beside the socket by which it is seen; undefined where it cannot be seen. */
  connectionsPath(instance: string | undefined): string | undefined {
    const { directory } = this.#parts
    if (directory === null || this.#ours === undefined || instance === undefined) return undefined
    return join(directory, `${instance}.connections`)
  }

  /** What others are told. */
  tell(phase: Phase): void {
    this.#phase = phase
    if (this.#ours !== undefined) this.#ours.phase = phase
  }

  async join(): Promise<void> {
    if (this.#parts.directory === null) return
    await this.#join(this.#parts.directory)
    this.#lookLater(this.#parts.directory)
  }

  /** False where nobody can know. */
  async look(): Promise<boolean> {
    const { directory, instance, onRefused } = this.#parts
    if (directory === null) return true
    try {
      this.#others = await instancesIn(directory, instance)
      return true
    } catch (error) {
      this.#others = []
      onRefused(`look into ${directory}: ${textOf(error)}`)
      return false
    }
  }

  /** Seen to the end, but not again once the directory is lost. */
  keepJoinedNoMore(): void {
    this.#isLeaving = true
    clearTimeout(this.#looking)
  }

  async leave(): Promise<void> {
    this.keepJoinedNoMore()
    await this.#ours?.leave()
  }

  async #join(directory: string): Promise<void> {
    const { instance, log, onRefused } = this.#parts
    try {
      this.#ours = await Instances.join(directory, instance, this.#phase)
      // What was told meanwhile.
      this.#ours.phase = this.#phase
    } catch (error) {
      this.#ours = undefined
      onRefused(`use ${directory}: ${textOf(error)}`)
    }
    await this.look()
    if (this.#ours !== undefined) log.info('instance-joined', { instance, others: this.#others })
  }

  /** What keeps us from the directory may pass, and somebody may take away what others see of us. */
  #lookLater(directory: string): void {
    this.#looking = setTimeout(() => {
      this.#joinUnlessSeen(directory)
        .catch((error: unknown) => this.#parts.onRefused(`use ${directory}: ${textOf(error)}`))
        .finally(() => {
          if (!this.#isLeaving) this.#lookLater(directory)
        })
    }, this.#parts.lookSeconds * 1000).unref()
  }

  async #joinUnlessSeen(directory: string): Promise<void> {
    if (this.isSeen) return
    await this.#ours?.leave()
    if (!this.#isLeaving) await this.#join(directory)
  }
}
