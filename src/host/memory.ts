/**
 * Gives memory back that starting, compiling and bursts took and nobody uses any more: the allocator's free pages, and pages
 * of the runtime's own file.
 *
 * The last are half of what a Node process has resident. Most of them were touched once, when it started or compiled; the
 * kernel could take them at any time, and does so late. Taken out of our page table they cost a minor fault where they are
 * used again, and stay in the page cache for as long as the kernel likes.
 */

import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { memoryCalls } from './syscalls.ts'

/** glibc's malloc.h. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_ARENA_MAX = -8

/**
 * Octets: what is larger gets a mapping of its own, and what is free at the end of a heap is given back from this size on. They
 * are glibc's defaults; set, they no longer grow with what the compiler once needed.
 */
const THRESHOLD_OCTETS = 128 * 1024

/** madvise's word for pages that may be forgotten. */
const MADV_DONTNEED = 4

/** Keeps glibc from giving every thread a heap of its own, and from holding on to what one burst took. False where there is no glibc. */
export function restrainAllocator(): boolean {
  const calls = memoryCalls()
  if (calls === undefined) return false
  calls.option(M_ARENA_MAX, 1)
  calls.option(M_MMAP_THRESHOLD, THRESHOLD_OCTETS)
  calls.option(M_TRIM_THRESHOLD, THRESHOLD_OCTETS)
  return true
}

/** Gives the allocator's free pages back. Not on this thread: it takes milliseconds. */
export async function trimAllocator(): Promise<void> {
  await memoryCalls()?.trim()
}

/** Octets forgotten at once, and milliseconds until the next: what is needed of them comes back by faults, in one turn's share. */
const STEP_OCTETS = 1024 * 1024
const STEP_PAUSE_MS = 50

/** Takes the pages of mapped files that nobody has written to out of our page table. */
export async function releaseFilePages(): Promise<void> {
  const calls = memoryCalls()
  if (calls === undefined) return
  for (const { from, octets } of filePages(await readFile('/proc/self/smaps', 'latin1'))) {
    for (let done = 0; done < octets; done += STEP_OCTETS) {
      await calls.advise(from + done, Math.min(STEP_OCTETS, octets - done), MADV_DONTNEED)
      await sleep(STEP_PAUSE_MS, undefined, { ref: false })
    }
  }
}

/** The mappings of /proc/PID/smaps that are a file's, are not writable and have no page of our own, such as relocated ones. */
export function filePages(smaps: string): { from: number; octets: number }[] {
  const found: { from: number; octets: number }[] = []
  for (const mapping of smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \d+ +\//.exec(mapping)
    if (head === null || !/^Anonymous: +0 kB$/m.test(mapping)) continue
    const from = Number.parseInt(head[1]!, 16)
    found.push({ from, octets: Number.parseInt(head[2]!, 16) - from })
  }
  return found
}
