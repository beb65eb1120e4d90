import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { requireProgram } from '../../common/requires.ts'
import { until } from '../../common/until.ts'
import { gist, group, question, upstream } from './fixtures.ts'

interface Certificate {
  readonly key: string
  readonly cert: string
}

/** A certificate that vouches for itself; undefined, and the test skipped, without openssl. */
function certificate(t: TestContext, names: string): Certificate | undefined {
  const openssl = requireProgram(t, 'openssl', 'openssl')
  if (openssl === undefined) return undefined
  const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-tls-'))
  try {
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30']
    const subject = ['-subj', '/CN=test', '-addext', `subjectAltName=${names}`]
    execFileSync(openssl, [...request, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' })
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

suite('queries over TLS', () => {
  const cases = [
    { promise: 'go to an upstream whose certificate bears its server name', serverName: 'dns.example', is: 'rcode 0' },
    { promise: 'go to an upstream whose certificate bears its address', serverName: undefined, is: 'rcode 0' },
    { promise: 'never go to an upstream with another name', serverName: 'other.example', is: 'unreachable' },
  ]
  for (const { promise, serverName, is } of cases) {
    test(promise, async (t) => {
      const tls = certificate(t, 'DNS:dns.example,IP:127.0.0.1')
      if (tls === undefined) return
      const server = await upstream(t, { tls, withUdp: false })
      const asked = group(t, {
        upstreams: [{ address: '127.0.0.1', port: server.port, serverName }],
        transport: 'tls',
        certificateAuthorities: () => [tls.cert],
      })
      const results = await Promise.all(['a', 'b', 'c'].map((name) => asked.forward(question(name))))
      assert.deepEqual([...new Set(results.map(gist))], [is])
      assert.equal(server.queries.length, is === 'rcode 0' ? 3 : 0)
      if (is === 'rcode 0') assert.equal(server.connectionsAccepted, 1)
    })
  }

  test('never go to an upstream that nobody we trust vouches for', async (t) => {
    const tls = certificate(t, 'IP:127.0.0.1')
    if (tls === undefined) return
    const server = await upstream(t, { tls, withUdp: false })
    const asked = group(t, { upstreams: [server], transport: 'tls' })
    assert.equal(gist(await asked.forward(question('a.example'))), 'unreachable')
    assert.equal(server.queries.length, 0)
  })

  test('read big responses in pieces and responses in any order', async (t) => {
    const tls = certificate(t, 'IP:127.0.0.1')
    if (tls === undefined) return
    const server = await upstream(t, { tls, withUdp: false, script: () => {} })
    const asked = group(t, { upstreams: [server], transport: 'tls', certificateAuthorities: () => [tls.cert] })
    const text = Array.from({ length: 40 }, () => 'x'.repeat(250))
    const results = Array.from({ length: 10 }, (_, i) => asked.forward(question(`big${i}.example`, { type: 16 })))
    await until(() => server.queries.length === 10)
    for (const query of server.queries.toReversed()) {
      query.answer({ answers: [{ type: 'TXT', name: query.name, ttl: 5, data: text }] })
    }
    for (const result of await Promise.all(results)) {
      assert.ok(result.kind === 'response' && result.response.answer.message.length > 10_000)
    }
  })
})
