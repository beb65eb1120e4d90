/**
 * Stops one thread of another process for real, as a debugger does (ptrace(2)): the others run on, and nothing that the process does
 * to itself wakes it. The process must be ours or a child of ours.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

type Call = (...args: unknown[]) => number
interface Native {
  load(path: null): { func(signature: string): Call }
}

const PTRACE_SEIZE = 0x4206
const PTRACE_INTERRUPT = 0x4207
const PTRACE_DETACH = 17
const WAIT_ALL = 0x4000_0000

const library = (createRequire(import.meta.url)('koffi') as Native).load(null)
const ptrace = library.func('long ptrace(long request, int thread, uint64_t address, uint64_t data)')
const waitpid = library.func('int waitpid(int thread, void *status, int options)')

export class StoppedThread {
  readonly #thread: number
  #isOver = false

  /** Returns once it stands still. */
  constructor(thread: number) {
    this.#thread = thread
    this.#call('PTRACE_SEIZE', PTRACE_SEIZE)
    this.#call('PTRACE_INTERRUPT', PTRACE_INTERRUPT)
    waitpid(thread, null, WAIT_ALL)
  }

  /** Lets it go on, or lets go of it when its process has ended: until then nobody hears of that end. Idempotent. */
  release(): void {
    if (this.#isOver) return
    this.#isOver = true
    if (ptrace(PTRACE_DETACH, this.#thread, 0, 0) < 0) waitpid(this.#thread, null, WAIT_ALL)
  }

  #call(name: string, request: number): void {
    if (ptrace(request, this.#thread, 0, 0) < 0) throw new Error(`${name} of thread ${this.#thread} was refused`)
  }
}

/** Threads of a process whose name begins with `name`. */
export function threadsOf(pid: number, name: string): { readonly thread: number; readonly waitsIn: string }[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
    const of = (file: string) => readFileSync(`/proc/${pid}/task/${thread}/${file}`, 'latin1').trim()
    return of('comm').startsWith(name) ? [{ thread: Number(thread), waitsIn: of('syscall') }] : []
  })
}
