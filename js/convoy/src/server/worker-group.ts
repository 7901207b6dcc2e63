/**
 * The worker threads of one program. While the program is active, a thread that exits is restarted, and a thread that the
 * engine reports as stuck is terminated. If no thread is responsive, a spare one takes the new calls until another
 * recovers. After the program was replaced, the threads end when their last calls have ended.
 */

import inspector from 'node:inspector';
import { setTimeout as pause } from 'node:timers/promises';
import type { ResourceLimits } from 'node:worker_threads';
import type { NativeEngine, OnWorkerEvent } from './native.js';
import { WorkerHandle } from './worker-handle.js';
import type { WorkerProgram, WorkerSettings } from './worker-messages.js';

/** A thread that has run for this long does not count as a failed start. */
const STABLE_AFTER_MS = 2_000;

/** The maximum delay before a restart after repeated failed starts. */
const MAX_BACKOFF_MS = 1_000;

export interface WorkerOptions {
  readonly count: number;
  readonly resourceLimits: ResourceLimits;
}

/** Worker options, and the log for their events. */
export interface WorkerGroupOptions extends WorkerOptions {
  readonly log: (text: string) => void;
  readonly settings: WorkerSettings;
}

/** One of the configured number of threads. */
interface WorkerSlot {
  /** The current thread, once it has loaded the program. */
  ready: Promise<WorkerHandle>;
  /** The number of failed starts in a row. */
  failures: number;
}

export class WorkerGroup {
  readonly #engine: NativeEngine;
  readonly #program: WorkerProgram;
  readonly #settings: WorkerSettings;
  readonly #resourceLimits: ResourceLimits;
  readonly #log: (text: string) => void;
  readonly #slots: readonly WorkerSlot[];
  readonly #threads = new Set<WorkerHandle>();
  #spare: Promise<WorkerHandle> | null = null;
  /** The description of the program, as loaded by the first thread. */
  #description: string | null = null;
  /** `null` until the engine has loaded the program. */
  #holdsWrites: readonly string[] | null = null;
  #state: 'starting' | 'active' | 'retired' = 'starting';
  #loggedDebugger = false;
  /** Aborted when the program is replaced; ends the delays before restarts. */
  readonly #stopped = new AbortController();

