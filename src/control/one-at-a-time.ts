/** Work that many ask for and that is done once for all who ask meanwhile. */

/** Whoever asks while the work is under way shares the run after it: each result is of a run that began after the asking. */
export function oneAtATime<Result>(work: () => Promise<Result>): () => Promise<Result> {
  let running: Promise<unknown> = Promise.resolve()
  let next: Promise<Result> | undefined
  return () => {
    next ??= running.then(() => {
      const run = work()
      running = run.catch(() => undefined)
      next = undefined
      return run
    })
    return next
  }
}
