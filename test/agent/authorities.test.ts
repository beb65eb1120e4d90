import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { FollowedAuthorities } from '../../src/agent/authorities.ts'
import type { Log } from '../../src/observe/log.ts'
import { authority } from '../common/certificates.ts'
import { gist, group, question, upstream } from '../serve/forward/fixtures.ts'

function followed(t: TestContext, text: string | undefined) {
  const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-ca-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'ca.pem')
  if (text !== undefined) writeFileSync(path, text)
  const events: string[] = []
  const note = (event: string): void => void events.push(event)
  const log = { debug: note, info: note, warn: note, error: note } as unknown as Log
  return { path, events, authorities: new FollowedAuthorities(path, log) }
}

suite('the certificates of a caFile', () => {
  test('are all that are in it, whatever stands between them', (t) => {
    const [one, other] = [authority(t)?.certificate, authority(t)?.certificate]
    if (one === undefined || other === undefined) return
    const { authorities, events } = followed(t, `# ours\n${one}\nand theirs\n${other}`)
    assert.deepEqual(authorities.certificates, [one.trim(), other.trim()])
    assert.deepEqual(events, [])
  })

  test('follow the file, also when a link is turned to another as kubelet does it', (t) => {
    const [one, other] = [authority(t)?.certificate, authority(t)?.certificate]
    if (one === undefined || other === undefined) return
    const { authorities, events, path } = followed(t, one)
    writeFileSync(`${path}.new`, other)
    unlinkSync(path)
    symlinkSync(`${path}.new`, path)
    authorities.follow()
    assert.deepEqual(authorities.certificates, [other.trim()])
    authorities.follow()
    assert.deepEqual(events, ['ca-file-changed'])
  })

  const unusable: readonly { what: string; text(good: string): string | undefined }[] = [
    { what: 'missing', text: () => undefined },
    { what: 'empty', text: () => '' },
    { what: 'half written', text: (good) => good.slice(0, good.length / 2) },
    { what: 'spoilt in its second certificate', text: (good) => `${good}\n${good.replace(/\nM/, '\nX')}` },
    { what: 'of a size that no list has', text: (good) => good + '#'.repeat(1_048_576) },
  ]
  for (const { what, text } of unusable) {
    test(`stay as they were while the file is ${what}, which is said once`, (t) => {
      const good = authority(t)?.certificate
      if (good === undefined) return
      const { authorities, events, path } = followed(t, good)
      const next = text(good)
      if (next === undefined) unlinkSync(path)
      else writeFileSync(path, next)
      authorities.follow()
      authorities.follow()
      assert.deepEqual(authorities.certificates, [good.trim()])
      assert.deepEqual(events, ['ca-file-unusable'])
    })
  }

  test('are nobody’s while there was no good file, and believed from the first connection after it', async (t) => {
    const made = authority(t)
    if (made === undefined) return
    const { certificate, key } = made.server()
    const server = await upstream(t, { tls: { cert: certificate, key }, withUdp: false })
    const { authorities, events, path } = followed(t, undefined)
    assert.deepEqual(events, ['ca-file-unusable'])
    const asked = group(t, {
      upstreams: [server],
      transport: 'tls',
      certificateAuthorities: () => authorities.certificates,
    })
    assert.equal(gist(await asked.forward(question('a.example'))), 'unreachable')
    writeFileSync(path, made.certificate)
    authorities.follow()
    assert.equal(gist(await asked.forward(question('b.example'))), 'rcode 0')
  })
})
