/** Looks now and then whether the process holds memory that it does not use, and gives it back: when it has started, and after bursts. */

import { readFileSync } from 'node:fs'
import { releaseFilePages, restrainAllocator, trimAllocator } from '../host/memory.ts'
import { sweepHeap } from '../host/sweep-heap.ts'

/** Milliseconds between two looks: a burst is over by then, and nobody wakes up often for it. */
const LOOK_MS = 5_000

/** MiB of anonymous memory more than after the last time that make it worth the while. */
const GROWN_MIB = 6

/** MiB of files' pages that make it worth the while: about twice what serving needs. */
const FILES_MIB = 32

/** MiB of files' pages more than came back after the last time that make it worth the while again. */
const FILES_GROWN_MIB = 8

/** The machine's side of it; tests have their own. */
export interface MemoryMachine {
  /** False where nothing of the kind can be done: there is nothing to look for then. */
  restrainAllocator(): boolean
  sweepHeap(): void
  trimAllocator(): Promise<void>
  releaseFilePages(): Promise<void>
  resident(): ResidentMib
}

export interface ResidentMib {
  readonly anonymous: number
  readonly files: number
}

const THIS_MACHINE: MemoryMachine = { restrainAllocator, sweepHeap, trimAllocator, releaseFilePages, resident }

export class MemoryKeeper {
  readonly #machine: MemoryMachine
  readonly #onFailure: (error: unknown) => void
  #timer: NodeJS.Timeout | undefined
  #anonymousMib = 0
  /** What came back until the look after the last time. */
  #filesMib: number | undefined = 0
  #isLooking = false

  /** `onFailure`: it looks no more. */
  constructor(onFailure: (error: unknown) => void, machine: MemoryMachine = THIS_MACHINE) {
    this.#onFailure = onFailure
    this.#machine = machine
  }

  /** Sweeps what the start has left, which takes some ten milliseconds, and looks from then on. */
  begin(): void {
    this.#machine.sweepHeap()
    if (this.#machine.restrainAllocator()) this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref()
  }

  end(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    try {
      await this.#giveBack()
    } catch (error) {
      this.end()
      this.#onFailure(error)
    }
    this.#isLooking = false
  }

  async #giveBack(): Promise<void> {
    const machine = this.#machine
    const { anonymous, files } = machine.resident()
    this.#filesMib ??= files
    if (files > Math.max(FILES_MIB, this.#filesMib + FILES_GROWN_MIB)) {
      await machine.releaseFilePages()
      this.#filesMib = undefined
    }
    if (anonymous < this.#anonymousMib + GROWN_MIB) return
    await machine.trimAllocator()
    this.#anonymousMib = machine.resident().anonymous
  }
}

function resident(): ResidentMib {
  const status = readFileSync('/proc/self/status', 'latin1')
  const mibOf = (what: string) => Number(new RegExp(`^${what}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) / 1024
  return { anonymous: mibOf('RssAnon'), files: mibOf('RssFile') }
}
