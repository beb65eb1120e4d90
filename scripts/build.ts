// Bundles the agent into dist/nodelocal-mcs.js (and its watchdog thread beside it): one file, tree-shaken, because @kubernetes/client-node unbundled costs
// tens of MiB of memory. koffi stays outside: it loads a native library from its own folder.
import { chmodSync, readFileSync } from 'node:fs'
import { build, type Plugin } from 'esbuild'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

// The package does not say that importing it has no effects, which it has not; without this every generated API class
// of Kubernetes is bundled and parsed at each start.
const clientNodeHasNoSideEffects: Plugin = {
  name: 'client-node-has-no-side-effects',
  setup(plugins) {
    plugins.onResolve({ filter: /.*/ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      const isClientNode = path === '@kubernetes/client-node' || importer.includes('@kubernetes/client-node')
      if (!isClientNode || pluginData === 'resolved') return undefined
      const resolved = await plugins.resolve(path, { importer, resolveDir, kind, pluginData: 'resolved' })
      return { ...resolved, sideEffects: false }
    })
  },
}

await build({
  entryPoints: {
    'nodelocal-mcs': 'cmd/nodelocal-mcs/main.ts',
    'nodelocal-mcs-watchdog': 'src/agent/watchdog-thread.ts',
    // A worker that parsed the whole agent would cost several MiB.
    'nodelocal-mcs-worker': 'src/serve/worker.ts',
  },
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  sourcemap: 'linked',
  // Names stay, so that a stack in the log can be read; without the blanks and comments the text takes 2 MiB less of memory.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'linked',
  external: ['koffi'],
  plugins: [clientNodeHasNoSideEffects],
  define: { 'process.env.NODELOCAL_MCS_VERSION': JSON.stringify(version) },
  banner: {
    // CommonJS packages inside the bundle still call require for Node's own modules.
    js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
})
chmodSync('dist/nodelocal-mcs.js', 0o755)
