// Question: what does it cost to count one exchange with an upstream?

import { ExchangeCounters } from '../../src/observe/exchange-counters.ts'
import { bench, heading } from '../harness.ts'

const counters = new ExchangeCounters()
const UPSTREAMS = Array.from({ length: 4 }, (_, i) => `10.96.0.${i}:53`)
for (const to of UPSTREAMS) counters.know(to)
let next = 0

heading('Exchange counters, 4 upstreams')
bench('a response', () => counters.exchangeEnded(UPSTREAMS[next++ & 3]!, 'tcp', 'NOERROR', 0.002))
bench('a failure', () => counters.exchangeEnded(UPSTREAMS[next++ & 3]!, 'udp', undefined, 0.2))
bench('a connection used again', () => counters.connectionReused(UPSTREAMS[next++ & 3]!, 'tcp'))
if (counters.snapshot().some(({ requests }) => requests === 0)) throw new Error('the bench counts nothing')
