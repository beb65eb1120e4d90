// Question: what does it cost to count one value, in the first bucket and in the last?

import { DURATION_BOUNDS } from '../../src/observe/counters.ts'
import { histogramSlots, observe } from '../../src/observe/histogram.ts'
import { bench, heading } from '../harness.ts'

const counts = new Float64Array(histogramSlots(DURATION_BOUNDS))
const LAST = DURATION_BOUNDS.length

heading('Histogram, 16 bounds')
bench('a value of the first bucket', () => observe(counts, 0, DURATION_BOUNDS, 0.000_02))
bench('a value beyond the last bound', () => observe(counts, 0, DURATION_BOUNDS, 60))
if (!(counts[0]! > 0 && counts[LAST]! > 0)) throw new Error('the bench counts nothing')
