// Bundles the agent into dist/nodelocal-mcs.js: one file, tree-shaken, because @kubernetes/client-node unbundled costs
// tens of MiB of memory. koffi stays outside: it loads a native library from its own folder.
import { chmodSync, readFileSync } from 'node:fs'
import { build } from 'esbuild'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

await build({
  entryPoints: ['cmd/nodelocal-mcs/main.ts'],
  outfile: 'dist/nodelocal-mcs.js',
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  sourcemap: 'linked',
  minifySyntax: true,
  legalComments: 'linked',
  external: ['koffi'],
  define: { 'process.env.NODELOCAL_MCS_VERSION': JSON.stringify(version) },
  banner: {
    // CommonJS packages inside the bundle still call require for Node's own modules.
    js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
})
chmodSync('dist/nodelocal-mcs.js', 0o755)