  /** `standby` is a thread without a program, which this group takes over as its first. */
  constructor(
    engine: NativeEngine,
    { count, resourceLimits, log, settings }: WorkerGroupOptions,
    program: WorkerProgram,
    standby: WorkerHandle | null = null,
  ) {
    this.#engine = engine;
    this.#program = program;
    this.#settings = settings;
    this.#resourceLimits = resourceLimits;
    this.#log = log;
    this.#slots = Array.from({ length: count }, (_, at) => ({
      ready: this.#open(0, at === 0 ? standby : null),
      failures: 0,
    }));
  }

  /** Resolves to the description of the program when all threads have loaded it. */
  async joined(): Promise<string> {
    await Promise.all(this.#slots.map(({ ready }) => ready));
    return this.#description ?? '';
  }

  /** Called when the engine has loaded the program. */
  activate(holdsWrites: readonly string[]): void {
    this.#state = 'active';
    this.#holdsWrites = holdsWrites;
    for (const thread of this.#threads) thread.loaded(holdsWrites);
    for (const slot of this.#slots) this.#restartOnExit(slot);
  }

  /**
   * Called when other code is in place. Calls in flight end on these threads, but with `endUnresponsive` unresponsive threads
   * are terminated.
   */
  retire({ endUnresponsive }: { readonly endUnresponsive: boolean }): void {
    this.#markRetired();
    const unresponsive = endUnresponsive ? this.#engine.unresponsiveWorkers(this.#program.number) : [];
    for (const thread of this.#threads) {
      if (unresponsive.includes(thread.id) && !this.#isDebugged()) void thread.end('Other code is in place.');
    }
  }

  /** Handles an event of the engine about this program. */
  readonly onEvent = (event: Parameters<OnWorkerEvent>[0], worker: number, reason: string): void => {
    const thread = [...this.#threads].find(({ id }) => id === worker);
    if (event === 'allUnresponsive') this.#startSpare(reason);
    else if (event === 'recovered') void this.#releaseSpare(worker);
    else if (event === 'retired') void this.end('Its code was replaced, and the last call on it has ended.');
    else if (event === 'drained') void thread?.end('The spare worker is not needed any more.');
    else if (!this.#isDebugged()) void thread?.end(`It has not answered ${reason}.`);
  };

  async end(reason: string): Promise<void> {
    this.#markRetired();
    await Promise.all([...this.#threads].map((thread) => thread.end(reason)));
  }

  #markRetired(): void {
    this.#state = 'retired';
    this.#stopped.abort();
  }

  /** Starts a thread, or takes over the given one; it imports the program and joins the pool. */
  async #open(pauseMs: number, standby: WorkerHandle | null = null): Promise<WorkerHandle> {
    // Not unref'ed: if the only thread has ended, this timer alone keeps the process running.
    if (pauseMs > 0) await pause(pauseMs, null, { signal: this.#stopped.signal }).catch(() => {});
    if (this.#state === 'retired') throw new Error('Other code is in place.');
    const thread = standby ?? new WorkerHandle(this.#settings, this.#resourceLimits);
    this.#threads.add(thread);
    void thread.ended.then(() => this.#threads.delete(thread));
    try {
      thread.run(this.#program);
      const description = await thread.joined;
      this.#description ??= description;
      if (description !== this.#description) throw new Error(programMismatch(this.#program.address));
      if (this.#holdsWrites !== null) thread.loaded(this.#holdsWrites);
    } catch (error) {
      await thread.end(String(error));
      throw error;
    }
    return thread;
  }

  /** Replaces the thread of a slot by the spare or a new one, when it has exited or failed to start. */
  #restartOnExit(slot: WorkerSlot): void {
    const startedAt = performance.now();
    void exitOf(slot.ready).then((reason) => {
      if (this.#state !== 'active') return;
      this.#log(`a worker ended, and another takes its place. ${reason}`);
      slot.failures = performance.now() - startedAt < STABLE_AFTER_MS ? slot.failures + 1 : 0;
      const pauseMs = slot.failures < 3 ? 0 : Math.min(10 * 2 ** slot.failures, MAX_BACKOFF_MS);
      slot.ready = this.#spare ?? this.#open(pauseMs);
      this.#spare = null;
      this.#restartOnExit(slot);
    });
  }

  /** Starts the spare thread, because no thread is responsive. */
  #startSpare(reason: string): void {
    if (this.#state !== 'active' || this.#spare !== null || this.#isDebugged()) return;
    this.#log(`${reason}. Another worker takes new calls meanwhile.`);
    const spare = this.#open(0);
    this.#spare = spare;
    void exitOf(spare).then((end) => {
      if (this.#spare !== spare) return;
      this.#spare = null;
      if (this.#state === 'active') this.#log(`a spare worker ended. ${end}`);
    });
  }

  /** Drains the spare thread, because another is responsive again: calls then share one copy of module state again. */
  async #releaseSpare(recovered: number): Promise<void> {
    const spare = this.#spare;
    const thread = await spare?.catch(() => null);
    if (!thread || this.#spare !== spare || thread.id === recovered) return;
    this.#spare = null;
    this.#engine.drain(this.#program.number, thread.id);
  }

  /** Whether a debugger may have paused the threads, so that an unresponsive one is not stuck. */
  #isDebugged(): boolean {
    if (inspector.url() === undefined) return false;
    if (!this.#loggedDebugger) {
      this.#loggedDebugger = true;
      this.#log('a worker is unresponsive. It is left alone, since the process is open to debuggers.');
    }
    return true;
  }
}

/** Resolves to the reason when a thread has exited or failed to start. */
function exitOf(ready: Promise<WorkerHandle>): Promise<string> {
  return ready.then(
    (thread) => thread.ended,
    (error: unknown) => String(error),
  );
}

function programMismatch(address: string): string {
  return `${address} exported a different program when it was imported again. If it has changed, reload it.`;
}
