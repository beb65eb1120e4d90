import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { parseCommandLine } from '../../src/config/command-line.ts'

const runs = [
  { args: [], kind: 'run', config: undefined },
  { args: ['run'], kind: 'run', config: undefined },
  { args: ['--config', 'a.yaml'], kind: 'run', config: 'a.yaml' },
  { args: ['--config=a.yaml'], kind: 'run', config: 'a.yaml' },
  { args: ['run', '--config', 'a.yaml'], kind: 'run', config: 'a.yaml' },
  { args: ['check', '--config', 'a.yaml'], kind: 'check', config: 'a.yaml' },
  { args: ['check'], kind: 'check', config: undefined },
  { args: ['healthcheck', '--config', 'a.yaml'], kind: 'healthcheck', config: 'a.yaml' },
  { args: ['teardown', '--config', 'a.yaml'], kind: 'teardown', config: 'a.yaml' },
] as const

const mistakes = [
  {
    args: ['start'],
    says: /unknown command 'start'; there are run, check, healthcheck, teardown, migrate, explain, help/,
  },
  { args: ['run', '--confg', 'a.yaml'], says: /unknown option '--confg'/ },
  { args: ['run', '--config'], says: /argument missing/ },
  { args: ['check', 'a.yaml'], says: /too many arguments/ },
  { args: ['explain'], says: /missing required argument 'name'/ },
  { args: ['explain', 'a.example', 'A', 'B'], says: /too many arguments/ },
  { args: ['explain', 'a.example', '--agent'], says: /argument missing/ },
]

suite('command line', () => {
  for (const { args, kind, config } of runs) {
    test(`\`nodelocal-mcs ${args.join(' ')}\` is ${kind} with ${config ?? 'the embedded defaults'}`, () => {
      assert.deepEqual(parseCommandLine(args, '1.2.3'), { kind, config })
    })
  }

  for (const { args, says } of mistakes) {
    test(`\`nodelocal-mcs ${args.join(' ')}\` is a usage error that says what is wrong`, () => {
      const command = parseCommandLine(args, '1.2.3')
      assert.ok(command.kind === 'usage-error')
      assert.match(command.text, says)
    })
  }

  test('explain takes a name, a type and how to ask', () => {
    const plain = { kind: 'explain', name: 'a.example', type: undefined, config: undefined, agent: undefined }
    const no = { json: false, ask: false, dnssec: false, resolvConf: undefined }
    assert.deepEqual(parseCommandLine(['explain', 'a.example'], '1.2.3'), { ...plain, ...no })
    const line = 'explain a.example srv --config c --agent 127.0.0.1:1 --json --ask --dnssec --resolv-conf r'
    assert.deepEqual(parseCommandLine(line.split(' '), '1.2.3'), {
      ...plain,
      type: 'srv',
      config: 'c',
      agent: '127.0.0.1:1',
      json: true,
      ask: true,
      dnssec: true,
      resolvConf: 'r',
    })
  })

  test('--version is the version and nothing else', () => {
    assert.deepEqual(parseCommandLine(['--version'], '1.2.3'), { kind: 'text', text: '1.2.3\n' })
  })

  test('--help shows every command, the exit codes and examples', () => {
    const command = parseCommandLine(['--help'], '1.2.3')
    assert.ok(command.kind === 'text')
    for (const word of [
      'run',
      'check',
      'healthcheck',
      'teardown',
      'migrate',
      'explain',
      '--version',
      'Exit codes',
      '2  bad usage',
      'Examples',
    ]) {
      assert.ok(command.text.includes(word), word)
    }
  })
})
