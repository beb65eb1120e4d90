/** Who the API server is and who we are to it: over TLS, by every way that a Pod's files and a kubeconfig may say it. */

import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, suite, type TestContext, test } from 'node:test'
import { type Authority, authority } from '../common/certificates.ts'
import { type FakeApiServer, type FakeApiServerOptions, startFakeApiServer } from '../common/fake-api-server.ts'
import { writeKubeconfig } from '../common/kubeconfig.ts'
import { type ApiScene, follow, followUntilSynced } from './api-suite.ts'
import { clusterSetIp, until } from './support.ts'

const ACCOUNT = 'var/run/secrets/kubernetes.io/serviceaccount'

interface Scene {
  readonly server: FakeApiServer
  readonly authority: Authority
  /** A directory for files of the test. */
  readonly directory: string
  write(name: string, text: string): Promise<string>
}

/** An API server over TLS with one service; undefined, and the test skipped, without openssl. */
async function secure(t: TestContext, options: FakeApiServerOptions = {}): Promise<Scene | undefined> {
  const its = authority(t)
  if (its === undefined) return undefined
  const directory = await mkdtemp(join(tmpdir(), 'credentials-'))
  t.after(() => rm(directory, { recursive: true }))
  const server = await startFakeApiServer({ ...options, tls: { ...its.server(), authority: its.certificate } })
  t.after(() => server.stop())
  await server.apply(clusterSetIp('web', '10.0.0.1'))
  const write = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name)
    await writeFile(path, text)
    return path
  }
  return { server, authority: its, directory, write }
}

const errorsOf = (scene: ApiScene, code: string): number => scene.controlPlane.status().watchErrors.get(code) ?? 0
const failures = (scene: ApiScene): string[] => [...scene.controlPlane.status().watchErrors.keys()]

/** Has the watches opened anew, with what is accepted now, and waits until a change gets through. */
async function hearsAgain(scene: ApiScene, server: FakeApiServer, address: string): Promise<void> {
  server.cutWatches('end')
  await server.apply(clusterSetIp('web', address))
  await until('the change gets through', () => scene.addressesOf('web')?.[0] === address)
}

suite("a Pod's service account", () => {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  afterEach(() => {
    process.env['KUBERNETES_SERVICE_HOST'] = host
    process.env['KUBERNETES_SERVICE_PORT'] = port
    if (host === undefined) delete process.env['KUBERNETES_SERVICE_HOST']
    if (port === undefined) delete process.env['KUBERNETES_SERVICE_PORT']
  })

  async function pod(t: TestContext) {
    const made = await secure(t, { tokens: ['first'] })
    if (made === undefined) return undefined
    process.env['KUBERNETES_SERVICE_HOST'] = '127.0.0.1'
    process.env['KUBERNETES_SERVICE_PORT'] = new URL(made.server.url).port
    await mkdir(join(made.directory, ACCOUNT), { recursive: true })
    const account = (name: string, text: string) => made.write(join(ACCOUNT, name), text)
    await account('token', 'first')
    await account('namespace', 'kube-system')
    await account('ca.crt', made.authority.certificate)
    // The package puts its path, which begins with a slash, behind it.
    return { ...made, account, settings: { serviceAccountRoot: made.directory } }
  }

  test('says where the API server is, who it must be and who we are', async (t) => {
    const made = await pod(t)
    if (made === undefined) return
    const scene = await followUntilSynced(t, null, made.settings)
    assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
    assert.deepEqual(failures(scene), [])
    assert.ok(made.server.requests.every(({ authorization }) => authorization === 'Bearer first'))
  })

  test('has a token that is read again when it was rotated', async (t) => {
    const made = await pod(t)
    if (made === undefined) return
    const scene = await followUntilSynced(t, null, made.settings)
    await made.account('token', 'second\n')
    made.server.acceptTokens(['second'])
    await hearsAgain(scene, made.server, '10.0.0.2')
    assert.equal(made.server.requests.at(-1)?.authorization, 'Bearer second')
  })

  test('may be there late: until then nothing is denied', async (t) => {
    const made = await pod(t)
    if (made === undefined) return
    await rm(join(made.directory, ACCOUNT, 'token'))
    const scene = await follow(t, null, made.settings)
    await until('the lack is told', () => errorsOf(scene, 'ENOENT') > 0)
    assert.equal(scene.zone.state, 'unsynced')
    await made.account('token', 'first')
    await until('the zone is synced', () => scene.zone.state === 'synced')
  })

  test('has an authority, and a server of another one is not believed until that is the one', async (t) => {
    const made = await pod(t)
    const other = authority(t)
    if (made === undefined || other === undefined) return
    await made.account('ca.crt', other.certificate)
    const scene = await follow(t, null, made.settings)
    await until('the server is refused', () => failures(scene).length > 0)
    assert.match(failures(scene).join(), /UNABLE_TO|SELF_SIGNED|SIGNATURE|CERT/)
    assert.equal(made.server.requests.length, 0, 'a token was shown to a stranger')
    await made.account('ca.crt', made.authority.certificate)
    await until('the zone is synced', () => scene.zone.state === 'synced')
  })

  test('is asked for by name where there is no Pod', async (t) => {
    delete process.env['KUBERNETES_SERVICE_HOST']
    await assert.rejects(follow(t, null), { code: 'NOT_IN_CLUSTER' })
  })
})

