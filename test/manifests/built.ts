/** What `kubectl kustomize` makes of the manifests. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { requireProgram } from '../common/requires.ts'

const ROOT = new URL('../../', import.meta.url).pathname

export interface ManifestObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
  }
  readonly data?: Readonly<Record<string, string>>
}

export const FOLDERS = [
  'manifests/base',
  ...readdirSync(join(ROOT, 'manifests/overlays')).map((name) => `manifests/overlays/${name}`),
]

const buildings = new Map<string, ManifestObject[]>()

/** The objects of a folder; undefined, and the test skipped, without kubectl. */
export function built(t: TestContext, folder: string): ManifestObject[] | undefined {
  const known = buildings.get(folder)
  if (known !== undefined) return known
  const kubectl = requireProgram(t, 'kubectl', KUBECTL)
  if (kubectl === undefined) return undefined
  const { status, stdout, stderr } = spawnSync(kubectl, ['kustomize', folder], { cwd: ROOT, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  assert.equal(stderr, '')
  const objects = parseAllDocuments(stdout).map((document) => document.toJS() as ManifestObject)
  buildings.set(folder, objects)
  return objects
}

/** Where the program comes from. */
export const KUBECTL = 'kubectl with kustomize 5, of any vendor: scripts/get-kubectl.sh FOLDER gets one'
