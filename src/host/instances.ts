/**
 * Who else of us is on this node: each agent listens on a Unix socket in a directory of the host that all of them see.
 *
 * The kernel closes the socket however its process ends, so a socket that nobody answers on is a name left behind, and no
 * lock outlives its holder. A socket in a file system crosses containers and network namespaces, which is what we need.
 *
 * Whoever removes what is shared says `removing` first and looks for others after that; whoever comes makes himself seen first
 * and looks for somebody removing after that. So one of the two sees the other, whatever the order.
 */

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'

/** `starting` listens at most, `ready` has answered its own queries, `leaving` was told to stop, `removing` takes the interface away, `left` leaves that to others. */
export type Phase = 'starting' | 'ready' | 'leaving' | 'removing' | 'left'

const PHASES: readonly Phase[] = ['starting', 'ready', 'leaving', 'removing', 'left']

export interface OtherInstance {
  readonly id: string
  /** Of one that lives and does not answer, `unknown`. */
  readonly phase: Phase | 'unknown'
}

const SUFFIX = '.instance'

/** A path of a Unix socket has room for 107 octets. */
const SOCKET_PATH_OCTETS_MAX = 107

/** Milliseconds that another instance has to tell its phase; one whose event loop stands still lives all the same. */
const ANSWER_MS = 500

/** Octets of a phase; whoever says more is none of us. */
const ANSWER_OCTETS_MAX = 64

export class Instances {
  readonly id: string
  readonly #directory: string
  readonly #server: Server
  #phase: Phase = 'starting'

  private constructor(directory: string, id: string) {
    this.#directory = directory
    this.id = id
    this.#server = createServer((socket) => {
      // Whoever asks may be gone already.
      socket.on('error', () => socket.destroy())
      socket.setTimeout(ANSWER_MS, () => socket.destroy())
      socket.end(this.#phase)
    })
  }

  /** Makes this process seen by the others, as far as it is. Rejects where the directory cannot be used. */
  static async join(directory: string, id: string, phase: Phase = 'starting'): Promise<Instances> {
    await mkdir(directory, { recursive: true, mode: 0o755 })
    const path = socketPath(directory, id)
    if (Buffer.byteLength(path) > SOCKET_PATH_OCTETS_MAX) throw new Error(`${path} is too long for a Unix socket`)
    const instances = new Instances(directory, id)
    instances.#phase = phase
    instances.#server.listen(path)
    await once(instances.#server, 'listening')
    instances.#server.unref()
    return instances
  }

  get phase(): Phase {
    return this.#phase
  }

  set phase(phase: Phase) {
    this.#phase = phase
  }

  /** Whether others find us: somebody may have emptied the directory. */
  get isFound(): boolean {
    return existsSync(socketPath(this.#directory, this.id))
  }

  /** Idempotent. */
  async leave(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
    await rm(socketPath(this.#directory, this.id), { force: true })
  }
}

/** The instances that live, but for `except`; none where the directory does not exist. Removes the names of those that do not live. */
export async function instancesIn(directory: string, except?: string): Promise<OtherInstance[]> {
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  const ids = names.filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length))
  const found = await Promise.all(ids.filter((id) => id !== except).map((id) => ask(directory, id)))
  return found.filter((instance) => instance !== undefined)
}

function socketPath(directory: string, id: string): string {
  return join(directory, `${id}${SUFFIX}`)
}

async function ask(directory: string, id: string): Promise<OtherInstance | undefined> {
  const path = socketPath(directory, id)
  const { promise, resolve } = Promise.withResolvers<OtherInstance | undefined>()
  const socket = connect(path)
  let text = ''
  const unknown = (): void => {
    socket.destroy()
    resolve({ id, phase: 'unknown' })
  }
  socket.setTimeout(ANSWER_MS, unknown)
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    if (text.length > ANSWER_OCTETS_MAX) unknown()
  })
  socket.on('end', () => {
    socket.destroy()
    resolve({ id, phase: phaseOf(text) })
  })
  socket.on('error', (error: NodeJS.ErrnoException) => {
    // Nobody listens there any more. Anything else says that we cannot know, and then it lives.
    const isGone = error.code === 'ECONNREFUSED' || error.code === 'ENOENT'
    if (!isGone) return unknown()
    resolve(undefined)
  })
  const found = await promise
  // A name left behind; that it stays, in a directory we may not write, harms nobody.
  if (found === undefined) await removeFilesOf(directory, id).catch(() => undefined)
  return found
}

/** Everything that an instance had in the directory begins with its name. */
async function removeFilesOf(directory: string, id: string): Promise<void> {
  const names = (await readdir(directory)).filter((name) => name.startsWith(`${id}.`))
  await Promise.all(names.map((name) => rm(join(directory, name), { force: true })))
}

function phaseOf(text: string): OtherInstance['phase'] {
  return PHASES.find((phase) => phase === text) ?? 'unknown'
}
