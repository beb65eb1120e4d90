/** Programs that a test needs from the machine. */

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'

/**
 * The path of a program. Without it the test is skipped and undefined is returned; with NODELOCAL_MCS_TEST_REQUIRE_ALL=1,
 * as in the gate, the test fails instead.
 */
export function requireProgram(t: TestContext, program: string, debianPackage: string): string | undefined {
  // Some are not for everybody and stand where only root looks.
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']
  const path = folders.map((folder) => join(folder, program)).find(isExecutable)
  if (path !== undefined) return path
  const text = `${program} is missing: install the Debian package ${debianPackage}`
  if (process.env['NODELOCAL_MCS_TEST_REQUIRE_ALL'] === '1') throw new Error(text)
  t.skip(text)
  return undefined
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
