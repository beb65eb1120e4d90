/** Whom a route over TLS trusts: the certificates of a file, which is followed as it is renewed. */

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Log } from '../observe/log.ts'
import { textOf } from './error-text.ts'

/** The largest public lists have a few hundred KiB; what is larger is another file. */
const FILE_OCTETS_MAX = 1_048_576

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/**
 * The certificates of a PEM file. A file that is missing, half written or has a certificate that is none is reported, and those
 * of the last good one stay; nobody is trusted as long as there was none.
 */
export class FollowedAuthorities {
  readonly #path: string
  readonly #log: Log
  #seen: string | undefined
  #certificates: readonly string[] = []

  constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
    this.follow()
  }

  /** One PEM text a certificate. */
  get certificates(): readonly string[] {
    return this.#certificates
  }

  /** Looks at the file again. What is the matter with it is said once, until it changes. */
  follow(): void {
    const read = this.#read()
    const seen = 'text' in read ? read.text : read.error
    if (seen === this.#seen) return
    const isRenewed = this.#seen !== undefined
    this.#seen = seen
    try {
      if ('error' in read) throw new Error(read.error)
      this.#certificates = certificatesIn(read.text)
      if (isRenewed) this.#log.info('ca-file-changed', { path: this.#path, certificates: this.#certificates.length })
    } catch (error) {
      this.#log.error('ca-file-unusable', { path: this.#path, error: textOf(error), kept: this.#certificates.length })
    }
  }

  #read(): { text: string } | { error: string } {
    try {
      return { text: readFileSync(this.#path, 'latin1') }
    } catch (error) {
      return { error: textOf(error) }
    }
  }
}

function certificatesIn(text: string): readonly string[] {
  if (text.length > FILE_OCTETS_MAX) throw new Error(`is larger than ${FILE_OCTETS_MAX} octets`)
  const certificates = text.match(CERTIFICATE) ?? []
  if (certificates.length === 0) throw new Error('has no certificate')
  const bad = certificates.findIndex((certificate) => !isReadable(certificate))
  if (bad !== -1) throw new Error(`certificate ${bad + 1} of ${certificates.length} cannot be read`)
  return certificates
}

function isReadable(certificate: string): boolean {
  try {
    return new X509Certificate(certificate).raw.length > 0
  } catch {
    // The reader says why in words of ASN.1, which help nobody; which certificate it was does.
    return false
  }
}
