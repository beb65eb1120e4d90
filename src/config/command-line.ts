/** commander's door: argv to what is asked for. Prints nothing and ends nothing: `cmd/` does. */

import { Command, CommanderError } from 'commander'

export type CommandLine =
  | { readonly kind: 'run' | 'check' | 'healthcheck' | 'teardown'; readonly config: string | undefined }
  /** Flags are those of NodeLocal DNSCache, as given. */
  | { readonly kind: 'migrate'; readonly corefile: string; readonly flags: readonly string[] }
  | ExplainCommand
  /** `--help` or `--version`: the text for standard output. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'usage-error'; readonly text: string }

/** `explain`: what the running agent is asked about, and how. */
export interface ExplainCommand {
  readonly kind: 'explain'
  readonly name: string
  /** As written; undefined: A. */
  readonly type: string | undefined
  readonly config: string | undefined
  /** `ADDRESS:PORT` of the agent's health address; undefined: as the configuration says. */
  readonly agent: string | undefined
  readonly json: boolean
  /** Send the real query too. */
  readonly ask: boolean
  readonly dnssec: boolean
  /** A Pod's resolv.conf, whose search list is followed; undefined: the name is complete. */
  readonly resolvConf: string | undefined
}

/** What the process says when it ends. */
export const ExitCode = { Stopped: 0, Failed: 1, Usage: 2 } as const

const EPILOGUE = `
Exit codes:
  0  stopped as asked
  1  failed at run time
  2  bad usage or configuration

Examples:
  nodelocal-mcs                              run with the embedded defaults on 127.0.0.1:5353
  nodelocal-mcs run --config config.yaml     run as the file says; changes of it are applied while running
  nodelocal-mcs check --config config.yaml   report every problem in the file
  nodelocal-mcs explain web.shop.svc.clusterset.local A --config config.yaml
  nodelocal-mcs migrate Corefile -localip 169.254.20.10,10.96.0.10 >config.yaml

Signals: SIGTERM and SIGINT stop gracefully, a second one at once. SIGUSR1 empties the record cache. SIGHUP stops an agent in a
terminal and is ignored elsewhere: changes of the configuration are seen by themselves.
`

interface ExplainOptions {
  readonly config?: string
  readonly agent?: string
  readonly json?: boolean
  readonly ask?: boolean
  readonly dnssec?: boolean
  readonly resolvConf?: string
}

/** What the arguments behind the program's name ask for. */
export function parseCommandLine(args: readonly string[], version: string): CommandLine {
  let result: CommandLine | undefined
  let output = ''
  const prepare = (command: Command): Command =>
    command.exitOverride().configureOutput({
      writeOut: (text) => {
        output += text
      },
      writeErr: (text) => {
        output += text
      },
    })
  const program = prepare(new Command('nodelocal-mcs'))
    .description('DNS agent for a Kubernetes node: serves clusterset.local, forwards and caches the rest.')
    .version(version)
    .addHelpText('after', EPILOGUE)
    .enablePositionalOptions()
  const add = (kind: 'run' | 'check' | 'healthcheck' | 'teardown', description: string, isDefault: boolean): void => {
    prepare(program.command(kind, { isDefault }))
      .description(description)
      .option('--config <file>', 'configuration file (YAML); left out: the embedded defaults')
      .allowExcessArguments(false)
      .action((options: { config?: string }) => {
        result = { kind, config: options.config }
      })
  }
  add('run', 'run the agent (the default)', true)
  add('check', 'report every problem in the configuration, exit 2 when there is one', false)
  add('healthcheck', 'ask the agent that runs with this configuration, exit 1 when it does not answer', false)
  add('teardown', 'remove the rules and the interface of an agent that is gone', false)
  prepare(program.command('migrate'))
    .description("turn NodeLocal DNSCache's Corefile and flags into a configuration; notes on standard error")
    .argument('<corefile>', 'its Corefile, variables of the addon may still stand in it')
    .argument('[flags...]', 'its flags, as it has them: -localip 169.254.20.10,10.96.0.10')
    .allowUnknownOption()
    .passThroughOptions()
    .action((corefile: string, flags: string[]) => {
      result = { kind: 'migrate', corefile, flags }
    })
  prepare(program.command('explain'))
    .description('ask the running agent how it would answer, and why; sends no query and changes nothing')
    .argument('<name>', 'the name, with or without its last dot')
    .argument('[type]', 'the record type: A (the default), AAAA, SRV, TYPE65280, ...')
    .option('--config <file>', "the agent's configuration file, which has its health address")
    .option('--agent <address:port>', "the agent's health address, in place of the one in the configuration")
    .option('--json', 'for machines: the fields are in docs/operations.md')
    .option('--ask', 'send the agent the real query too, and print the response and how long it took')
    .option('--dnssec', 'explain the query of a client that sets the DO bit')
    .option('--resolv-conf <file>', "try the names that a Pod's resolver would, by search and ndots of this file")
    .allowExcessArguments(false)
    .action((name: string, type: string | undefined, options: ExplainOptions) => {
      const { config, agent, resolvConf, json = false, ask = false, dnssec = false } = options
      result = { kind: 'explain', name, type, config, agent, json, ask, dnssec, resolvConf }
    })
  // commander takes an unknown word for an argument of the default command, and says something about `run`.
  const word = args[0]
  const commands = [...program.commands.map((command) => command.name()), 'help']
  if (word !== undefined && !word.startsWith('-') && !commands.includes(word)) {
    return { kind: 'usage-error', text: `error: unknown command '${word}'; there are ${commands.join(', ')}\n` }
  }
  try {
    program.parse([...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return { kind: 'text', text: output }
    return { kind: 'usage-error', text: output }
  }
  return result ?? { kind: 'usage-error', text: program.helpInformation() }
}
