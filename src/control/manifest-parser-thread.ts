/** The thread of `manifest-parser.ts`: a text in, its objects out. */

import { parentPort } from 'node:worker_threads'
import type { FromParserThread } from './manifest-parser.ts'
import { parseManifests } from './manifest-text.ts'

/** Objects of one message: the event loop takes each in a turn of its own. */
const OBJECTS_PER_MESSAGE = 64

const port = parentPort
if (port === null) throw new Error('runs on a thread of the agent')
const say = (message: FromParserThread): void => port.postMessage(message)

port.on('message', (text: string) => {
  const { objects, findings, isBroken } = parseManifests(text)
  for (let at = 0; at < objects.length; at += OBJECTS_PER_MESSAGE) {
    say({ kind: 'objects', objects: objects.slice(at, at + OBJECTS_PER_MESSAGE) })
  }
  say({ kind: 'done', findings, isBroken })
})
