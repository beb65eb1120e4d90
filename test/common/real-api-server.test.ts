import { test } from 'node:test'
import { behavesLikeAnApiServer } from './api-behaviour.ts'
import { realApiServerFolder, startRealApiServer } from './real-api-server.ts'

const folder = realApiServerFolder()
if (folder === undefined) {
  test('a real API server', { skip: 'set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver' }, () => {})
} else {
  behavesLikeAnApiServer(() => startRealApiServer(folder))
}
