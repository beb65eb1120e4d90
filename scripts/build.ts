// Bundles the agent: dist/nodelocal-mcs.js, and beside it what runs on threads of its own or is loaded only where it is used. Tree-shaken, because
// every function that is parsed and every string of source stays in memory. koffi stays outside: it loads a native library from its own folder.
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { billOfMaterials } from './bill-of-materials.ts'

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

const throwing = (name: string) => `function ${name}() { throw new Error('${name} is left out of the bundle') }`

/** What packages bring and we do not use, by the file that asks for it: each with the module that stands there instead. */
const LEFT_OUT: readonly { readonly of: RegExp; readonly what: Readonly<Record<string, string>> }[] = [
  {
    // KubeConfig can make clients of the generated API, and options for undici's fetch: 1.5 MiB of source. We make requests with Node's own.
    of: /@kubernetes\/client-node\/dist\/config\.js$/,
    what: {
      undici: `export ${throwing('Agent')}\nexport ${throwing('ProxyAgent')}`,
      './gen/index.js': `export ${throwing('createConfiguration')}\nexport ${throwing('ServerConfiguration')}`,
      './middleware.js': `export ${throwing('setHeaderMiddleware')}`,
    },
  },
  {
    // loadYaml makes the API's objects instances of their classes. We read a kubeconfig with it, which is none of them.
    of: /@kubernetes\/client-node\/dist\/yaml\.js$/,
    what: { './serializer.js': 'export const ObjectSerializer = { deserialize: (value) => value }' },
  },
  {
    of: /prom-client\/index\.js$/,
    what: {
      './lib/pushgateway': `module.exports = ${throwing('Pushgateway')}`,
      './lib/cluster': `module.exports = ${throwing('AggregatorRegistry')}`,
      './lib/summary': `module.exports = ${throwing('Summary')}`,
    },
  },
  {
    // Asked for with exemplars alone.
    of: /prom-client\/lib\/metrics\/processCpuTotal\.js$/,
    what: { '@opentelemetry/api': 'module.exports = {}' },
  },
]
const leaveOut: Plugin = {
  name: 'leave-out',
  setup(plugins) {
    plugins.onResolve({ filter: /.*/ }, ({ path, importer }) => {
      const contents = LEFT_OUT.find(({ of, what }) => of.test(importer) && path in what)?.what[path]
      return contents === undefined ? undefined : { path, namespace: 'left-out', pluginData: contents }
    })
    plugins.onLoad({ filter: /.*/, namespace: 'left-out' }, ({ pluginData }) => ({ contents: pluginData as string }))
  },
}

// An import of node:http reads everything that it exports, WebSocket too, and so loads Node's undici and node:http2: 5 MiB.
const httpWithoutWebSocket: Plugin = {
  name: 'http-without-web-socket',
  setup(plugins) {
    plugins.onResolve({ filter: /^(node:)?http$/ }, () => ({ path: 'node:http', namespace: 'built-in' }))
    plugins.onLoad({ filter: /.*/, namespace: 'built-in' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('${path}')`,
    }))
  },
}

/** Modules that are imported when they are needed, if ever, and the files that they become. */
const LOADED_LATER: Readonly<Record<string, string>> = { 'nodelocal-mcs-kubernetes': 'src/control/kubernetes-api.ts' }
const loadLater: Plugin = {
  name: 'load-later',
  setup(plugins) {
    plugins.onResolve({ filter: /\.ts$/ }, ({ path, kind }) => {
      if (kind !== 'dynamic-import') return undefined
      const file = Object.entries(LOADED_LATER).find(([, source]) => basename(source) === basename(path))?.[0]
      return file === undefined ? undefined : { path: `./${file}.js`, external: true }
    })
  },
}

const { metafile } = await build({
  entryPoints: {
    'nodelocal-mcs': 'cmd/nodelocal-mcs/main.ts',
    'nodelocal-mcs-watchdog': 'src/agent/watchdog-thread.ts',
    // A worker that parsed the whole agent would cost several MiB.
    'nodelocal-mcs-worker': 'src/serve/worker.ts',
    'nodelocal-mcs-manifests': 'src/control/manifest-parser-thread.ts',
    ...LOADED_LATER,
  },
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  sourcemap: 'linked',
  metafile: true,
  // Names stay, so that a stack in the log can be read; without the blanks and comments the text takes 2 MiB less of memory.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'linked',
  external: ['koffi'],
  plugins: [leaveOut, httpWithoutWebSocket, loadLater, clientNodeHasNoSideEffects],
  define: { 'process.env.NODELOCAL_MCS_VERSION': JSON.stringify(version) },
  banner: {
    // CommonJS packages inside the bundle still call require for Node's own modules.
    js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
})
chmodSync('dist/nodelocal-mcs.js', 0o755)
// What was only looked at and left out again is not in the bundle.
const bundled = Object.values(metafile.outputs).flatMap(({ inputs }) =>
  Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : [])),
)
const materials = billOfMaterials(new URL('../', import.meta.url), bundled, ['node_modules/koffi'])
writeFileSync('dist/nodelocal-mcs.cdx.json', `${JSON.stringify(materials, null, 2)}\n`)
