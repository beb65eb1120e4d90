/** The text of a Corefile to its blocks. Bad text is normal input: every problem has its line. Pure. */

export interface Directive {
  readonly line: number
  readonly name: string
  readonly args: readonly string[]
  /** What stands in its braces. */
  readonly options: readonly { readonly line: number; readonly name: string; readonly args: readonly string[] }[]
}

export interface ServerBlock {
  readonly line: number
  /** As written: `cluster.local:53`, `.`. */
  readonly keys: readonly string[]
  readonly directives: readonly Directive[]
}

export interface Corefile {
  readonly blocks: readonly ServerBlock[]
  readonly problems: readonly string[]
}

/** A Corefile is a page; what is larger is something else. */
export const COREFILE_OCTETS_MAX = 1_048_576
const PROBLEMS_MAX = 20

interface Line {
  readonly line: number
  readonly words: readonly string[]
}

export function parseCorefile(text: string): Corefile {
  if (Buffer.byteLength(text) > COREFILE_OCTETS_MAX) {
    return { blocks: [], problems: [`is larger than ${COREFILE_OCTETS_MAX} octets`] }
  }
  const problems: string[] = []
  const blocks: ServerBlock[] = []
  let keys: string[] = []
  let block: { line: number; keys: string[]; directives: Directive[] } | undefined
  let directive:
    | { line: number; name: string; args: readonly string[]; options: Directive['options'][number][] }
    | undefined
  let depth = 0
  const complain = (line: number, what: string): void => {
    if (problems.length < PROBLEMS_MAX) problems.push(`line ${line}: ${what}`)
  }
  for (const { line, words } of linesOf(text, complain)) {
    const isClosing = words.length === 1 && words[0] === '}'
    const isOpening = words.at(-1) === '{'
    const plain = isOpening ? words.slice(0, -1) : words
    if (!isClosing && plain.some((word) => word === '{' || word === '}'))
      complain(line, 'a brace in the middle of a line')
    else if (isClosing) {
      depth--
      if (depth < 0) {
        complain(line, 'a } that closes nothing')
        depth = 0
      } else if (depth === 1) directive = undefined
      else if (depth === 0 && block !== undefined) {
        blocks.push(block)
        block = undefined
      }
    } else if (depth === 0) {
      keys.push(...plain.map((key) => key.replace(/,$/, '')).filter((key) => key !== ''))
      if (!isOpening) continue
      if (keys.length === 0) complain(line, 'a block without a zone')
      block = { line, keys, directives: [] }
      keys = []
      depth = 1
    } else if (depth === 1) {
      const [name, ...args] = plain
      if (name === undefined) complain(line, 'a { that belongs to nothing')
      const options: Directive['options'][number][] = []
      const next = { line, name: name ?? '', args, options }
      block?.directives.push(next)
      if (isOpening) {
        directive = next
        depth = 2
      }
    } else {
      const [name, ...args] = plain
      if (depth === 2 && name !== undefined) directive?.options.push({ line, name, args })
      if (isOpening) depth++
    }
  }
  if (depth > 0) complain(text.split('\n').length, 'the end, and a { is still open')
  if (keys.length > 0) complain(text.split('\n').length, `${keys[0]} has no block`)
  return { blocks, problems }
}

/** Words of each line that has some; `#` begins a comment, quotes hold a word together. */
function* linesOf(text: string, complain: (line: number, what: string) => void): Generator<Line> {
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const words: string[] = []
    for (const [word, quoted] of raw.matchAll(/"((?:[^"\\]|\\.)*)"|#.*|[^\s"]+|"/g)) {
      if (word.startsWith('#')) break
      if (word === '"') complain(i + 1, 'a quote that is not closed')
      else words.push(quoted ?? word)
    }
    if (words.length > 0) yield { line: i + 1, words }
  }
}
