/** Kubeconfig files for an API server under test. */

import { writeFile } from 'node:fs/promises'
import { stringify } from 'yaml'
import type { KubeconfigOptions } from './api-under-test.ts'

/** `certificateAuthority` is the path of a PEM file. */
export async function writeKubeconfig(
  path: string,
  server: string,
  options: KubeconfigOptions & { readonly user?: object; readonly cluster?: object } = {},
  certificateAuthority?: string,
): Promise<string> {
  const cluster = {
    server,
    ...(certificateAuthority !== undefined && { 'certificate-authority': certificateAuthority }),
    // client-node speaks plain HTTP to nobody who did not ask for it.
    ...(server.startsWith('http:') && { 'insecure-skip-tls-verify': true }),
    ...options.cluster,
  }
  const user = {
    ...(options.token !== undefined && { token: options.token }),
    ...(options.tokenFile !== undefined && { tokenFile: options.tokenFile }),
    ...options.user,
  }
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster }],
    users: [{ name: 'test', user }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  }
  await writeFile(path, stringify(kubeconfig), { mode: 0o600 })
  return path
}
