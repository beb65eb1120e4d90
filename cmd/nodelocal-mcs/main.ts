/** The command: argv in, exit code out. Parse, build, start, wait for a signal, stop. */

// First: it is in force for all that follows.
import './v8-flags.ts'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { explainCommand } from '../../src/agent/explain/command.ts'
import { liveness, targetsOf } from '../../src/agent/liveness.ts'
import { tearDown } from '../../src/agent/tear-down.ts'
import { type RunningAgent, startAgent } from '../../src/agent.ts'
import { ExitCode, type ExplainCommand, parseCommandLine } from '../../src/config/command-line.ts'
import { type Config, configFromText, loadConfig } from '../../src/config/config.ts'
import { writeYaml } from '../../src/config/file.ts'
import { migrate } from '../../src/config/migrate/migrate.ts'
import { endProcess } from '../../src/host/end-process.ts'

/** The build puts the version in; run from the sources, it stands in package.json. */
const VERSION = process.env['NODELOCAL_MCS_VERSION'] ?? versionOfSources()

/** Milliseconds between the end of a stop and that of the process. */
const EXIT_MS = 2_000

const say = (text: string): void => void process.stdout.write(`${text}\n`)
const complain = (text: string): void => void process.stderr.write(`${text}\n`)

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  const command = parseCommandLine(args, VERSION)
  if (command.kind === 'text') {
    process.stdout.write(command.text)
    return ExitCode.Stopped
  }
  if (command.kind === 'usage-error') {
    process.stderr.write(command.text)
    return ExitCode.Usage
  }
  if (command.kind === 'migrate') return migrated(command.corefile, command.flags)
  if (command.kind === 'explain' && command.agent !== undefined) return explained(command, command.agent)
  const loaded = await loadConfig(command.config)
  if (loaded.kind === 'problems') {
    for (const problem of loaded.problems) complain(problem)
    complain(`${loaded.problems.length} problem${loaded.problems.length === 1 ? '' : 's'}`)
    return ExitCode.Usage
  }
  if (command.kind === 'explain') return explained(command, loaded.config.health.address)
  if (command.kind === 'check') {
    say(`${command.config ?? 'the embedded default'} is good, hash ${loaded.hash}`)
    return ExitCode.Stopped
  }
  if (command.kind === 'healthcheck') return await checkedHealth(loaded.config)
  if (command.kind === 'teardown')
    return (await tearDown(loaded.config, { say, complain })) ? ExitCode.Stopped : ExitCode.Failed
  // Before the start: by default SIGTERM would end us in the middle of it, and SIGUSR1 open the debugger's port.
  const { stopAsked, hurryAsked } = signals()
  let agent: RunningAgent | undefined
  process.on('SIGUSR1', () => agent?.flushCache())
  try {
    agent = await startAgent({
      config: loaded.config,
      configPath: command.config,
      hash: loaded.hash,
      version: VERSION,
      stopAsked,
      hurryAsked,
    })
  } catch (error) {
    complain(`cannot start: ${error instanceof Error ? error.message : String(error)}`)
    return ExitCode.Failed
  }
  tellWhereItListens(agent, command.config === undefined)
  if (!stopAsked.aborted) await once(stopAsked, 'abort')
  const isLogWritten = await agent.stop()
  const code = hurryAsked.aborted ? ExitCode.Failed : ExitCode.Stopped
  if (!isLogWritten) endProcess(code)
  // Everything has ended; what has not all the same keeps nobody waiting.
  setTimeout(endProcess, EXIT_MS, code).unref()
  return code
}

/** What the running agent explains, on standard output. */
async function explained(command: ExplainCommand, agent: string): Promise<number> {
  const outcome = await explainCommand({ ...command, agent })
  if (outcome.kind !== 'usage-error') process.stdout.write(outcome.text)
  if (outcome.kind === 'told') return ExitCode.Stopped
  complain(`error: ${outcome.kind === 'failed' ? outcome.why : outcome.text}`)
  return outcome.kind === 'failed' ? ExitCode.Failed : ExitCode.Usage
}

/** What each transport says, and whether all is well. */
async function checkedHealth(config: Config): Promise<number> {
  if (config.listen.port === 0) {
    complain('listen.port is 0: nobody but the agent knows its port')
    return ExitCode.Usage
  }
  const conditions = await liveness(targetsOf(config), config.host.rules !== 'none')
  for (const { name, isMet, detail } of conditions) {
    const line = `${name}: ${isMet ? 'yes' : 'no'}${detail === undefined ? '' : ` (${detail})`}`
    if (isMet) say(line)
    else complain(line)
  }
  return conditions.every(({ isMet }) => isMet) ? ExitCode.Stopped : ExitCode.Failed
}

/** The configuration on standard output; what has no counterpart on standard error. */
function migrated(path: string, flags: readonly string[]): number {
  let corefile: string
  try {
    corefile = readFileSync(path, 'utf8')
  } catch (error) {
    complain(`cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`)
    return ExitCode.Usage
  }
  const { config, notes, problems } = migrate(corefile, flags)
  for (const problem of problems) complain(problem)
  if (config === undefined) return ExitCode.Usage
  for (const note of notes) complain(`note: ${note}`)
  const text = writeYaml(config)
  process.stdout.write(text)
  const loaded = configFromText(text, path)
  if (loaded.kind !== 'problems') return ExitCode.Stopped
  for (const problem of loaded.problems) complain(problem)
  return ExitCode.Usage
}

function tellWhereItListens(agent: RunningAgent, isDemonstration: boolean): void {
  for (const { transport, address, port } of agent.listening)
    complain(`listening on ${transport} ${address} port ${port}`)
  const first = agent.listening[0]
  if (isDemonstration && first !== undefined) {
    complain('\ntry:')
    for (const question of [
      'web.shop.svc.clusterset.local A',
      '_sql._tcp.db.shop.svc.clusterset.local SRV',
      'dns-version.clusterset.local TXT',
    ]) {
      complain(`  dig @${first.address} -p ${first.port} ${question}`)
    }
    complain('')
  }
}

/** The first SIGTERM or SIGINT asks for a stop, the second for a quick one, and the third ends the process at once. */
function signals(): { readonly stopAsked: AbortSignal; readonly hurryAsked: AbortSignal } {
  const [stop, hurry] = [new AbortController(), new AbortController()]
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (hurry.signal.aborted) endProcess(ExitCode.Failed)
      else if (stop.signal.aborted) hurry.abort()
      else stop.abort()
    })
  }
  // Who started us in a terminal has closed it. Anybody else wants the configuration read anew, which is done without him;
  // to end at once, as is the default, would leave interface and rules behind.
  process.on('SIGHUP', () => {
    if (process.stdout.isTTY) stop.abort()
  })
  return { stopAsked: stop.signal, hurryAsked: hurry.signal }
}

function versionOfSources(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}
