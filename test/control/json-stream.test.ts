import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { lines, listItems, OBJECT_OCTETS_MAX, type Piece } from '../../src/control/json-stream.ts'
import { randomFrom } from '../common/random.ts'

/** The text in pieces of chance lengths, cut wherever that is, within a character too. */
async function* inPieces(text: string, random: () => number, octetsMax = 40): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + Math.floor(random() * octetsMax)
    yield bytes.subarray(at, end)
    at = end
    await Promise.resolve()
  }
}

async function all<Item>(pieces: AsyncIterable<Item>): Promise<Item[]> {
  const gathered: Item[] = []
  for await (const piece of pieces) gathered.push(piece)
  return gathered
}

const objectsOf = (pieces: readonly Piece[]): unknown[] =>
  pieces.map((piece) => (piece.kind === 'object' ? piece.object : piece.kind))

/** Strings that look like what separates objects. */
const STRINGS = [
  '',
  'items',
  '"',
  '\\',
  '\\"',
  '[',
  ']',
  '{',
  '}',
  ',',
  '],"items":[',
  'é',
  '💥',
  '\n',
  '\u0000',
  ':[{',
]

/** None with a backslash: JSON.parse of Node 24.21 takes other escaped keys for one that it met before. */
const KEYS = ['items', 'metadata', ...STRINGS.filter((string) => !string.includes('\\'))]

function jsonFrom(random: () => number, depth = 0): unknown {
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!
  if (depth > 3 || random() < 0.3) return pick([0, -1.5, true, null, ...STRINGS])
  const length = Math.floor(random() * 4)
  if (random() < 0.4) return Array.from({ length }, () => jsonFrom(random, depth + 1))
  return Object.fromEntries(Array.from({ length }, () => [pick(KEYS), jsonFrom(random, depth + 1)]))
}

suite('a list in pieces', () => {
  for (const seed of [1, 2, 3]) {
    test(`gives the items and then the rest, as a parser of the whole does (seed ${seed})`, async () => {
      const random = randomFrom(seed)
      for (let round = 0; round < 300; round++) {
        const items = Array.from({ length: Math.floor(random() * 5) }, () => ({
          a: jsonFrom(random),
          items: [jsonFrom(random)],
        }))
        const rest = { kind: 'items', metadata: { resourceVersion: '7', items: [1], x: jsonFrom(random) } }
        const list = random() < 0.5 ? { items, ...rest } : { ...rest, items }
        const text = JSON.stringify(list, null, Math.floor(random() * 3))
        const pieces = await all(listItems(inPieces(text, random)))
        assert.deepEqual(objectsOf(pieces), [...items, { ...rest, items: [] }], text)
        assert.deepEqual(
          pieces.map(({ isList }) => isList),
          [...items.map(() => false), true],
        )
      }
    })
  }

  test('that ends early is no list, wherever it ends', async () => {
    const text = JSON.stringify({ items: [{ a: 'x' }, { a: ']}' }], metadata: { resourceVersion: '7' } })
    for (let octets = 0; octets < text.length; octets++) {
      await assert.rejects(all(listItems(inPieces(text.slice(0, octets), randomFrom(octets)))), { code: 'CUT' })
    }
  })

  test('may have no items, or null in their place', async () => {
    for (const text of [
      '{"metadata":{}}',
      '{"items":null,"metadata":{}}',
      '{"items":[],"metadata":{}}',
      '{"items":[ ]}',
    ]) {
      const pieces = await all(listItems(inPieces(text, randomFrom(1))))
      assert.deepEqual(
        pieces.map(({ isList }) => isList),
        [true],
        text,
      )
    }
  })

  test('loses an item that is too large, and no other', async () => {
    const large = JSON.stringify({ a: 'x'.repeat(OBJECT_OCTETS_MAX) })
    const text = `{"items":[{"a":1},${large},{"a":2}],"metadata":{}}`
    const pieces = await all(listItems(inPieces(text, randomFrom(1), 1 << 20)))
    assert.deepEqual(objectsOf(pieces), [{ a: 1 }, 'too-large', { a: 2 }, { items: [], metadata: {} }])
  })
})

suite('the lines of a watch', () => {
  test('are parsed one by one, however they are cut', async () => {
    const random = randomFrom(5)
    for (let round = 0; round < 200; round++) {
      const events = Array.from({ length: 5 }, () => ({ type: 'ADDED', object: jsonFrom(random) }))
      const text = events.map((event) => `${JSON.stringify(event)}\n`).join(random() < 0.2 ? '\n' : '')
      assert.deepEqual(objectsOf(await all(lines(inPieces(text, random)))), events)
    }
  })

  test('lose half a line at the end, and one that is too large', async () => {
    const large = `{"a":"${'x'.repeat(OBJECT_OCTETS_MAX)}"}`
    const text = `{"a":1}\n${large}\n{"a":2}\n{"a":3`
    assert.deepEqual(objectsOf(await all(lines(inPieces(text, randomFrom(1), 1 << 20)))), [
      { a: 1 },
      'too-large',
      { a: 2 },
    ])
  })

  test('that are no JSON are an error', async () => {
    await assert.rejects(all(lines(inPieces('<html>\n', randomFrom(1)))), SyntaxError)
  })
})
