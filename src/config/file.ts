/** yaml's door: the text of a configuration file to a value, with the line of every place in it. Pure. */

import { LineCounter, parseDocument, stringify } from 'yaml'

/** A configuration is a page or two; what is larger is a mistake. */
export const FILE_OCTETS_MAX = 1_048_576

/** Aliases that may be resolved: none are needed, and a few lines of them can fill the memory. */
const ALIASES_MAX = 100

export interface FileProblem {
  readonly line: number | undefined
  readonly text: string
}

export type FileReading =
  | { readonly kind: 'value'; readonly value: unknown; lineOf(path: readonly (string | number)[]): number | undefined }
  | { readonly kind: 'problems'; readonly problems: readonly FileProblem[] }

/** The value in a YAML text, or why there is none. Duplicate keys and several documents are errors. */
export function readYaml(text: string): FileReading {
  if (Buffer.byteLength(text) > FILE_OCTETS_MAX) {
    return { kind: 'problems', problems: [{ line: undefined, text: `is larger than ${FILE_OCTETS_MAX} octets` }] }
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false })
  // A warning is about a tag that nobody knows, or a directive: not what its author thinks it says.
  const wrong = [...document.errors, ...document.warnings]
  if (wrong.length > 0) {
    return {
      kind: 'problems',
      problems: wrong.map((error) => ({ line: lines.linePos(error.pos[0]).line, text: error.message })),
    }
  }
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: ALIASES_MAX })
  } catch (error) {
    return {
      kind: 'problems',
      problems: [{ line: undefined, text: error instanceof Error ? error.message : String(error) }],
    }
  }
  const lineOf = (path: readonly (string | number)[]): number | undefined => {
    for (let depth = path.length; depth > 0; depth--) {
      const node = document.getIn(path.slice(0, depth), true) as { range?: readonly number[] } | undefined
      if (node?.range?.[0] !== undefined) return lines.linePos(node.range[0]).line
    }
    return undefined
  }
  return { kind: 'value', value, lineOf }
}

/** The text of a configuration, lists in one line as in our examples. */
export function writeYaml(value: object): string {
  return stringify(value, { lineWidth: 0 })
}
