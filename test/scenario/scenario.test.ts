/** Every conversation in this folder is a promise. */

import { readdirSync, readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { play } from '../common/conversation.ts'

suite('scenario', () => {
  const folder = new URL('.', import.meta.url)
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
    const text = readFileSync(new URL(file, folder), 'utf8')
    test(file.replace(/\.txt$/, '').replaceAll('-', ' '), (t) => play(t, text))
  }
})
