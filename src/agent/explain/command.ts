/**
 * `nodelocal-mcs explain`: asks the agent that runs on this node, and prints what it says. A process of its own, which shares
 * nothing with the agent but the shape of an explanation.
 */

import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { splitHostPort } from '../../config/syntax.ts'
import { namesTried, parseSearchList } from '../../dns/policy/resolv-conf.ts'
import { FLAGS_AT, Flag, HEADER_OCTETS, readUint16 } from '../../dns/wire/header.ts'
import { RecordClass } from '../../dns/wire/record-type.ts'
import { upstreamQuery } from '../../dns/wire/upstream-query.ts'
import { textOf } from '../error-text.ts'
import type { ListeningOn } from '../listeners.ts'
import { sendQuery } from '../own-query.ts'
import type { AskedQuestion } from './explain.ts'
import type { ExplainedResponse, Explanation } from './explanation.ts'
import { receivedResponse } from './forwarding.ts'
import { questionOf } from './page.ts'
import { responseLines, textOfExplanation, verdictText } from './text.ts'

export interface ExplainOptions {
  readonly name: string
  readonly type: string | undefined
  readonly dnssec: boolean
  readonly json: boolean
  readonly ask: boolean
  readonly resolvConf: string | undefined
  /** `ADDRESS:PORT` of the agent's health address. */
  readonly agent: string
}

export type ExplainOutcome =
  | { readonly kind: 'told'; readonly text: string }
  /** The question makes no sense. */
  | { readonly kind: 'usage-error'; readonly text: string }
  /** Nobody answered; `text` is what was found out all the same. */
  | { readonly kind: 'failed'; readonly why: string; readonly text: string }

/** What became of the real query. */
export interface AskedOutcome {
  readonly server: ListeningOn
  readonly milliseconds: number
  /** Why there is no response. */
  readonly error: string | null
  readonly response: Omit<ExplainedResponse, 'isTruncated' | 'extendedErrors'> | null
}

/** With `--ask` an explanation has this too. */
export type ToldExplanation = Explanation & { readonly asked?: AskedOutcome }

/** Milliseconds for the agent to explain, or to answer. */
const ANSWER_MS = 5_000

/** Characters of somebody's error that are repeated. */
const REPEATED_MAX = 200

/** Octets of an explanation; what is longer is none of ours. */
const REPLY_OCTETS_MAX = 4 * 1024 * 1024

export async function explainCommand(options: ExplainOptions): Promise<ExplainOutcome> {
  const address = splitHostPort(options.agent)
  if (address === undefined) {
    return { kind: 'usage-error', text: `${JSON.stringify(options.agent)} is no ADDRESS:PORT` }
  }
  const names = namesOf(options)
  if (typeof names === 'string') return { kind: 'usage-error', text: names }
  const asked: { readonly query: URLSearchParams; readonly question: AskedQuestion }[] = []
  for (const name of names) {
    const query = queryOf(name, options)
    const question = questionOf(query)
    if (typeof question !== 'string') asked.push({ query, question })
    // With a suffix behind it a name may be too long: resolvers pass over it, and so do we.
    else if (name === options.name || name === `${options.name}.`) return { kind: 'usage-error', text: question }
  }
  const told: ToldExplanation[] = []
  try {
    for (const { query } of asked) told.push(await fetchExplanation(address, query))
  } catch (error) {
    return { kind: 'failed', why: `no explanation from the agent at ${options.agent}: ${textOf(error)}`, text: '' }
  }
  const index = decisiveOf(told)
  if (options.ask) told[index] = { ...told[index]!, asked: await askFor(asked[index]!.question, told[index]!) }
  const text = options.json ? jsonOf(told, options) : humanText(told, index, options)
  const error = told[index]!.asked?.error ?? null
  return error === null
    ? { kind: 'told', text }
    : { kind: 'failed', why: `the agent explains and does not answer: ${error}`, text }
}

/** The names to explain, in the order that they are tried in; or what is wrong. */
function namesOf({ name, resolvConf }: ExplainOptions): string[] | string {
  if (resolvConf === undefined) return [name]
  try {
    return namesTried(name, parseSearchList(readFileSync(resolvConf, 'utf8')))
  } catch (error) {
    return `cannot read ${resolvConf}: ${textOf(error)}`
  }
}

function queryOf(name: string, { type, dnssec }: ExplainOptions): URLSearchParams {
  return new URLSearchParams({ name, ...(type === undefined ? {} : { type }), ...(dnssec ? { do: '1' } : {}) })
}

