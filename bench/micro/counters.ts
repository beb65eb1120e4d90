// Question: what does it cost to count one query and its response?

import { CounterLabels, TrafficCounters } from '../../src/observe/counters.ts'
import { bench, heading } from '../harness.ts'

const counters = new TrafficCounters(new CounterLabels())
const cell = counters.cellOf('dns://127.0.0.1:53', '.')

heading('Traffic counters')
bench('a request', () => counters.request(cell, 0, 0, 1, 40, false))
bench('a response', () => counters.responseOf(cell, 0, 1, 0.000_02, 60, 0))
bench('a response of 1,200 octets after 100 ms', () => counters.responseOf(cell, 0, 2, 0.1, 1_200, 0))
bench('a hit', () => counters.cacheHit(cell, 'success'))
if (!counters.counts.some((count) => count > 1_000)) throw new Error('the bench counts nothing')
