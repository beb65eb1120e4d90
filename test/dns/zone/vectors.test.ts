/** The tables of `test/vectors/clusterset`, asked of the zone without an agent around it. */

import { suite, test } from 'node:test'
import { checkVector, readVectors, responseFromBytes } from '../../common/vectors.ts'
import { answerSettingsOf, queryBytes, responseBytesOf, zoneOf } from '../../common/zone-server.ts'

const tables = [
  'zone',
  'cluster-set-ip',
  'headless',
  'long-names',
  'several-zones',
  'submariner',
  'submariner-off',
  'unsynced',
  'partial',
  'absent',
]

for (const name of tables) {
  suite(`clusterset ${name}`, () => {
    const table = readVectors(`clusterset/${name}`)
    const zone = zoneOf(table.objects, table.settings)
    const settings = answerSettingsOf(table.settings)
    for (const [rotation, vector] of table.cases.entries()) {
      test(`${vector.promise} (line ${vector.line})`, () =>
        checkVector(vector, (question) =>
          responseFromBytes(responseBytesOf(zone, settings, queryBytes(question), rotation)),
        ))
    }
  })
}
