// Question: what does the key of one question cost?

import { HEADER_OCTETS } from '../../src/dns/wire/header.ts'
import { LOWER_OCTETS, skipName } from '../../src/dns/wire/name.ts'
import { finishHash, hashOctet, questionWord } from '../../src/serve/cache/packet-cache-layout.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const SEED = 12_345
const message = queryBytes({ name: 'cluster-1.db.shop.svc.clusterset.local.', type: 1, class: 1 })
const end = skipName(message, HEADER_OCTETS, message.length)
/** What comes out goes here, so that no optimizing compiler finds it useless. */
let keys = 0

heading('Packet cache, key')
bench('the hash of a name of forty octets', () => {
  let hash = SEED
  for (let at = HEADER_OCTETS; at < end; at++) hash = hashOctet(hash, LOWER_OCTETS[message[at]!]!)
  keys ^= finishHash(hash) + 1
})
bench('the word of type and bits', () => void (keys ^= questionWord(28, keys & 7)))
if (!Number.isInteger(keys)) throw new Error('the bench makes no keys')
