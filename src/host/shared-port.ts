/**
 * How a socket that shares its port (SO_REUSEPORT) lets others have what comes next, while what it has already stays readable.
 *
 * UDP: a socket that is connected takes datagrams of its peer alone, and the kernel passes over it when it chooses among those
 * that share a port (Linux 5.4); its queue stays, and it may still send to anybody. So it is connected to itself.
 *
 * TCP: a listening socket cannot be connected. Those that share a port choose by a program (classic BPF) that says which by its
 * place; places are in the order of listening, and when a socket goes the last one takes its place. A place that does not exist
 * means: choose by hash.
 */

import { interfaceOfScope } from './interface-scope.ts'
import { connectSocket, SyscallError, setSocketFilter, setSocketOption } from './syscalls.ts'

const SOL_SOCKET = 1
const SO_ATTACH_REUSEPORT_CBPF = 51
const SO_DETACH_REUSEPORT_BPF = 68

const AF_INET = 2
const AF_INET6 = 10

/** BPF_RET | BPF_K: ends the program with a constant. */
const BPF_RETURN = 0x06

/** Lets a UDP socket take nothing new. It must be bound to `address`, not to the wildcard: connecting would choose for it. */
export function takeNothingNew(descriptor: number, address: string, port: number): void {
  connectSocket(descriptor, socketAddress(address, port))
}

/** Leads all new connections of the port to the socket in one place. */
export function leadConnectionsTo(place: number, descriptor: number): void {
  const instruction = Buffer.alloc(8)
  instruction.writeUInt16LE(BPF_RETURN, 0)
  instruction.writeUInt32LE(place, 4)
  setSocketFilter(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, instruction)
}

/** Spreads new connections over all sockets of the port again. Throws ENOENT where nobody had led them. */
export function spreadConnections(descriptor: number): void {
  setSocketOption(descriptor, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, Buffer.alloc(4))
}

/** `struct sockaddr_in` or `sockaddr_in6`. Throws ENODEV where the address has a scope that this machine does not know. */
export function socketAddress(address: string, port: number): Buffer {
  if (!address.includes(':')) {
    const bytes = Buffer.alloc(16)
    bytes.writeUInt16LE(AF_INET, 0)
    bytes.writeUInt16BE(port, 2)
    Buffer.from(address.split('.').map(Number)).copy(bytes, 4)
    return bytes
  }
  const [host, scope] = address.split('%')
  const bytes = Buffer.alloc(28)
  bytes.writeUInt16LE(AF_INET6, 0)
  bytes.writeUInt16BE(port, 2)
  ipv6Octets(host!).copy(bytes, 8)
  if (scope !== undefined) bytes.writeUInt32LE(interfaceIndex(scope), 24)
  return bytes
}

/** The sixteen octets of an IPv6 address in its canonical text. */
function ipv6Octets(text: string): Buffer {
  const [head, tail] = text.split('::')
  const groups = (part: string | undefined) => (part === undefined || part === '' ? [] : part.split(':'))
  const [before, after] = [groups(head), groups(tail)]
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0')
  const octets = Buffer.alloc(16)
  for (const [index, group] of [...before, ...zeros, ...after].entries()) {
    octets.writeUInt16BE(Number.parseInt(group, 16), index * 2)
  }
  return octets
}

function interfaceIndex(scope: string): number {
  const index = interfaceOfScope(scope)?.index
  // As the kernel says it of an interface that is not there.
  if (index === undefined) throw new SyscallError(`the scope %${scope}`, 'ENODEV')
  return index
}
