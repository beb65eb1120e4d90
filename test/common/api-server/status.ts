/** Status objects: how the API server says no. */

export interface Status {
  readonly kind: 'Status'
  readonly apiVersion: 'v1'
  readonly metadata: { readonly continue?: string }
  readonly status: 'Failure'
  readonly message: string
  readonly reason: string
  readonly details?: object
  readonly code: number
}

export class ApiError extends Error {
  readonly status: Status
  readonly retryAfterSeconds: number | undefined

  constructor(
    code: number,
    reason: string,
    message: string,
    more: { details?: object; continue?: string; retryAfterSeconds?: number } = {},
  ) {
    super(message)
    this.retryAfterSeconds = more.retryAfterSeconds
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: more.continue === undefined ? {} : { continue: more.continue },
      status: 'Failure',
      message,
      reason,
      ...(more.details !== undefined && { details: more.details }),
      code,
    }
  }
}

export type RefusalCode = 401 | 403 | 404 | 410 | 429 | 500 | 503 | 504

const REASONS: Readonly<Record<RefusalCode, readonly [reason: string, message: string]>> = {
  401: ['Unauthorized', 'Unauthorized'],
  403: ['Forbidden', 'forbidden: User "system:serviceaccount:kube-system:nodelocal-mcs" cannot do this'],
  404: ['NotFound', 'the server could not find the requested resource'],
  410: ['Expired', 'too old resource version: 1 (2)'],
  429: ['TooManyRequests', 'Too many requests, please try again later.'],
  500: ['InternalError', 'Internal error occurred: etcdserver: leader changed'],
  503: ['ServiceUnavailable', 'apiserver is shutting down'],
  504: ['Timeout', 'The request could not be completed in time'],
}

export function refusal(code: RefusalCode, retryAfterSeconds?: number): ApiError {
  const [reason, message] = REASONS[code]
  if (retryAfterSeconds === undefined) return new ApiError(code, reason, message)
  return new ApiError(code, reason, message, { retryAfterSeconds, details: { retryAfterSeconds } })
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, 'BadRequest', message)
}

/** What the validation of list and watch options says; one field is enough here. */
export function forbiddenOption(field: string, message: string): ApiError {
  return new ApiError(422, 'Invalid', `ListOptions.meta.k8s.io "" is invalid: ${field}: Forbidden: ${message}`, {
    details: {
      group: 'meta.k8s.io',
      kind: 'ListOptions',
      causes: [{ reason: 'FieldValueForbidden', message: `Forbidden: ${message}`, field }],
    },
  })
}

/** A watch from a version that is no longer known; travels as an ERROR event in a 200 stream. */
export function watchExpired(asked: number, oldest: number): ApiError {
  return new ApiError(410, 'Expired', `too old resource version: ${asked} (${oldest})`)
}

export function listExpired(): ApiError {
  return new ApiError(410, 'Expired', 'The resourceVersion for the provided list is too old.')
}

/** With a token that goes on from the same name in the newest state, as the API server offers. */
export function continueExpired(inconsistentToken: string): ApiError {
  return new ApiError(
    410,
    'Expired',
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results.',
    { continue: inconsistentToken },
  )
}

export function versionTooLarge(asked: number, current: number): ApiError {
  const message = `Too large resource version: ${asked}, current: ${current}`
  return new ApiError(504, 'Timeout', `Timeout: ${message}`, {
    retryAfterSeconds: 1,
    details: {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    },
  })
}
