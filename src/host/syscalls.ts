/**
 * koffi's door: the system calls that Node does not make.
 *
 * Loaded at the first use: without the native library, or on another platform, everything that does not ask for it still works.
 */

import { createRequire } from 'node:module'

/** What we use of koffi. */
interface Koffi {
  load(path: string | null): { func(signature: string): NativeFunction }
  address(bytes: Uint8Array): bigint
  struct(name: string, members: Readonly<Record<string, string>>): unknown
  sizeof(type: unknown): number
  address(bytes: Uint8Array): bigint
  errno(): number
  readonly os: { readonly errno: Readonly<Record<string, number>> }
  readonly node: { poll(descriptor: number, ready: (status: number) => void): PollHandle }
}

/** libuv's `uv_poll_t`, begun. */
interface PollHandle {
  start(ready: (status: number) => void): void
  stop(): void
  unref(): void
  close(): void
}

interface NativeFunction {
  (...args: readonly unknown[]): number
  /** On a thread of libuv's pool; the last argument is called with the result. */
  async(...args: readonly unknown[]): void
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
  recv(descriptor: number, bytes: Uint8Array, length: number, flags: number): number
  shutdown(descriptor: number, how: number): number
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

/** Calls of the data plane. They throw nothing: a negative number is an errno, negated. */
export interface DatagramCalls {
  socket(family: number): number
  bind(descriptor: number, address: Uint8Array): number
  /** Writes the bound address into `address`. */
  localAddress(descriptor: number, address: Uint8Array): number
  /** HOT. `headers`: an array of `struct mmsghdr`. Never waits. Messages received. */
  receiveMessages(descriptor: number, headers: Uint8Array, count: number): number
  connect(descriptor: number, address: Uint8Array): number
  /** The descriptor of a connection that waits at a listening one, if any does: it blocks nobody and no program inherits it. */
  accept(descriptor: number): number
  /** HOT. Octets of one datagram, or of a stream, that came into `octets`; without waiting. */
  receiveOctets(descriptor: number, octets: Uint8Array): number
  /** HOT. Octets of a stream or of one datagram that the kernel took, without waiting. */
  sendOctets(descriptor: number, octets: Uint8Array, count: number): number
  /** HOT. Messages sent; the first that the kernel does not take ends it. */
  sendMessages(descriptor: number, headers: Uint8Array, count: number): number
  createPoll(): number
  /** Watches a descriptor for input; `poll` tells `tag` of it. From any thread. */
  watch(poll: number, descriptor: number, tag: number): number
  /** Ends that. */
  unwatch(poll: number, descriptor: number): number
  /** HOT. Waits up to `timeoutMs` for input; `events`: `EPOLL_EVENT_OCTETS` for each of at most `count`. */
  poll(poll: number, events: Uint8Array, count: number, timeoutMs: number): number
  /** HOT. Sleeps; a millisecond at most, and with `exactPauses` not much longer than asked for. */
  pause(micros: number): number
  /** Lets this thread's pauses end in time: the kernel adds 50 microseconds otherwise. */
  exactPauses(): number
  createEvent(): number
  /** Makes an event descriptor readable, from any thread. */
  raise(event: number): number
  /** Takes what was raised. */
  clear(event: number): number
  setOption(descriptor: number, level: number, option: number, value: Uint8Array): number
  close(descriptor: number): number
  /** Where bytes lie in the process. They must not be moved or freed while the kernel is told of them. */
  addressOf(bytes: Uint8Array): bigint
  /** The name of an errno, such as EADDRINUSE. */
  errorName(errno: number): string
  /** Has the event loop call `ready` when a descriptor has input, as often as it turns while there is some. Begun; on the event loop's thread. */
  watchOnEventLoop(descriptor: number, ready: () => void): EventLoopWatch
}

/** The event loop looks at a descriptor. Ended before the descriptor is closed. */
export interface EventLoopWatch {
  pause(): void
  resume(): void
  end(): void
}

/** `struct epoll_event` is packed on x86-64 alone. */
export const EPOLL_EVENT_OCTETS = process.arch === 'x64' ? 12 : 16
/** Where `struct epoll_event` holds what `watch` put there. */
export const EPOLL_DATA_AT = process.arch === 'x64' ? 4 : 8

const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000
const CLOEXEC = 0o2000000
const NONBLOCK_CLOEXEC = 0o4000 | CLOEXEC
const EVENT_FLAGS = 0o2000000 | 0o4000
const EPOLL_CTL_ADD = 1
const EPOLL_CTL_DEL = 2
const EPOLLIN = 1
const MSG_DONTWAIT = 0x40
const PR_SET_TIMERSLACK = 29
const MSG_NOSIGNAL = 0x4000

/** The data plane's calls; throws where the native library is missing or the platform is another one. */
export function datagramCalls(): DatagramCalls {
  if (process.platform !== 'linux') throw new Error(`batched system calls are Linux's, not ${process.platform}'s`)
  if (process.arch !== 'x64' && process.arch !== 'arm64') {
    throw new Error(`the kernel's structures are known for x64 and arm64, not for ${process.arch}`)
  }
  const native = require('koffi') as Koffi
  const library = native.load(null)
  const socket = library.func('int socket(int family, int type, int protocol)')
  const bind = library.func('int bind(int descriptor, const uint8_t *address, uint32_t length)')
  const getsockname = library.func('int getsockname(int descriptor, void *address, void *length)')
  const recvmmsg = library.func('int recvmmsg(int descriptor, void *headers, uint32_t count, int flags, void *timeout)')
  const sendmmsg = library.func('int sendmmsg(int descriptor, void *headers, uint32_t count, int flags)')
  const send = library.func('int64_t send(int descriptor, const uint8_t *octets, uint64_t count, int flags)')
  const recv = library.func('int64_t recv(int descriptor, void *octets, uint64_t count, int flags)')
  const connect = library.func('int connect(int descriptor, const uint8_t *address, uint32_t length)')
  const accept4 = library.func('int accept4(int descriptor, void *address, void *length, int flags)')
  const epollCreate = library.func('int epoll_create1(int flags)')
  const epollControl = library.func('int epoll_ctl(int poll, int operation, int descriptor, void *event)')
  const epollWait = library.func('int epoll_wait(int poll, void *events, int count, int timeout)')
  const usleep = library.func('int usleep(uint32_t micros)')
  const prctl = library.func('int prctl(int option, uint64_t value, uint64_t, uint64_t, uint64_t)')
  const eventfd = library.func('int eventfd(uint32_t value, int flags)')
  const write = library.func('int64_t write(int descriptor, void *bytes, uint64_t count)')
  const read = library.func('int64_t read(int descriptor, void *bytes, uint64_t count)')
  const setsockopt = library.func('int setsockopt(int descriptor, int level, int option, void *value, uint32_t length)')
  const close = library.func('int close(int descriptor)')
  const one = new Uint8Array(new BigUint64Array([1n]).buffer)
  const taken = new Uint8Array(8)
  const orError = (result: number): number => (result >= 0 ? result : -native.errno())
  return {
    socket: (family) => orError(socket(family, SOCK_DGRAM_CLOEXEC, 0)),
    bind: (descriptor, address) => orError(bind(descriptor, address, address.length)),
    localAddress: (descriptor, address) => {
      const length = new Uint8Array(new Uint32Array([address.length]).buffer)
      return orError(getsockname(descriptor, address, length))
    },
    receiveMessages: (descriptor, headers, count) => orError(recvmmsg(descriptor, headers, count, MSG_DONTWAIT, null)),
    sendMessages: (descriptor, headers, count) => orError(sendmmsg(descriptor, headers, count, MSG_DONTWAIT)),
    connect: (descriptor, address) => orError(connect(descriptor, address, address.length)),
    accept: (descriptor) => orError(accept4(descriptor, null, null, NONBLOCK_CLOEXEC)),
    receiveOctets: (descriptor, octets) => orError(recv(descriptor, octets, octets.length, MSG_DONTWAIT)),
    sendOctets: (descriptor, octets, count) => orError(send(descriptor, octets, count, MSG_DONTWAIT | MSG_NOSIGNAL)),
    createPoll: () => orError(epollCreate(CLOEXEC)),
    watch: (poll, descriptor, tag) => {
      const event = new Uint8Array(16)
      const fields = new DataView(event.buffer)
      fields.setUint32(0, EPOLLIN, true)
      fields.setInt32(EPOLL_DATA_AT, tag, true)
      return orError(epollControl(poll, EPOLL_CTL_ADD, descriptor, event))
    },
    unwatch: (poll, descriptor) => orError(epollControl(poll, EPOLL_CTL_DEL, descriptor, null)),
    poll: (poll, events, count, timeoutMs) => orError(epollWait(poll, events, count, timeoutMs)),
    pause: (micros) => orError(usleep(micros)),
    exactPauses: () => orError(prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)),
    createEvent: () => orError(eventfd(0, EVENT_FLAGS)),
    raise: (event) => orError(write(event, one, 8)),
    clear: (event) => orError(read(event, taken, 8)),
    setOption: (descriptor, level, option, value) =>
      orError(setsockopt(descriptor, level, option, value, value.length)),
    close: (descriptor) => orError(close(descriptor)),
    addressOf: (bytes) => native.address(bytes),
    watchOnEventLoop: (descriptor, ready) => watchOnEventLoop(native, descriptor, ready),
    errorName: (errno) => Object.entries(native.os.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`,
  }
}

function watchOnEventLoop(native: Koffi, descriptor: number, ready: () => void): EventLoopWatch {
  let isWatching = true
  const call = (status: number): void => {
    try {
      ready()
    } catch (error) {
      // Nobody is above us who could take it: it goes the way of all that nobody caught.
      setImmediate(() => {
        throw error
      })
    }
    // libuv ends a watch when the kernel keeps an error for the socket; whoever reads takes the error, and we go on.
    if (status < 0 && isWatching) handle.start(call)
  }
  const handle = native.node.poll(descriptor, call)
  handle.unref()
  return {
    pause: () => {
      isWatching = false
      handle.stop()
    },
    resume: () => {
      isWatching = true
      handle.start(call)
    },
    end: () => {
      isWatching = false
      handle.close()
    },
  }
}

/** The allocator's and the kernel's calls about our memory. */
export interface MemoryCalls {
  /** `mallopt`. */
  option(option: number, value: number): void
  /** `malloc_trim`, on a thread of libuv's pool. */
  trim(): Promise<void>
  /** `madvise`, on a thread of libuv's pool. */
  advise(from: number, octets: number, advice: number): Promise<void>
}

let memory: MemoryCalls | false | undefined

/** Undefined without the native library, and without glibc: musl has neither of the allocator's calls. */
export function memoryCalls(): MemoryCalls | undefined {
  memory ??= openMemoryCalls() ?? false
  return memory === false ? undefined : memory
}

function openMemoryCalls(): MemoryCalls | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const library = (require('koffi') as Koffi).load(null)
    const mallopt = library.func('int mallopt(int option, int value)')
    const trim = library.func('int malloc_trim(size_t pad)')
    const madvise = library.func('int madvise(uint64_t from, uint64_t octets, int advice)')
    return {
      option: (option, value) => void mallopt(option, value),
      trim: () => new Promise((resolve) => trim.async(0, () => resolve())),
      advise: (from, octets, advice) => new Promise((resolve) => madvise.async(from, octets, advice, () => resolve())),
    }
  } catch {
    // Memory that is not given back is no reason to serve nobody.
    return undefined
  }
}

/** Throws where the native library is missing. */
function libc(): SocketCalls {
  if (calls !== undefined) return calls
  koffi = require('koffi') as Koffi
  const filterOctets = koffi.sizeof(koffi.struct('sock_fprog', { len: 'uint16', filter: 'void *' }))
  const library = koffi.load(null)
  const [connect, setsockopt, setFilter, socket, bind, sendmsg, recvmsg, recv, shutdown, close, exit] = [
    library.func('int connect(int descriptor, const uint8_t *address, uint32_t length)'),
    library.func('int setsockopt(int descriptor, int level, int option, const uint8_t *value, uint32_t length)'),
    library.func('int setsockopt(int descriptor, int level, int option, const sock_fprog *program, uint32_t length)'),
    library.func('int socket(int domain, int type, int protocol)'),
    library.func('int bind(int descriptor, const uint8_t *address, uint32_t length)'),
    library.func('long sendmsg(int descriptor, const uint8_t *message, int flags)'),
    library.func('long recvmsg(int descriptor, uint8_t *message, int flags)'),
    library.func('long recv(int descriptor, uint8_t *bytes, size_t length, int flags)'),
    library.func('int shutdown(int descriptor, int how)'),
    library.func('int close(int descriptor)'),
    library.func('int _exit(int code)'),
  ]
  calls = { connect, setsockopt, setFilter, socket, bind, sendmsg, recvmsg, recv, shutdown, close, exit, filterOctets }
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

const MSG_PEEK = 2
const SHUT_WR = 1
const peeked = Buffer.allocUnsafeSlow(1)

/** Whether there is something to read from a connected socket; the end of what the other side sends is nothing. */
export function hasUnread(descriptor: number): boolean {
  try {
    return check('recv', libc().recv(descriptor, peeked, 1, MSG_PEEK | MSG_DONTWAIT)) > 0
  } catch (error) {
    if (error instanceof SyscallError && error.code === 'EAGAIN') return false
    throw error
  }
}

/** Tells the other side that nothing more will come; what it sends can still be read. */
export function endSending(descriptor: number): void {
  check('shutdown', libc().shutdown(descriptor, SHUT_WR))
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
