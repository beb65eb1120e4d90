/** Whom connections over TLS trust: made once for a list of certificates, for a hundred of them take ten milliseconds to read. */

import type { SecureContext } from 'node:tls'
import type { CertificateAuthorities } from './exchange.ts'

/** Stands for those that the runtime has. */
const PUBLIC: readonly string[] = []

/** By the list itself: whoever renews it makes another. */
const contexts = new WeakMap<readonly string[], SecureContext>()

/** Undefined: the public authorities. */
export function secureContextOf(authorities: CertificateAuthorities | undefined): SecureContext {
  const certificates = authorities?.() ?? PUBLIC
  const known = contexts.get(certificates)
  if (known !== undefined) return known
  const trusted = certificates === PUBLIC ? {} : { ca: [...certificates] }
  const made = process.getBuiltinModule('node:tls').createSecureContext({ ...trusted, minVersion: 'TLSv1.2' })
  contexts.set(certificates, made)
  return made
}
