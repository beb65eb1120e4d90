import { randomInt } from 'node:crypto'
import type { TestContext } from 'node:test'
import { nameFromText } from '../../../src/dns/wire/name.ts'
import type { UpstreamQuestion } from '../../../src/dns/wire/upstream-query.ts'
import type { UpstreamAddress } from '../../../src/serve/forward/exchange.ts'
import { createUpstreamGroup, type ForwardingGroup, type GroupSettings } from '../../../src/serve/forward/forwarder.ts'
import type { ForwardResult } from '../../../src/serve/forward/forwarder-contract.ts'
import type { OpenUdpSocket } from '../../../src/serve/forward/udp-socket.ts'
import { startUpstream, type TestUpstream, type TestUpstreamSettings } from '../../common/upstream.ts'

export function question(name: string, fields: Partial<UpstreamQuestion> = {}): UpstreamQuestion {
  return {
    name: nameFromText(name)!,
    type: 1,
    class: 1,
    recursionDesired: true,
    checkingDisabled: false,
    dnssecOk: false,
    ...fields,
  }
}

export interface LogLine {
  readonly level: string
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

export interface TestGroup extends Omit<ForwardingGroup, 'forward'> {
  forward(question: UpstreamQuestion): Promise<ForwardResult>
  readonly lines: LogLine[]
}

export interface GroupChoices extends Partial<Omit<GroupSettings, 'upstreams'>> {
  readonly upstreams: readonly (TestUpstream | UpstreamAddress)[]
  readonly random?: () => number
  readonly nowMs?: () => number
  readonly openUdpSocket?: OpenUdpSocket
}

/** A group that is stopped when the test ends. */
export function group(t: TestContext, choices: GroupChoices): TestGroup {
  const lines: LogLine[] = []
  const logAt = (level: string) => (event: string, fields: Readonly<Record<string, unknown>>) =>
    void lines.push({ level, event, fields })
  const { random = Math.random, nowMs = () => performance.now(), openUdpSocket, ...settings } = choices
  const made = createUpstreamGroup(
    { transport: 'udp', maxInFlight: 1_000, ...settings },
    {
      observer: { exchangeEnded() {}, healthcheckFailed() {}, connectionReused() {}, connectionOpened() {} },
      log: { info: logAt('info'), warn: logAt('warn'), error: logAt('error') },
      random,
      randomId: () => randomInt(65_536),
      nowMs,
      ...(openUdpSocket === undefined ? {} : { openUdpSocket }),
    },
  )
  t.after(() => made.stop(0))
  return {
    lines,
    forward: (asked) => new Promise((tell) => made.forward(asked, tell)),
    stop: (drainMs) => made.stop(drainMs),
    status: () => made.status(),
    lookAt: (asked) => made.lookAt(asked),
    use: (upstreams) => made.use(upstreams),
  }
}

/** An upstream that is stopped when the test ends. */
export async function upstream(t: TestContext, settings: TestUpstreamSettings = {}): Promise<TestUpstream> {
  const started = await startUpstream(settings)
  t.after(() => started.stop())
  return started
}

/** A result in one word or two: the rcode, or the failure's reason. */
export function gist(result: ForwardResult): string {
  return result.kind === 'response' ? `rcode ${result.response.rcode}` : result.reason
}
