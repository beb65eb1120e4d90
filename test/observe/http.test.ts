import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { suite, type TestContext, test } from 'node:test'
import {
  HTTP_CONNECTIONS_MAX,
  type HttpListener,
  type HttpPages,
  localOnly,
  openHttpListener,
} from '../../src/observe/http.ts'
import { type Condition, probePages } from '../../src/observe/probes.ts'
import { restingPage } from '../../src/observe/resting-page.ts'
import { until } from '../common/until.ts'

const HELLO: HttpPages = {
  '/hello': () => ({ status: 200, contentType: 'text/plain', body: 'hello\n' }),
  '/broken': () => Promise.reject(new Error('broken')),
}

interface Bench {
  readonly listener: HttpListener
  readonly failures: string[]
  ask(path: string, method?: string): Promise<Response>
}

async function benchOf(t: TestContext, pages: HttpPages, port = 0, reusePort = false): Promise<Bench> {
  const failures: string[] = []
  const listener = await openHttpListener(
    { address: '127.0.0.1', port, reusePort, purpose: 'metrics' },
    pages,
    (path) => failures.push(path),
  )
  t.after(() => listener.stop(0))
  return {
    listener,
    failures,
    ask: (path, method = 'GET') =>
      fetch(`http://127.0.0.1:${listener.port}${path}`, { method, headers: { connection: 'close' } }),
  }
}

