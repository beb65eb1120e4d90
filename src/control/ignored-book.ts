/**
 * Who had what ignored: every finding is logged once and counted per reason, however often the object is seen again. Who
 * breaks and mends objects all the time does not fill the log with it.
 */

import type { ControlLog } from './log.ts'
import type { Ignored, IgnoredReason } from './records/ignored.ts'

/** What is ignored before an object is read: a document, a file, an object too large. */
export type SourceIgnoredReason = 'syntax' | 'kind' | 'duplicate' | 'too-large' | 'namespace'

export type AnyIgnoredReason = IgnoredReason | SourceIgnoredReason

export interface Finding {
  readonly reason: AnyIgnoredReason
  readonly detail: string
  readonly count: number
}

/** Subjects whose findings are remembered; beyond it a finding is counted and no longer logged. */
export const SUBJECTS_MAX = 10_000

/** Lines at once: a clusterset may have some hundreds of broken objects at the start. */
export const LINES_MAX = 1_000

/** Lines a second in the long run. What is not told is counted, known to `explain`, and its number told with the next line. */
export const LINES_PER_SECOND = 10

/**
 * Characters of a subject that tell it from others. Kubernetes allows 253 in a namespace and in a name; a file may hold
 * anything.
 */
const SUBJECT_MAX = 600

/** How `report` writes a finding down. */
const FINDING = /^(\S+) (.*) (\d+)$/

export class IgnoredBook {
  readonly #log: ControlLog
  readonly #nowMs: () => number
  readonly #told = new Map<string, string>()
  readonly #counts = new Map<AnyIgnoredReason, number>()

  #linesLeft = LINES_MAX
  #countedAtMs: number
  #untold = 0

  /** `nowMs`: milliseconds of a monotonic clock. */
  constructor(log: ControlLog, nowMs: () => number) {
    this.#log = log
    this.#nowMs = nowMs
    this.#countedAtMs = nowMs()
  }

  /** Findings by reason since the start. */
  get counts(): ReadonlyMap<AnyIgnoredReason, number> {
    return this.#counts
  }

  /** Subjects with findings, whose names begin with `prefix`. */
  *subjects(prefix: string): Iterable<string> {
    for (const subject of this.#told.keys()) if (subject.startsWith(prefix)) yield subject
  }

  /** What is known to be ignored of a subject now. */
  findingsOf(subject: string): Finding[] {
    const told = this.#told.get(subject)
    if (told === undefined) return []
    return told.split('\n').flatMap((line) => {
      const [, reason, detail, count] = FINDING.exec(line) ?? []
      return reason === undefined ? [] : [{ reason: reason as AnyIgnoredReason, detail: detail!, count: Number(count) }]
    })
  }

  /** The findings about a subject, such as `endpointSlice demo/web-1`; an empty list forgets the subject. */
  report(whole: string, findings: readonly (Ignored | Finding)[]): void {
    const subject = whole.length > SUBJECT_MAX ? `${whole.slice(0, SUBJECT_MAX)}…` : whole
    if (findings.length === 0) {
      this.#told.delete(subject)
      return
    }
    const text = findings.map(({ reason, detail, count }) => `${reason} ${inOneLine(detail)} ${count}`).join('\n')
    if (this.#told.get(subject) === text) return
    for (const { reason, count } of findings) this.#counts.set(reason, (this.#counts.get(reason) ?? 0) + count)
    if (!this.#told.has(subject) && this.#told.size >= SUBJECTS_MAX) return
    this.#told.set(subject, text)
    for (const { reason, detail, count } of findings) {
      if (this.#mayTell()) this.#log.warn('object-ignored', { subject, reason, detail, count })
      else this.#untold++
    }
  }

  /** Whether there is a line left; tells first how many findings had none. */
  #mayTell(): boolean {
    const nowMs = this.#nowMs()
    this.#linesLeft = Math.min(LINES_MAX, this.#linesLeft + ((nowMs - this.#countedAtMs) / 1000) * LINES_PER_SECOND)
    this.#countedAtMs = nowMs
    if (this.#linesLeft < 1) return false
    this.#linesLeft--
    if (this.#untold > 0) this.#log.warn('objects-ignored-untold', { findings: this.#untold })
    this.#untold = 0
    return true
  }
}

/** File names and the messages of others may hold newlines. */
function inOneLine(text: string): string {
  return text.replace(/[\r\n\u2028\u2029]+/g, ' ')
}
