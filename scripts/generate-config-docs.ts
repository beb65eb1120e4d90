// Writes docs/config.schema.json and docs/configuration.md from src/config/schema.ts, which is where settings are explained.
// `--check` writes nothing and fails when they are not what they should be.
import { readFileSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { configJsonSchema, parseConfig } from '../src/config/schema.ts'

interface Node {
  readonly type?: string
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly items?: Node
  readonly properties?: Readonly<Record<string, Node>>
  readonly anyOf?: readonly Node[]
}

const schema = configJsonSchema() as Node
const files: readonly (readonly [string, string])[] = [
  ['docs/config.schema.json', `${JSON.stringify(schema, null, 2)}\n`],
  ['docs/configuration.md', configurationPage(schema)],
]

const isCheck = process.argv.includes('--check')
for (const [path, text] of files) {
  const url = new URL(`../${path}`, import.meta.url)
  if (!isCheck) writeFileSync(url, text)
  else if (readFileSync(url, 'utf8') !== text) {
    process.stderr.write(`${path} is not what src/config/schema.ts says: run npm run docs\n`)
    process.exitCode = 1
  }
}

function configurationPage(root: Node): string {
  const defaults = parseConfig({})
  if (defaults.kind === 'problems') throw new Error('the defaults are not valid')
  return `# Configuration

YAML, given with \`--config FILE\`. Every key may be left out; unknown keys are errors. \`nodelocal-mcs check --config FILE\` reports every
problem at once, each with its line and its path, and exits with 2.

The file is watched while the agent runs. A change is validated as a whole and applied at once; a bad one is logged
(\`config-problem\`, \`config-refused\`), counted (\`coredns_reload_failed_total\`), and the old one stays in force. Changes of \`listen\`, \`udp\`, \`tcp\`,
\`host\`, \`metrics\`, \`health\`, \`cache.maxBytes\` and of the source of the clusterset wait for a restart; the log says so (\`config-needs-restart\`).

For completion and checks in an editor, put this first: \`# yaml-language-server: $schema=config.schema.json\` with the path of
[config.schema.json](config.schema.json). An example for a cluster is in [examples/config.yaml](../examples/config.yaml).

## Settings

| key | values | default | what it is |
| --- | --- | --- | --- |
${rowsOf(root, '').join('\n')}

## The defaults as a file

\`\`\`yaml
${stringify(defaults.config, { lineWidth: 0 }).trim()}
\`\`\`

## Upstreams

\`ADDRESS\`, \`ADDRESS:PORT\`, \`[V6]:PORT\`, or the path of a resolv.conf, which is re-read when it changes. The port is 53, over TLS 853. With
\`transport: tls\`, \`ADDRESS#name\` says which name the certificate must bear; without one it must bear the address. Host names are errors: nobody could resolve
them before DNS works. Our own listen addresses are left out of a resolv.conf and reported (\`upstream-is-ourselves\`).
`
}

function rowsOf(node: Node, path: string): string[] {
  const rows: string[] = []
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    const here = path === '' ? key : `${path}.${key}`
    if (child.properties === undefined) {
      rows.push(`| \`${here}\` | ${valuesOf(child)} | ${defaultOf(child)} | ${child.description ?? ''} |`)
    }
    rows.push(...rowsOf(child, here))
    if (child.items !== undefined) rows.push(...rowsOf(child.items, `${here}[]`))
  }
  return rows
}

function valuesOf(node: Node): string {
  if (node.anyOf !== undefined) return node.anyOf.map(valuesOf).join(' or ')
  if (node.enum !== undefined) return node.enum.map(String).join(', ')
  if (node.type === 'integer') return `${node.minimum} to ${node.maximum}`
  if (node.type === 'array') return `list of ${node.minItems ?? 0} to ${node.maxItems ?? 'any number'}`
  return node.type ?? 'any'
}

function defaultOf(node: Node): string {
  return node.default === undefined ? '(required)' : `\`${JSON.stringify(node.default)}\``
}
