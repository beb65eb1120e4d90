// Question: what does a worker pay each turn for knowing whether to pause?

import { Gathering } from '../../src/serve/gathering.ts'
import { bench, heading } from '../harness.ts'

const gathering = new Gathering(200)
let now = 0
let pauses = 0

heading('Gathering')
for (const [question, datagrams, seconds] of [
  ['a turn of one datagram, 2,000 a second', 1, 1 / 2_000],
  ['a turn of four datagrams, 20,000 a second', 4, 4 / 20_000],
] as const) {
  bench(question, () => {
    now += seconds
    if (gathering.pauseAfter(datagrams, now) > 0) pauses++
  })
}
if (pauses === 0) throw new Error('the bench never pauses')
