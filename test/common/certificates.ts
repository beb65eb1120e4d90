/** A certificate authority for one test, made by openssl. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { requireProgram } from './requires.ts'

export interface Certificate {
  readonly certificate: string
  readonly key: string
}

export interface Authority {
  readonly certificate: string
  /** For a server at 127.0.0.1 and ::1. */
  server(): Certificate
  client(commonName: string): Certificate
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** Undefined, and the test skipped, without openssl. */
export function authority(t: TestContext): Authority | undefined {
  const openssl = requireProgram(t, 'openssl', 'openssl')
  if (openssl === undefined) return undefined
  const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-authority-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const at = (name: string): string => join(directory, name)
  const run = (...args: string[]): void => void execFileSync(openssl, args, { stdio: 'ignore' })
  run('req', '-x509', ...KEY, '-days', '30', '-subj', '/CN=authority', '-keyout', at('ca.key'), '-out', at('ca.crt'))
  const issue = (commonName: string, extensions: string): Certificate => {
    writeFileSync(at('extensions'), extensions)
    run('req', ...KEY, '-subj', `/CN=${commonName}`, '-keyout', at('its.key'), '-out', at('its.csr'))
    const signing = ['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at('extensions')]
    run('x509', '-req', '-in', at('its.csr'), ...signing, '-days', '30', '-out', at('its.crt'))
    return { certificate: readFileSync(at('its.crt'), 'utf8'), key: readFileSync(at('its.key'), 'utf8') }
  }
  return {
    certificate: readFileSync(at('ca.crt'), 'utf8'),
    server: () => issue('kube-apiserver', 'subjectAltName=IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth\n'),
    client: (commonName) => issue(commonName, 'extendedKeyUsage=clientAuth\n'),
  }
}
