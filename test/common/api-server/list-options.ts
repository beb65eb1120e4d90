/** The query parameters of a list or watch, checked as the API server checks them. */

import { type LabelSelector, parseLabelSelector } from './label-selector.ts'
import { ApiError, badRequest, forbiddenOption } from './status.ts'

export interface ListOptions {
  readonly isWatch: boolean
  /** Undefined: the newest. */
  readonly resourceVersion: number | undefined
  readonly match: 'Exact' | 'NotOlderThan' | undefined
  /** 0: no pages. */
  readonly limit: number
  readonly continueToken: string | undefined
  readonly selector: LabelSelector
  readonly isSelective: boolean
  readonly allowsBookmarks: boolean
  /** Undefined: not asked; a watch from no version or 0 then begins with what there is, without saying where that ends. */
  readonly sendsInitialEvents: boolean | undefined
  readonly timeoutSeconds: number | undefined
}

/** Throws 400 or 422. `hasWatchList`: the server knows `sendInitialEvents`. */
export function listOptions(query: URLSearchParams, hasWatchList: boolean): ListOptions {
  const isWatch = isTrue(query, 'watch')
  const resourceVersion = versionOf(query, isWatch)
  const continueToken = query.get('continue') || undefined
  const match = matchOf(query.get('resourceVersionMatch') || undefined)
  const asksInitialEvents = query.has('sendInitialEvents')
  const labels = query.get('labelSelector') ?? ''
  if (query.has('fieldSelector')) throw badRequest('this API server has no field selectors')
  if (isWatch) {
    if (continueToken !== undefined) {
      throw forbiddenOption('resourceVersionMatch', 'resourceVersionMatch is forbidden when continue is provided')
    }
    if (asksInitialEvents && !hasWatchList) {
      const message = 'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled'
      throw forbiddenOption('sendInitialEvents', message)
    }
    if (asksInitialEvents && match !== 'NotOlderThan') {
      throw forbiddenOption(
        'resourceVersionMatch',
        'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      )
    }
    if (!asksInitialEvents && match !== undefined) {
      throw forbiddenOption(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
      )
    }
  } else {
    if (asksInitialEvents) throw forbiddenOption('sendInitialEvents', 'sendInitialEvents is forbidden for list')
    if (match !== undefined && continueToken !== undefined) {
      throw forbiddenOption('resourceVersionMatch', 'resourceVersionMatch is forbidden when continue is provided')
    }
    if (match !== undefined && resourceVersion === undefined) {
      throw forbiddenOption(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden unless resourceVersion is provided',
      )
    }
    if (match === 'Exact' && resourceVersion === 0) {
      throw forbiddenOption('resourceVersionMatch', 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    }
    if (continueToken !== undefined && (resourceVersion ?? 0) !== 0) {
      throw badRequest('specifying resource version is not allowed when using continue')
    }
  }
  return {
    isWatch,
    resourceVersion,
    match,
    limit: Math.max(0, numberOf(query, 'limit')),
    continueToken,
    selector: parseLabelSelector(labels),
    isSelective: labels !== '',
    allowsBookmarks: isTrue(query, 'allowWatchBookmarks'),
    sendsInitialEvents: asksInitialEvents ? isTrue(query, 'sendInitialEvents') : undefined,
    timeoutSeconds: Math.max(0, numberOf(query, 'timeoutSeconds')) || undefined,
  }
}

function isTrue(query: URLSearchParams, name: string): boolean {
  // As the API server reads booleans: present means true unless it says otherwise.
  const value = query.get(name)
  return value !== null && value !== 'false' && value !== '0'
}

/** 0: not said. What is below it is as good as not said. */
function numberOf(query: URLSearchParams, name: string): number {
  const text = query.get(name) || '0'
  if (!/^[+-]?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`)
  return Number(text)
}

function versionOf(query: URLSearchParams, isWatch: boolean): number | undefined {
  const text = query.get('resourceVersion') ?? ''
  if (text === '') return undefined
  if (/^\d+$/.test(text)) return Number(text)
  const message = `resourceVersion: Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`
  // A watch's mistake is not made a Status of before it is too late.
  if (isWatch) throw new ApiError(500, '', message)
  throw badRequest(`invalid resource version: ${message}`)
}

function matchOf(text: string | undefined): ListOptions['match'] {
  if (text === undefined || text === 'Exact' || text === 'NotOlderThan') return text
  throw forbiddenOption('resourceVersionMatch', `supported values: "Exact", "NotOlderThan", not "${text}"`)
}
