/** DNS labels in what Kubernetes objects say, and the name of an endpoint below its service (MCS DNS specification 2.4.2). */

import { LABEL_OCTETS_MAX } from '../../dns/wire/name.ts'

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/

/** Whether `text` is a DNS label as Kubernetes has them (RFC 1123): lower-case letters, digits and inner dashes. */
export function isLabel(text: string): boolean {
  return text.length <= LABEL_OCTETS_MAX && LABEL.test(text)
}

/**
 * The label of an endpoint that has no hostname: its address with dashes, whatever the endpoint's pod is called.
 * An IPv6 address that ends in `::` gets a `0`, for a label must not end in a dash.
 */
export function hostOfAddress(address: string): string {
  const dashed = address.toLowerCase().replace(/[.:]/g, '-')
  return dashed.endsWith('-') ? `${dashed}0` : dashed
}
