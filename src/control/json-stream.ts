/**
 * API responses in pieces: the items of a list and the lines of a watch, each parsed alone.
 *
 * A list of a whole clusterset is tens of megabytes; parsed at once it would stop the event loop for a good part of a
 * second and be in memory twice. Here nothing bigger than one object is ever parsed.
 */

/**
 * Octets of one object; etcd keeps none above 1.5 MiB, and the API server takes none above 3. What is larger is left out and
 * told: an object is parsed in one turn of the event loop.
 */
export const OBJECT_OCTETS_MAX = 4 * 1024 * 1024

export type Piece =
  | { readonly kind: 'object'; readonly object: unknown }
  | { readonly kind: 'too-large'; readonly octets: number }

const NEWLINE = 0x0a
const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/** Bytes gathered until they are a whole; beyond the limit they are only counted. */
class Gathering {
  #chunks: Buffer[] = []
  octets = 0

  add(chunk: Buffer): void {
    this.octets += chunk.length
    if (this.octets > OBJECT_OCTETS_MAX) this.#chunks = []
    else if (chunk.length > 0) this.#chunks.push(chunk)
  }

  take(): Piece | undefined {
    const { octets } = this
    const text = this.#chunks.length === 1 ? this.#chunks[0]!.toString() : Buffer.concat(this.#chunks).toString()
    this.#chunks = []
    this.octets = 0
    if (octets > OBJECT_OCTETS_MAX) return { kind: 'too-large', octets }
    return text.trim() === '' ? undefined : { kind: 'object', object: JSON.parse(text) }
  }
}

/** The lines of a watch. Half a line at the end is a cut connection's and left away. Throws SyntaxError. */
export async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  const gathering = new Gathering()
  for await (const chunk of body) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      gathering.add(chunk.subarray(start, end))
      start = end + 1
      const piece = gathering.take()
      if (piece !== undefined) yield piece
    }
    gathering.add(chunk.subarray(start))
  }
}

/**
 * The items of a list, and at last the list itself with an empty `items`: its metadata may come before or after them.
 * Throws SyntaxError, and `CUT` when the body ends too early.
 */
export async function* listItems(body: AsyncIterable<Buffer>): AsyncGenerator<Piece & { readonly isList: boolean }> {
  const around = new Gathering()
  const item = new Gathering()
  let depth = 0
  let isInString = false
  let isEscaped = false
  /** The last string at depth 1: the key when `[` follows. */
  let key = ''
  let isInItems = false
  let isComplete = false
  for await (const chunk of body) {
    let start = 0
    for (let i = 0; i < chunk.length; i++) {
      const octet = chunk[i]!
      if (isInString) {
        if (isEscaped) isEscaped = false
        else if (octet === BACKSLASH) isEscaped = true
        else if (octet === QUOTE) isInString = false
        else if (depth === 1 && key.length < 16) key += String.fromCharCode(octet)
        continue
      }
      switch (octet) {
        case QUOTE:
          isInString = true
          if (depth === 1) key = ''
          break
        case OPEN_BRACE:
        case OPEN_BRACKET:
          depth++
          if (depth === 2 && octet === OPEN_BRACKET && key === 'items') {
            isInItems = true
            around.add(chunk.subarray(start, i + 1))
            start = i + 1
          }
          break
        case CLOSE_BRACE:
        case CLOSE_BRACKET:
          depth--
          if (depth === 0) isComplete = true
          if (!isInItems) break
          if (depth === 2) {
            item.add(chunk.subarray(start, i + 1))
            start = i + 1
            const piece = item.take()
            if (piece !== undefined) yield { ...piece, isList: false }
          } else if (depth === 1) {
            isInItems = false
            start = i
          }
          break
        case COMMA:
          if (isInItems && depth === 2) start = i + 1
          break
        default:
      }
    }
    if (isInItems) item.add(chunk.subarray(start))
    else around.add(chunk.subarray(start))
  }
  if (!isComplete) throw Object.assign(new Error('the list ended early'), { code: 'CUT' })
  const list = around.take()
  if (list !== undefined) yield { ...list, isList: true }
}