suite('a kubeconfig', () => {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')

  const ways = [
    { promise: 'names the authority by a file', cluster: (path: string) => ({ 'certificate-authority': path }) },
    {
      promise: 'holds the authority itself',
      cluster: (_: string, pem: string) => ({ 'certificate-authority-data': base64(pem) }),
    },
    { promise: 'may ask for no authority at all', cluster: () => ({ 'insecure-skip-tls-verify': true }) },
  ]
  for (const { promise, cluster } of ways) {
    test(promise, async (t) => {
      const made = await secure(t, { tokens: ['secret'] })
      if (made === undefined) return
      const caPath = await made.write('ca.crt', made.authority.certificate)
      const kubeconfig = await writeKubeconfig(join(made.directory, 'config'), made.server.url, {
        token: 'secret',
        cluster: cluster(caPath, made.authority.certificate),
      })
      const scene = await followUntilSynced(t, kubeconfig)
      assert.deepEqual(failures(scene), [])
      assert.deepEqual(scene.addressesOf('web'), ['10.0.0.1'])
    })
  }

  for (const isInFiles of [true, false]) {
    test(`has a client certificate ${isInFiles ? 'in files, which may be rotated' : 'in itself'}`, async (t) => {
      const made = await secure(t, { clients: ['first'] })
      if (made === undefined) return
      const show = async (commonName: string): Promise<object> => {
        const { certificate, key } = made.authority.client(commonName)
        return isInFiles
          ? {
              'client-certificate': await made.write('me.crt', certificate),
              'client-key': await made.write('me.key', key),
            }
          : { 'client-certificate-data': base64(certificate), 'client-key-data': base64(key) }
      }
      const write = async (commonName: string): Promise<string> => {
        const options = {
          user: await show(commonName),
          cluster: { 'certificate-authority': await made.write('ca.crt', made.authority.certificate) },
        }
        return await writeKubeconfig(join(made.directory, 'config'), made.server.url, options)
      }
      const scene = await followUntilSynced(t, await write('first'))
      assert.deepEqual(failures(scene), [])
      assert.ok(made.server.requests.every(({ client }) => client === 'first'))
      await write('second')
      made.server.acceptClients(['second'])
      await hearsAgain(scene, made.server, '10.0.0.2')
      assert.equal(made.server.requests.at(-1)?.client, 'second')
    })
  }

  /** A kubeconfig whose user is what a script says. */
  async function plugin(made: Scene, script: string): Promise<string> {
    const path = await made.write('plugin', `#!/bin/sh\n${script}\n`)
    await chmod(path, 0o755)
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: path,
      args: ['get-token'],
      interactiveMode: 'Never',
    }
    return await writeKubeconfig(join(made.directory, 'config'), made.server.url, {
      user: { exec },
      cluster: { 'certificate-authority': await made.write('ca.crt', made.authority.certificate) },
    })
  }

  const credential = (status: object): string =>
    JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status })

  test('has an exec plugin, which is run again when its token is refused', async (t) => {
    const made = await secure(t, { tokens: ['first'] })
    if (made === undefined) return
    await made.write('credential', credential({ token: 'first' }))
    const script = `echo run >> ${made.directory}/runs; cat ${made.directory}/credential`
    const scene = await followUntilSynced(t, await plugin(made, script))
    assert.deepEqual(failures(scene), [])
    await made.write('credential', credential({ token: 'second' }))
    made.server.acceptTokens(['second'])
    await hearsAgain(scene, made.server, '10.0.0.2')
  })

  test('has an exec plugin, which is run again when its token has expired', async (t) => {
    const made = await secure(t, { tokens: ['first', 'second'] })
    if (made === undefined) return
    const past = new Date(Date.now() - 1_000).toISOString()
    await made.write('credential', credential({ token: 'first', expirationTimestamp: past }))
    const scene = await followUntilSynced(t, await plugin(made, `cat ${made.directory}/credential`))
    await made.write('credential', credential({ token: 'second', expirationTimestamp: past }))
    await hearsAgain(scene, made.server, '10.0.0.2')
    assert.equal(errorsOf(scene, '401'), 0)
    assert.equal(made.server.requests.at(-1)?.authorization, 'Bearer second')
  })

  test('has an exec plugin that gives a certificate', async (t) => {
    const made = await secure(t, { clients: ['plugin'] })
    if (made === undefined) return
    const { certificate, key } = made.authority.client('plugin')
    await made.write('credential', credential({ clientCertificateData: certificate, clientKeyData: key }))
    const scene = await followUntilSynced(t, await plugin(made, `cat ${made.directory}/credential`))
    assert.deepEqual(failures(scene), [])
  })

  for (const { promise, script, why } of [
    { promise: 'fails', script: 'echo "you are logged out" >&2; exit 1', why: /you are logged out/ },
    { promise: 'says what is no credential', script: 'echo hello', why: /JSON/ },
    { promise: 'says nothing of use', script: 'echo "{}"', why: /./ },
  ]) {
    test(`has an exec plugin that ${promise}: told, and tried again`, async (t) => {
      const made = await secure(t, { tokens: ['secret'] })
      if (made === undefined) return
      const scene = await follow(t, await plugin(made, script))
      await until('it is told', () => scene.log.some(({ event }) => event === 'watch-failed'))
      const line = scene.log.find(({ event }) => event === 'watch-failed')
      assert.match(String(line?.fields['message']), why)
      assert.equal(scene.zone.state, 'unsynced')
      await plugin(made, `echo '${credential({ token: 'secret' })}'`)
      await until('the zone is synced', () => scene.zone.state === 'synced')
    })
  }

  test('has an exec plugin that hangs: given up in time, one at a time, and no obstacle to the stop', async (t) => {
    const made = await secure(t, { tokens: ['secret'] })
    if (made === undefined) return
    const script = `echo run >> ${made.directory}/runs; while [ ! -e ${made.directory}/go ]; do sleep 0.1; done; echo '${credential({ token: 'secret' })}'`
    const scene = await follow(t, await plugin(made, script), { limits: { headersTimeoutMs: 100 } })
    await until('it is given up', () => errorsOf(scene, 'CREDENTIALS_TIMEOUT') > 2)
    assert.equal(await readFile(join(made.directory, 'runs'), 'utf8'), 'run\n')
    await made.write('go', '')
    await until('the zone is synced', () => scene.zone.state === 'synced')
  })
})
