// Question: what does one name cost: skipped, read, and put in lower case octet by octet?

import { HEADER_OCTETS } from '../../src/dns/wire/header.ts'
import { endOfName, LOWER_OCTETS, lowerOctet, readName, skipName } from '../../src/dns/wire/name.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const message = queryBytes({ name: 'Cluster-1.db.Shop.svc.clusterset.local.', type: 1, class: 1 })
/** What comes out goes here, so that no optimizing compiler finds it useless. */
let sum = 0

heading('A name of six labels and forty octets')
bench('skipped', () => void (sum += skipName(message, HEADER_OCTETS, message.length)))
bench('read as a string', () => {
  if (readName(message, HEADER_OCTETS, message.length) !== undefined) sum += endOfName()
})
const octets = skipName(message, HEADER_OCTETS, message.length) - HEADER_OCTETS
bench(
  'an octet in lower case, by the table',
  () => {
    for (let i = 0; i < octets; i++) sum += LOWER_OCTETS[message[HEADER_OCTETS + i]!]!
  },
  octets,
)
bench(
  'an octet in lower case, by comparing',
  () => {
    for (let i = 0; i < octets; i++) sum += lowerOctet(message[HEADER_OCTETS + i]!)
  },
  octets,
)
if (!(sum > 0)) throw new Error('the bench reads nothing')
