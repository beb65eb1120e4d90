// The doors of the house (docs/ARCHITECTURE.md): which room may know which, and the one file that opens each package.
const rooms = (from, allowed) => ({
  name: `${from}-knows-only-its-neighbours`,
  severity: 'error',
  from: { path: `^src/${from}/` },
  to: { path: '^(src|cmd|test|bench|scripts)/', pathNot: allowed.map((room) => `^src/${room}`) },
})

const door = (packageName, file) => ({
  name: `one-door-for-${packageName.replace(/[^a-z-]/g, '-')}`,
  severity: 'error',
  from: { path: '^(src|cmd)/', pathNot: `^${file}$` },
  to: { path: `^node_modules/(@types/)?${packageName}/` },
})

module.exports = {
  forbidden: [
    rooms('dns', ['dns/']),
    rooms('serve', ['serve/', 'dns/', 'host/', 'observe/counters']),
    rooms('control', ['control/', 'dns/']),
    rooms('host', ['host/']),
    rooms('observe', ['observe/']),
    rooms('config', ['config/']),
    {
      name: 'only-cmd-knows-the-agent',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(src/agent\\.ts|cmd/)' },
    },
    {
      name: 'dns-and-records-are-pure',
      comment: 'what knows DNS has never seen a socket, a file or a clock',
      severity: 'error',
      from: { path: '^src/(dns|control/records)/' },
      to: { dependencyTypes: ['core'] },
    },
    door('dns-packet', 'src/dns/wire/message\\.ts'),
    door('ipaddr.js', 'src/dns/wire/address\\.ts'),
    door('node-cache', 'src/serve/cache/record-cache\\.ts'),
    door('@kubernetes/client-node', 'src/control/kubernetes-api\\.ts'),
    door('prom-client', 'src/observe/metrics\\.ts'),
    door('koffi', 'src/host/syscalls\\.ts'),
    door('pino', 'src/observe/log\\.ts'),
    door('zod', 'src/config/schema\\.ts'),
    door('commander', 'src/config/command-line\\.ts'),
    door('yaml', '(src/config/file|src/control/manifest-text)\\.ts'),
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no-unlisted-packages',
      severity: 'error',
      from: { path: '^(src|cmd)/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-dev', 'unknown', 'undetermined'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
}
