/**
 * koffi's door: the system calls that Node does not make.
 *
 * Loaded at the first use: without the native library, or on another platform, everything that does not ask for it still works.
 */

import { createRequire } from 'node:module'

/** What we use of koffi. */
interface Koffi {
  load(path: string | null): { func(signature: string): (...args: readonly unknown[]) => number }
  struct(name: string, members: Readonly<Record<string, string>>): unknown
  sizeof(type: unknown): number
  address(bytes: Uint8Array): bigint
  errno(): number
  readonly os: { readonly errno: Readonly<Record<string, number>> }
}

/** A system call said no. */
export class SyscallError extends Error {
  readonly code: string

  constructor(call: string, code: string) {
    super(`${call}: ${code}`)
    this.name = 'SyscallError'
    this.code = code
  }
}

interface SocketCalls {
  connect(descriptor: number, address: Uint8Array, length: number): number
  setsockopt(descriptor: number, level: number, option: number, value: Uint8Array, length: number): number
  /** `setsockopt` for a `struct sock_fprog`, which holds a pointer. */
  setFilter(descriptor: number, level: number, option: number, program: SocketFilter, length: number): number
  socket(domain: number, type: number, protocol: number): number
  bind(descriptor: number, address: Uint8Array, length: number): number
  sendmsg(descriptor: number, message: Uint8Array, flags: number): number
  recvmsg(descriptor: number, message: Uint8Array, flags: number): number
  close(descriptor: number): number
  exit(code: number): number
  readonly filterOctets: number
}

/** A program of classic BPF: its instructions, 8 octets each. */
interface SocketFilter {
  readonly len: number
  readonly filter: Uint8Array
}

const require = createRequire(import.meta.url)
let koffi: Koffi | undefined
let calls: SocketCalls | undefined

/** Throws where the native library is missing. */
function libc(): SocketCalls {
  if (calls !== undefined) return calls
  koffi = require('koffi') as Koffi
  const filterOctets = koffi.sizeof(koffi.struct('sock_fprog', { len: 'uint16', filter: 'void *' }))
  const library = koffi.load(null)
  const [connect, setsockopt, setFilter, socket, bind, sendmsg, recvmsg, close, exit] = [
    library.func('int connect(int descriptor, const uint8_t *address, uint32_t length)'),
    library.func('int setsockopt(int descriptor, int level, int option, const uint8_t *value, uint32_t length)'),
    library.func('int setsockopt(int descriptor, int level, int option, const sock_fprog *program, uint32_t length)'),
    library.func('int socket(int domain, int type, int protocol)'),
    library.func('int bind(int descriptor, const uint8_t *address, uint32_t length)'),
    library.func('long sendmsg(int descriptor, const uint8_t *message, int flags)'),
    library.func('long recvmsg(int descriptor, uint8_t *message, int flags)'),
    library.func('int close(int descriptor)'),
    library.func('int _exit(int code)'),
  ]
  calls = { connect, setsockopt, setFilter, socket, bind, sendmsg, recvmsg, close, exit, filterOctets }
  return calls
}

/** Connects a socket to a `struct sockaddr`. */
export function connectSocket(descriptor: number, address: Uint8Array): void {
  check('connect', libc().connect(descriptor, address, address.length))
}

/** Sets an option of a socket to the bytes of a C value. */
export function setSocketOption(descriptor: number, level: number, option: number, value: Uint8Array): void {
  check('setsockopt', libc().setsockopt(descriptor, level, option, value, value.length))
}

/** Sets an option of a socket to a program of classic BPF. */
export function setSocketFilter(descriptor: number, level: number, option: number, instructions: Uint8Array): void {
  const { setFilter, filterOctets } = libc()
  const program = { len: instructions.length / 8, filter: instructions }
  check('setsockopt', setFilter(descriptor, level, option, program, filterOctets))
}

export function openSocket(domain: number, type: number): number {
  return check('socket', libc().socket(domain, type, 0))
}

export function bindSocket(descriptor: number, address: Uint8Array): void {
  check('bind', libc().bind(descriptor, address, address.length))
}

/** `message` is a `struct msghdr`; what it points to must be alive until this returns. */
export function sendMessage(descriptor: number, message: Uint8Array, flags: number): number {
  return check('sendmsg', libc().sendmsg(descriptor, message, flags))
}

/** Fills what the `struct msghdr` points to. */
export function receiveMessage(descriptor: number, message: Uint8Array, flags: number): number {
  return check('recvmsg', libc().recvmsg(descriptor, message, flags))
}

export function closeDescriptor(descriptor: number): void {
  check('close', libc().close(descriptor))
}

/** Where the bytes are, for structures that point to others. They must not be moved: take those of `Buffer.allocUnsafeSlow`. */
export function addressOf(bytes: Uint8Array): bigint {
  libc()
  return koffi!.address(bytes)
}

/** Ends the process from any thread, at once, whatever its event loop does; nothing is flushed. */
export function exitProcess(code: number): void {
  libc().exit(code)
}

function check(call: string, result: number): number {
  if (result >= 0) return result
  const number = koffi!.errno()
  const name = Object.entries(koffi!.os.errno).find(([, value]) => value === number)?.[0]
  throw new SyscallError(call, name ?? String(number))
}
