/** Programs that a test needs from the machine. */

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'

/**
 * The path of a program. Without it the test is skipped and undefined is returned; with NODELOCAL_MCS_TEST_REQUIRE_ALL=1,
 * as in the gate, the test fails instead.
 */
export function requireProgram(t: TestContext, program: string, debianPackage: string): string | undefined {
  const path = pathOf(program)
  if (path !== undefined) return path
  const text = missing(program, debianPackage)
  if (process.env['NODELOCAL_MCS_TEST_REQUIRE_ALL'] === '1') throw new Error(text)
  t.skip(text)
  return undefined
}

/** Skips a test for want of something else; as `requireProgram`, fails it where everything is required. */
export function skipUnlessRequired(t: TestContext, why: string): void {
  if (process.env['NODELOCAL_MCS_TEST_REQUIRE_ALL'] === '1') throw new Error(why)
  t.skip(why)
}

/**
 * Why a suite that needs root and these programs (with their Debian packages) is to be skipped; false when it can run. With
 * NODELOCAL_MCS_TEST_REQUIRE_ALL=1 it throws instead.
 */
export function skipWithout(programs: Readonly<Record<string, string>>): string | false {
  const absent = Object.entries(programs).find(([program]) => pathOf(program) === undefined)
  const why = process.getuid?.() === 0 ? absent && missing(...absent) : 'needs root, for network namespaces'
  if (why === undefined) return false
  if (process.env['NODELOCAL_MCS_TEST_REQUIRE_ALL'] === '1') throw new Error(why)
  return why
}

/** `source`: a Debian package, or in words where there is none. */
function missing(program: string, source: string): string {
  return `${program} is missing: ${source.includes(' ') ? source : `install the Debian package ${source}`}`
}

function pathOf(program: string): string | undefined {
  // Some are not for everybody and stand where only root looks.
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return folders.map((folder) => join(folder, program)).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