suite('http', () => {
  const replies = [
    { promise: 'serves a page', path: '/hello', method: 'GET', status: 200, body: 'hello\n' },
    {
      promise: 'serves a page whatever the query string',
      path: '/hello?a=b',
      method: 'GET',
      status: 200,
      body: 'hello\n',
    },
    { promise: 'answers HEAD without a body', path: '/hello', method: 'HEAD', status: 200, body: '' },
    { promise: 'knows no other path', path: '/', method: 'GET', status: 404, body: undefined },
    { promise: 'knows no other method', path: '/hello', method: 'POST', status: 405, body: undefined },
    { promise: 'answers 500 when a page fails', path: '/broken', method: 'GET', status: 500, body: undefined },
  ]
  for (const { promise, path, method, status, body } of replies) {
    test(promise, async (t) => {
      const { ask, failures } = await benchOf(t, HELLO)
      const response = await ask(path, method)
      assert.equal(response.status, status)
      if (body !== undefined) assert.equal(await response.text(), body)
      if (status === 405) assert.equal(response.headers.get('allow'), 'GET, HEAD')
      assert.deepEqual(failures, status === 500 ? [path] : [])
    })
  }

  test('closes the connections that have been silent for longest when there are too many', async (t) => {
    const { listener, ask } = await benchOf(t, HELLO)
    const closed: number[] = []
    let open = 0
    const sockets = Array.from({ length: HTTP_CONNECTIONS_MAX }, (_, i) =>
      connect(listener.port, '127.0.0.1')
        .on('connect', () => open++)
        .on('error', () => {})
        .on('close', () => closed.push(i)),
    )
    t.after(() => {
      for (const socket of sockets) socket.destroy()
    })
    await until(() => open === sockets.length)
    // However many say nothing, who asks is answered.
    for (let asked = 0; asked < 3; asked++) assert.equal((await ask('/hello')).status, 200)
    await until(() => closed.length > 0)
    assert.ok(closed.length <= 3)
    assert.equal(listener.refused.connections, closed.length)
  })

  test('does not close a connection whose request is being answered', async (t) => {
    const slow = Promise.withResolvers<void>()
    const { listener, ask } = await benchOf(t, {
      ...HELLO,
      '/slow': () => slow.promise.then(() => ({ status: 200, contentType: 'text/plain', body: 'at last' })),
    })
    const first = ask('/slow')
    const sockets = Array.from({ length: 2 * HTTP_CONNECTIONS_MAX }, () =>
      connect(listener.port, '127.0.0.1').on('error', () => {}),
    )
    t.after(() => {
      for (const socket of sockets) socket.destroy()
    })
    await until(() => listener.refused.connections >= HTTP_CONNECTIONS_MAX)
    slow.resolve()
    assert.equal(await (await first).text(), 'at last')
  })

  test('closes a connection that asks again before it was answered', async (t) => {
    let made = 0
    const { listener } = await benchOf(t, {
      '/counted': () => {
        made++
        return { status: 200, contentType: 'text/plain', body: 'x' }
      },
    })
    let isClosed = false
    const socket = connect(listener.port, '127.0.0.1')
      .on('error', () => {})
      .on('close', () => (isClosed = true))
    t.after(() => socket.destroy())
    socket.write('GET /counted HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(500))
    await until(() => isClosed)
    assert.equal(made, 1)
    assert.equal(listener.refused.pipelined, 1)
  })

  test('shows a page for this machine alone to clients of this machine alone', async (t) => {
    const page = localOnly(HELLO)['/hello']!
    assert.equal((await page(new URLSearchParams(), { address: '10.1.0.5' })).status, 403)
    for (const address of ['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1']) {
      assert.equal((await page(new URLSearchParams(), { address })).status, 200)
    }
    const { ask } = await benchOf(t, localOnly(HELLO))
    assert.equal((await ask('/hello')).status, 200)
  })

  test('makes a costly page once for all who ask while it rests', async () => {
    const clock = { nowMs: 0, due: [] as { atMs: number; call: () => void }[] }
    let made = 0
    const page = restingPage(
      async () => {
        await Promise.resolve()
        clock.nowMs += 10
        return { status: 200, contentType: 'text/plain', body: String(++made) }
      },
      {
        nowMs: () => clock.nowMs,
        after: (delayMs, call) => void clock.due.push({ atMs: clock.nowMs + delayMs, call }),
      },
    )
    const ask = async () => (await page(new URLSearchParams(), { address: '127.0.0.1' })).body
    assert.equal(await ask(), '1')
    // Ten milliseconds of work are followed by forty of rest; what is told then was made after it was asked for.
    const asked = Promise.all(Array.from({ length: 100 }, ask))
    await new Promise(setImmediate)
    assert.deepEqual(
      clock.due.map(({ atMs }) => atMs),
      [50],
    )
    clock.nowMs = 50
    clock.due.shift()!.call()
    assert.deepEqual(new Set(await asked), new Set(['2']))
    clock.nowMs = 1_000
    assert.equal(await ask(), '3')
    assert.equal(clock.due.length, 0)
  })

  test('says which address is in use, and shares it when told to', async (t) => {
    const { listener } = await benchOf(t, HELLO)
    await assert.rejects(benchOf(t, HELLO, listener.port), {
      code: 'ADDRESS_IN_USE',
      message: new RegExp(`127\\.0\\.0\\.1 port ${listener.port} \\(metrics\\)`),
    })
    const first = await benchOf(t, HELLO, 0, true)
    const second = await benchOf(t, HELLO, first.listener.port, true)
    await first.listener.stop(1000)
    assert.equal((await second.ask('/hello')).status, 200)
  })

  test('stops although a client keeps its connection', async (t) => {
    const { listener } = await benchOf(t, HELLO)
    let isClosed = false
    const socket = connect(listener.port, '127.0.0.1').on('close', () => (isClosed = true))
    t.after(() => socket.destroy())
    let answered = ''
    socket.on('data', (bytes) => (answered += bytes.toString()))
    socket.write('GET /hello HTTP/1.1\r\nhost: x\r\n\r\n')
    await until(() => answered.endsWith('hello\n'))
    await Promise.all([listener.stop(60_000), listener.stop(60_000)])
    await until(() => isClosed)
  })
})

suite('probes', () => {
  const met: Condition = { name: 'listening', isMet: true }
  const failed: Condition = { name: 'zone-synced', isMet: false, detail: 'no list of endpointslices yet' }
  const cases = [
    { promise: 'is alive when all that matters holds', path: '/healthz', alive: [met], ready: [failed], status: 200 },
    { promise: 'is not alive when something fails', path: '/healthz', alive: [failed], ready: [met], status: 503 },
    { promise: 'is ready when every condition holds', path: '/readyz', alive: [met], ready: [met], status: 200 },
    { promise: 'is not ready when one fails', path: '/readyz', alive: [met], ready: [met, failed], status: 503 },
  ]
  for (const { promise, path, alive, ready, status } of cases) {
    test(promise, async (t) => {
      const { ask } = await benchOf(t, probePages({ alive: () => Promise.resolve(alive), ready: () => ready }))
      const response = await ask(path)
      assert.equal(response.status, status)
      assert.equal(response.headers.get('content-type'), 'application/json')
    })
  }

  test('lists each condition with what is missing', async (t) => {
    const { ask } = await benchOf(t, probePages({ alive: () => Promise.resolve([met]), ready: () => [met, failed] }))
    assert.deepEqual(await (await ask('/readyz')).json(), {
      status: 'failed',
      conditions: [
        { name: 'listening', status: 'ok' },
        { name: 'zone-synced', status: 'failed', detail: 'no list of endpointslices yet' },
      ],
    })
  })
})
