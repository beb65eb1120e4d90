// The packages that a bundle is made of, as CycloneDX: a scanner of images finds no node_modules to look into, and reads this instead.
import { readFileSync } from 'node:fs'

interface PackageManifest {
  readonly name: string
  readonly version: string
  readonly license?: string
}

/** `files`: paths that went into the bundle; `folders`: packages that stand beside it. All below `root`. */
export function billOfMaterials(root: URL, files: readonly string[], folders: readonly string[]): object {
  const manifestIn = (folder: string): PackageManifest =>
    JSON.parse(readFileSync(new URL(`${folder}/package.json`, root), 'utf8')) as PackageManifest
  const bundled = new Set(files.flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []))
  const { name, version, license } = manifestIn('.')
  const packages = [...bundled, ...folders].map(manifestIn)
  const runtime = manifestIn('node_modules/node').version
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', name, version, ...licensesOf(license) } },
    components: [
      {
        type: 'platform',
        name: 'node',
        version: runtime,
        cpe: `cpe:2.3:a:nodejs:node.js:${runtime}:*:*:*:*:*:*:*`,
        purl: `pkg:generic/node@${runtime}`,
      },
      ...packages.map(libraryOf).sort((a, b) => (a.purl < b.purl ? -1 : 1)),
    ],
  }
}

function libraryOf({ name, version, license }: PackageManifest): { readonly purl: string } {
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
  return Object.assign({ type: 'library', name, version, purl }, licensesOf(license))
}

function licensesOf(license: string | undefined): object {
  if (license === undefined) return {}
  return { licenses: [license.includes(' ') ? { expression: license } : { license: { id: license } }] }
}