/** The explanation from an agent; throws with what an operator can do about it. */
function fetchExplanation(
  { address, port }: { address: string; port: number },
  query: URLSearchParams,
): Promise<Explanation> {
  const { promise, resolve, reject } = Promise.withResolvers<Explanation>()
  const host = localOf(address)
  const signal = AbortSignal.timeout(ANSWER_MS)
  const request = get({ host, port, path: `/explain?${query.toString()}`, agent: false, signal }, (response) => {
    const chunks: Buffer[] = []
    let octets = 0
    response.on('data', (chunk: Buffer) => {
      octets += chunk.length
      if (octets > REPLY_OCTETS_MAX) request.destroy(new Error(`its reply has more than ${REPLY_OCTETS_MAX} octets`))
      else chunks.push(chunk)
    })
    response.on('error', reject)
    response.on('end', () => {
      try {
        resolve(readReply(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8')))
      } catch (error) {
        reject(error)
      }
    })
  })
  request.on('error', (error: NodeJS.ErrnoException) => {
    if (signal.aborted) reject(new Error(`nothing within ${ANSWER_MS} ms`))
    else if (error.code === 'ECONNREFUSED') {
      reject(
        new Error(
          'nobody listens there; is it running, and is this its `health.address`? (--config FILE, or --agent ADDRESS:PORT)',
        ),
      )
    } else reject(error)
  })
  return promise
}

function readReply(status: number, body: string): Explanation {
  if (status === 403) throw new Error(`it explains to its own machine alone: ${body.trim().slice(0, REPEATED_MAX)}`)
  if (status === 404) throw new Error('it has no such page: an older version, or something else')
  let reply: unknown
  try {
    reply = JSON.parse(body)
  } catch {
    throw new Error(`status ${status} and no JSON: is this its health address?`)
  }
  const { error, version } = (reply ?? {}) as { error?: unknown; version?: unknown }
  if (status !== 200) throw new Error(typeof error === 'string' ? error : `status ${status}`)
  if (version !== 1) throw new Error(`an explanation of version ${String(version)}, and this program reads version 1`)
  return reply as Explanation
}

/** The explanation that decides what the client gets: the first with an answer, or whose answer is not known; else the name itself. */
function decisiveOf(told: readonly ToldExplanation[]): number {
  const found = told.findIndex(({ verdict, response }) => verdict.rcode === null || (response?.answer.count ?? 0) > 0)
  if (found !== -1) return found
  // Of names that are all denied the one without a suffix is the one that was meant.
  const shortest = Math.min(...told.map(({ question }) => question.name.length))
  return told.findIndex(({ question }) => question.name.length === shortest)
}

/** Sends the real query to where the agent listens, over TCP too when the response over UDP is cut. */
async function askFor(question: AskedQuestion, { agent }: Explanation): Promise<AskedOutcome> {
  const server = agent.listening.find(({ transport }) => transport === 'udp')
  const nowhere: ListeningOn = { transport: 'udp', address: '', port: 0 }
  if (server === undefined) return { server: nowhere, milliseconds: 0, error: 'it listens nowhere', response: null }
  const query = upstreamQuery({ ...question, class: RecordClass.IN }, randomInt(65_536), true)
  const overUdp = await askOnce(server, query)
  const isCut = overUdp.response?.flags.includes('tc') === true
  return isCut ? await askOnce({ ...server, transport: 'tcp' }, query) : overUdp
}

async function askOnce(server: ListeningOn, query: Buffer): Promise<AskedOutcome> {
  const startedMs = performance.now()
  const result = await sendQuery({ ...server, address: localOf(server.address) }, query, ANSWER_MS)
  const milliseconds = Math.round((performance.now() - startedMs) * 100) / 100
  if (typeof result === 'string') return { server, milliseconds, error: result, response: null }
  const isResponse = result.length >= HEADER_OCTETS && (readUint16(result, FLAGS_AT) & Flag.Response) !== 0
  if (!isResponse) return { server, milliseconds, error: 'what came back is no response', response: null }
  return { server, milliseconds, error: null, response: receivedResponse(result) }
}

/** Who listens on all addresses is asked on loopback. */
function localOf(address: string): string {
  return address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
}

function jsonOf(told: readonly ToldExplanation[], { resolvConf }: ExplainOptions): string {
  const value = resolvConf === undefined ? told[0] : { version: 1, tried: told }
  return `${JSON.stringify(value, null, 2)}\n`
}

function humanText(told: readonly ToldExplanation[], index: number, { resolvConf, ask }: ExplainOptions): string {
  const decisive = told[index]!
  const lines = resolvConf === undefined ? [] : triedLines(told, index, resolvConf)
  if (ask && decisive.asked !== undefined)
    return `${lines.join('')}${textOfExplanation(decisive)}${askedText(decisive.asked)}`
  return `${lines.join('')}${textOfExplanation(decisive)}`
}

function triedLines(told: readonly ToldExplanation[], index: number, resolvConf: string): string[] {
  return [
    `a resolver with ${resolvConf} tries, until one has an answer:\n`,
    ...told.map(
      ({ question, verdict }, i) => `${i === index ? '->' : '  '} ${question.name}\n     ${verdictText(verdict)}\n`,
    ),
    '\n',
  ]
}

function askedText({ server, milliseconds, error, response }: AskedOutcome): string {
  const where = `${server.transport} ${server.address} port ${server.port}`
  if (response === null) return `asked         ${where}: ${error} (${milliseconds} ms)\n`
  const lines = [`${where} answered in ${milliseconds} ms`, ...responseLines({ extendedErrors: [], ...response })]
  return `${lines.map((line, i) => `${i === 0 ? 'asked         ' : '              '}${line}`).join('\n')}\n`
}
