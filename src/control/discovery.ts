/** Which version of ServiceImport the API serves: v1beta1 rather than v1alpha1, or none, because the CRDs may be absent. */

import type { ApiReply, KubernetesApi } from './kubernetes-api.ts'
import { fieldOf } from './object-intake.ts'

export const IMPORT_GROUP = 'multicluster.x-k8s.io'
export const IMPORT_RESOURCE = 'serviceimports'

/** Both have the same fields; the first one that is served is used. */
export const IMPORT_VERSIONS = ['v1beta1', 'v1alpha1'] as const

/** Octets of a discovery document. */
const DOCUMENT_OCTETS_MAX = 1024 * 1024

export type Discovery =
  | { readonly kind: 'served'; readonly version: string }
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'failed'
      readonly code: string
      readonly message: string
      readonly retryAfterSeconds: number | undefined
    }

export async function discoverImports(
  api: KubernetesApi,
  limits: { readonly headersTimeoutMs: number; readonly idleTimeoutMs: number },
  signal: AbortSignal,
): Promise<Discovery> {
  for (const version of IMPORT_VERSIONS) {
    // Not the group alone: it may hold ServiceExports and no ServiceImports.
    const reply = await api.get({ path: `/apis/${IMPORT_GROUP}/${version}`, ...limits, signal })
    if (reply.kind === 'refused' && reply.status === 404) continue
    if (reply.kind !== 'ok') return failureOf(reply)
    const resources = await resourcesOf(reply.body)
    if (typeof resources === 'string') {
      return { kind: 'failed', code: 'DISCOVERY', message: resources, retryAfterSeconds: undefined }
    }
    if (resources.some((resource) => fieldOf(resource, 'name') === IMPORT_RESOURCE)) return { kind: 'served', version }
  }
  return { kind: 'absent' }
}

export function failureOf(reply: Exclude<ApiReply, { kind: 'ok' }>): Discovery & { kind: 'failed' } {
  return reply.kind === 'refused'
    ? {
        kind: 'failed',
        code: String(reply.status),
        message: reply.message,
        retryAfterSeconds: reply.retryAfterSeconds,
      }
    : { kind: 'failed', code: reply.code, message: reply.message, retryAfterSeconds: undefined }
}

/** The resources of a version, or why they are not known. */
async function resourcesOf(body: AsyncIterable<Buffer>): Promise<readonly unknown[] | string> {
  try {
    const chunks: Buffer[] = []
    let octets = 0
    for await (const chunk of body) {
      octets += chunk.length
      if (octets > DOCUMENT_OCTETS_MAX) return `a discovery document of more than ${DOCUMENT_OCTETS_MAX} octets`
      chunks.push(chunk)
    }
    const resources = fieldOf(JSON.parse(Buffer.concat(chunks).toString()), 'resources')
    return Array.isArray(resources) ? resources : []
  } catch (failure) {
    return failure instanceof Error ? failure.message : String(failure)
  }
}
