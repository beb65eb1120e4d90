/**
 * V8's flags. Imported before everything else: what is evaluated first decides how large the young generation is by then,
 * and threads take the flags that stand when they begin. All of these work while running, as few flags do.
 */

import { setFlagsFromString } from 'node:v8'

// The young generation stays at its first size: a resolver's garbage dies young, and letting V8 grow its semi-spaces cost
// 90 MiB at the first sync of 10,000 services and longer pauses (docs/performance.md).
setFlagsFromString('--semi-space-growth-factor=1')
// The old generation may grow by half before it is swept, where V8 would let it double and more: under a flood of misses
// the record cache turns over all the time, and this took 70 MiB off the resident memory for one part in twenty more CPU.
setFlagsFromString('--heap-growing-percent=50')
// The young generation is a MiB or two: to hand that to four threads costs more than to sweep it, and where the cores are taken
// the event loop waits for the slowest of them.
setFlagsFromString('--no-parallel-scavenge')
// While the whole heap is marked, in steps, V8 puts off all sweeping of the young generation, which then holds several MiB when
// the collection ends, and moves them in one pause: 12 to 23 ms at the first sync of 10,000 services, and 6 to 8 this way.
setFlagsFromString('--no-separate-gc-phases')
// Eight quiet seconds after a burst V8 collects once more, and by itself presses all pages together that have room: 38 to 42 ms
// in one pause for the heap of 10,000 services, and 5 to 11 without that, for two or three MiB that it would have given back.
setFlagsFromString('--no-memory-reducer-favors-memory')
// Threads that begin from now on have a function `gc`: each sweeps its heap once, when it has started (host/sweep-heap.ts).
setFlagsFromString('--expose-gc')
