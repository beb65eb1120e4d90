// Question: what does it cost to read and to write the numbers of a header?

import {
  ARCOUNT_AT,
  FLAGS_AT,
  opcodeOf,
  readUint16,
  readUint32,
  writeUint16,
  writeUint32,
} from '../../src/dns/wire/header.ts'
import { queryBytes } from '../../test/common/zone-server.ts'
import { bench, heading } from '../harness.ts'

const message = queryBytes({ name: 'db.shop.svc.clusterset.local.', type: 1, class: 1 })
/** What is read goes here, so that no optimizing compiler finds it useless. */
let sum = 0

heading('Header')
bench('two octets read', () => void (sum += readUint16(message, ARCOUNT_AT)))
bench('two octets written', () => writeUint16(message, ARCOUNT_AT, sum & 1))
bench('four octets read', () => void (sum += readUint32(message, 0)))
bench('four octets written', () => writeUint32(message, 0, sum >>> 0))
bench('an opcode', () => void (sum += opcodeOf(readUint16(message, FLAGS_AT))))
if (!(sum > 0)) throw new Error('the bench reads nothing')
