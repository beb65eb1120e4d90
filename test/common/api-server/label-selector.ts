/** Label selectors in their query form: `key`, `!key`, `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`. */

import { badRequest } from './status.ts'

export type Labels = Readonly<Record<string, unknown>>
export type LabelSelector = (labels: Labels) => boolean

const KEY = String.raw`([A-Za-z0-9./_-]+)`
const EXISTS = new RegExp(`^${KEY}$`)
const ABSENT = new RegExp(`^!\\s*${KEY}$`)
const EQUAL = new RegExp(String.raw`^${KEY}\s*(==|=|!=)\s*([A-Za-z0-9._-]*)$`)
const SET = new RegExp(String.raw`^${KEY}\s+(in|notin)\s*\(([^()]*)\)$`)

/** Every requirement must hold. Throws 400 on what the API server could not parse. */
export function parseLabelSelector(text: string): LabelSelector {
  // A comma inside parentheses separates values, not requirements.
  const requirements = text
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(parseRequirement)
  return (labels) => requirements.every((holds) => holds(labels))
}

function parseRequirement(text: string): LabelSelector {
  const exists = EXISTS.exec(text)
  if (exists !== null) return (labels) => labels[exists[1]!] !== undefined
  const absent = ABSENT.exec(text)
  if (absent !== null) return (labels) => labels[absent[1]!] === undefined
  const equal = EQUAL.exec(text)
  // Without the label, `!=` and `notin` hold.
  if (equal !== null) return (labels) => (labels[equal[1]!] === equal[3]) === (equal[2] !== '!=')
  const set = SET.exec(text)
  if (set === null) throw badRequest(`unable to parse requirement: ${text}`)
  const values = new Set<unknown>(set[3]!.split(',').map((value) => value.trim()))
  return (labels) => values.has(labels[set[1]!]) === (set[2] === 'in')
}
