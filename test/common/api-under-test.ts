/** What tests ask of an API server, whether it is the one in `fake-api-server.ts` or a real one (`real-api-server.ts`). */

/** An object as it is applied or served; the server fills in the rest of its metadata. */
export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace: string; [field: string]: unknown }
  [field: string]: unknown
}

export type ObjectKind = 'ServiceImport' | 'EndpointSlice'
export type CrdVersion = 'v1beta1' | 'v1alpha1'

export interface KubeconfigOptions {
  /** A file with a bearer token, re-read by the client; named in the kubeconfig instead of the token itself. */
  readonly tokenFile?: string
  readonly token?: string
}

export interface ApiUnderTest {
  readonly url: string
  /** Creates or replaces. Rejects when the object's kind is not served. */
  apply(object: KubernetesObject): Promise<void>
  applyMany(objects: readonly KubernetesObject[]): Promise<void>
  /** Rejects when there is no such object. */
  remove(kind: ObjectKind, namespace: string, name: string): Promise<void>
  /** Serves ServiceImports in these versions and no others; resolves when they can be listed. Objects survive a change of versions. */
  installCrd(versions: readonly CrdVersion[]): Promise<void>
  /** The ServiceImports go with it. */
  removeCrd(): Promise<void>
  /** Writes a kubeconfig and returns its path; it is gone after `stop`. */
  kubeconfig(options?: KubeconfigOptions): Promise<string>
  stop(): Promise<void>
}
