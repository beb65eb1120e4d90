/** Memory that is given back, on the machine that the tests run on. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { filePages, releaseFilePages, restrainAllocator, trimAllocator } from '../../src/host/memory.ts'
import { sweepHeap } from '../../src/host/sweep-heap.ts'

const mibOf = (what: string) => {
  const status = readFileSync('/proc/self/status', 'latin1')
  return Number(new RegExp(`^${what}:\\s+(\\d+)`, 'm').exec(status)![1]) / 1024
}

const mapping = (head: string, anonymous: number) =>
  `${head}\nSize:               64 kB\nRss:                32 kB\nAnonymous:        ${anonymous} kB\nVmFlags: rd mr mw me\n`

test('takes files that nobody has written to, and neither relocated pages nor our own', () => {
  const smaps = [
    mapping('00400000-00410000 r--p 00000000 08:01 12  /usr/local/bin/node', 0),
    mapping('00410000-00430000 r-xp 00010000 08:01 12  /usr/local/bin/node', 0),
    mapping('00430000-00440000 r--p 00030000 08:01 12  /usr/local/bin/node', 32),
    mapping('00440000-00450000 rw-p 00040000 08:01 12  /usr/local/bin/node', 0),
    mapping('7f0000000000-7f0000010000 r--s 00000000 08:01 13  /var/cache/shared', 0),
    mapping('7f0000010000-7f0000020000 r--p 00000000 00:00 0 ', 0),
    mapping('7f0000020000-7f0000030000 r-xp 00000000 00:00 0  [vdso]', 0),
  ].join('')
  assert.deepEqual(filePages(smaps), [
    { from: 0x400000, octets: 0x10000 },
    { from: 0x410000, octets: 0x20000 },
  ])
})

test('pages of files leave, and what is needed of them comes back', {
  skip: process.platform !== 'linux',
}, async () => {
  const before = mibOf('RssFile')
  await releaseFilePages()
  const after = mibOf('RssFile')
  assert.ok(after < before - 10, `${before} MiB of files before, ${after} after`)
  assert.equal(JSON.parse('{"still": "running"}').still, 'running')
})

test('the allocator gives back what lies free between things that stay', {
  skip: process.platform !== 'linux',
}, async () => {
  assert.equal(restrainAllocator(), true)
  // Smaller than what gets a mapping of its own; every eighth stays, so that nothing is free at the end of a heap.
  let buffers = Array.from({ length: 4_000 }, () => Buffer.allocUnsafeSlow(16_000).fill(1))
  const full = mibOf('RssAnon')
  buffers = buffers.filter((_, i) => i % 8 === 0)
  setFlagsFromString('--expose-gc')
  sweepHeap()
  await trimAllocator()
  const left = mibOf('RssAnon')
  assert.ok(left < full - 40, `${full} MiB before, ${left} after`)
  assert.equal(
    buffers.every((buffer) => buffer[0] === 1),
    true,
  )
})

test('a thread sweeps its heap with the function that it has since the flag stands', async (t) => {
  setFlagsFromString('--expose-gc')
  const file = new URL('../../src/host/sweep-heap.ts', import.meta.url).href
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
     import(${JSON.stringify(file)}).then(({ sweepHeap }) => {
       const garbage = new WeakRef({ of: new Array(1000).fill('x') })
       setTimeout(() => { sweepHeap(); parentPort.postMessage([typeof gc, garbage.deref() === undefined]) }, 1)
     })`,
    { eval: true },
  )
  t.after(() => worker.terminate())
  const [message] = await new Promise<unknown[]>((resolve, reject) => {
    worker.on('message', (...told) => resolve(told))
    worker.on('error', reject)
  })
  assert.deepEqual(message, ['function', true])
})
