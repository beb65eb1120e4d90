/** The zone on every API server there is: the in-repo one with and without streaming lists, and a real one. */

import { test } from 'node:test'
import { startFakeApiServer } from '../common/fake-api-server.ts'
import { realApiServerFolder, startRealApiServer } from '../common/real-api-server.ts'
import { zoneFollows } from './api-suite.ts'

zoneFollows('a server with streaming lists', () => startFakeApiServer())
zoneFollows('a server without streaming lists', () => startFakeApiServer({ hasWatchList: false }))

const folder = realApiServerFolder()
if (folder === undefined) {
  const skip = 'set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver'
  test('the zone follows a real API server', { skip }, () => {})
} else {
  zoneFollows('a real API server', () => startRealApiServer(folder))
  zoneFollows('a real API server without streaming lists', () =>
    startRealApiServer(folder, { featureGates: 'WatchList=false' }),
  )
}
