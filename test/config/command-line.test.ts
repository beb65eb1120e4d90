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
  { args: ['teardown', '--config', 'a.yaml'], kind: 'teardown', config: 'a.yaml' },
] as const

const mistakes = [
  { args: ['start'], says: /unknown command 'start'; there are run, check, teardown, migrate, help/ },
  { args: ['run', '--confg', 'a.yaml'], says: /unknown option '--confg'/ },
  { args: ['run', '--config'], says: /argument missing/ },
  { args: ['check', 'a.yaml'], says: /too many arguments/ },
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

  test('--version is the version and nothing else', () => {
    assert.deepEqual(parseCommandLine(['--version'], '1.2.3'), { kind: 'text', text: '1.2.3\n' })
  })

  test('--help shows every command, the exit codes and examples', () => {
    const command = parseCommandLine(['--help'], '1.2.3')
    assert.ok(command.kind === 'text')
    for (const word of ['run', 'check', 'teardown', '--version', 'Exit codes', '2  bad usage', 'Examples']) {
      assert.ok(command.text.includes(word), word)
    }
  })
})
