// A Kubernetes API in a process of its own for the scale bench, so that its work is not counted as ours. Takes the number
// of services; half are headless with twenty endpoints each, so that there are ten endpoints to a service. Prints the
// path of a kubeconfig; each line on standard input replaces one slice's first address by the line's text, and is answered by
// when the first octet after it was handed to the kernel: nanoseconds of the machine's monotonic clock. Two more
// numbers make one large headless service, of so many slices with so many endpoints; the line `flap` turns one of them
// on and off. The line `relist` forgets all versions and ends all watches, as after a long absence.

import { createInterface } from 'node:readline'
import type { KubernetesObject } from '../../test/common/api-under-test.ts'
import { startFakeApiServer } from '../../test/common/fake-api-server.ts'

const ENDPOINTS_PER_HEADLESS = 20
const services = Number(process.argv[2])
const largeSlices = Number(process.argv[3] ?? 0)
const largeEndpoints = Number(process.argv[4] ?? 0)

function importOf(i: number): KubernetesObject {
  const isHeadless = i % 2 === 0
  return {
    apiVersion: 'multicluster.x-k8s.io/v1beta1',
    kind: 'ServiceImport',
    metadata: { namespace: `ns${i % 100}`, name: `svc${i}` },
    spec: {
      type: isHeadless ? 'Headless' : 'ClusterSetIP',
      ...(isHeadless ? {} : { ips: [`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`] }),
      ports: [{ name: 'http', protocol: 'TCP', port: 80 }],
    },
  }
}

function sliceOf(i: number, firstAddress: string): KubernetesObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: `ns${i % 100}`,
      name: `imported-svc${i}`,
      labels: {
        'multicluster.kubernetes.io/service-name': `svc${i}`,
        'multicluster.kubernetes.io/source-cluster': `cluster${i % 5}`,
      },
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: Array.from({ length: ENDPOINTS_PER_HEADLESS }, (_, j) => ({
      addresses: [j === 0 ? firstAddress : `10.${100 + (j & 31)}.${(i >> 8) & 255}.${i & 255}`],
      hostname: `pod-${j}`,
      conditions: { ready: true },
    })),
  }
}

function largeSliceOf(i: number, isFirstReady: boolean): KubernetesObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace: 'ns0',
      name: `imported-large-${i}`,
      labels: {
        'multicluster.kubernetes.io/service-name': 'large',
        'multicluster.kubernetes.io/source-cluster': `cluster${i % 5}`,
      },
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: Array.from({ length: largeEndpoints }, (_, j) => ({
      addresses: [`10.${64 + (i >> 8)}.${i & 255}.${j}`],
      conditions: { ready: j > 0 || isFirstReady },
    })),
  }
}

/** Whether the next octet that is sent tells of the change. */
let isChanged = false
const api = await startFakeApiServer({
  onSend: () => {
    if (!isChanged) return
    isChanged = false
    const sentNs = process.hrtime.bigint()
    setImmediate(() => console.log(String(sentNs)))
  },
})
await api.installCrd(['v1beta1'])
for (let i = 0; i < services; i++) {
  await api.apply(importOf(i))
  if (i % 2 === 0) await api.apply(sliceOf(i, '10.99.0.1'))
}
if (largeSlices > 0) {
  const spec = { type: 'Headless', ports: [] }
  await api.apply({ ...importOf(0), metadata: { namespace: 'ns0', name: 'large' }, spec })
  for (let i = 0; i < largeSlices; i++) await api.apply(largeSliceOf(i, true))
}
console.log(await api.kubeconfig())
let isReady = true
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'flap') {
    isReady = !isReady
    await api.apply(largeSliceOf(0, isReady))
  } else if (line === 'relist') {
    api.compact()
    api.cutWatches('expired')
  } else {
    isChanged = true
    await api.apply(sliceOf(0, line))
  }
}
await api.stop()
