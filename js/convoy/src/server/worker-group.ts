/**
 * The threads that run one program. A thread that ends, whatever ended it, is replaced while the program is in place;
 * one that the engine calls stuck is ended; and where none gives a sign of life, one more takes the new calls, until
 * another answers again. The threads end when other code is in place and no call runs on them any more.
 */

import inspector from 'node:inspector';
import { setTimeout as pause } from 'node:timers/promises';
import type { ResourceLimits } from 'node:worker_threads';
import type { NativeEngine, OnWorkerEvent } from './native.js';
import { WorkerHandle } from './worker-handle.js';
import type { WorkerSettings } from './worker-messages.js';

/** A thread that has run for so long has not ended at once. */
const LASTING_MS = 2_000;

/** How long a place stays empty whose threads keep ending at once: longer each time, up to this. */
const LONGEST_PAUSE_MS = 1_000;

export interface WorkerOptions {
  readonly count: number;
  readonly resourceLimits: ResourceLimits;
}

/** Workers, and where is said what becomes of them. */
export interface WorkerGroupOptions extends WorkerOptions {
  readonly log: (text: string) => void;
}

/** A thread's place in the group. */
interface Place {
  /** Its thread, once that runs the program. */
  ready: Promise<WorkerHandle>;
  /** How many threads in a row have ended at once. */
  failures: number;
}

export class WorkerGroup {
  readonly #engine: NativeEngine;
  readonly #settings: WorkerSettings;
  readonly #resourceLimits: ResourceLimits;
  readonly #log: (text: string) => void;
  readonly #places: readonly Place[];
  readonly #threads = new Set<WorkerHandle>();
  #spare: Promise<WorkerHandle> | null = null;
  /** What the program says of itself. */
  #description: string | null = null;
  /** Known once the engine has the program. */
  #holdsInserts: readonly string[] | null = null;
  #state: 'starting' | 'in place' | 'replaced' = 'starting';
  #saidDebugged = false;
  /** Ends the pauses between threads, when none is needed any more. */
  readonly #over = new AbortController();

  constructor(engine: NativeEngine, { count, resourceLimits, log }: WorkerGroupOptions, settings: WorkerSettings) {
    this.#engine = engine;
    this.#settings = settings;
    this.#resourceLimits = resourceLimits;
    this.#log = log;
    this.#places = Array.from({ length: count }, () => ({ ready: this.#open(0), failures: 0 }));
  }

  /** Resolves, when all its threads have the program, to what that says of itself. */
  async joined(): Promise<string> {
    await Promise.all(this.#places.map(({ ready }) => ready));
    return this.#description ?? '';
  }

  /** The engine has the program. */
  putInPlace(holdsInserts: readonly string[]): void {
    this.#state = 'in place';
    this.#holdsInserts = holdsInserts;
    for (const thread of this.#threads) thread.loaded(holdsInserts);
    for (const place of this.#places) this.#keepFilled(place);
  }

  /** Other code is in place. Calls in flight end here; those of threads that give no sign, only where they may. */
  replaced({ endSilent }: { readonly endSilent: boolean }): void {
    this.#isOver();
    const silent = endSilent ? this.#engine.silent(this.#settings.number) : [];
    for (const thread of this.#threads) {
      if (silent.includes(thread.id) && !this.#isDebugged()) void thread.end('Other code is in place.');
    }
  }

  /** What the engine tells of it. */
  readonly hear = (what: Parameters<OnWorkerEvent>[0], worker: number, reason: string): void => {
    const thread = [...this.#threads].find(({ id }) => id === worker);
    if (what === 'silent') this.#startSpare(reason);
    else if (what === 'recovered') void this.#releaseSpare(worker);
    else if (what === 'over') void this.end('No call runs on its code any more.');
    else if (what === 'drained') void thread?.end('It is not needed any more.');
    else if (!this.#isDebugged()) void thread?.end(`It has not answered ${reason}.`);
  };

  async end(reason: string): Promise<void> {
    this.#isOver();
    await Promise.all([...this.#threads].map((thread) => thread.end(reason)));
  }

  #isOver(): void {
    this.#state = 'replaced';
    this.#over.abort();
  }

  /** Starts a thread, which imports the program and joins the pool. */
  async #open(pauseMs: number): Promise<WorkerHandle> {
    // Where the only thread has ended, nothing but this timer keeps Node from ending the process.
    if (pauseMs > 0) await pause(pauseMs, null, { signal: this.#over.signal }).catch(() => {});
    if (this.#state === 'replaced') throw new Error('Other code is in place.');
    const thread = new WorkerHandle(this.#settings, this.#resourceLimits);
    this.#threads.add(thread);
    void thread.ended.then(() => this.#threads.delete(thread));
    try {
      const description = await thread.joined;
      this.#description ??= description;
      if (description !== this.#description) throw new Error(programMismatch(this.#settings.address));
      if (this.#holdsInserts !== null) thread.loaded(this.#holdsInserts);
    } catch (error) {
      await thread.end(String(error));
      throw error;
    }
    return thread;
  }

  /** When the thread in a place has ended, or could not be started, the spare takes the place, or another one. */
  #keepFilled(place: Place): void {
    const began = performance.now();
    void exitReason(place.ready).then((reason) => {
      if (this.#state !== 'in place') return;
      this.#log(`a worker ended, and another takes its place. ${reason}`);
      place.failures = performance.now() - began < LASTING_MS ? place.failures + 1 : 0;
      const pauseMs = place.failures < 3 ? 0 : Math.min(10 * 2 ** place.failures, LONGEST_PAUSE_MS);
      place.ready = this.#spare ?? this.#open(pauseMs);
      this.#spare = null;
      this.#keepFilled(place);
    });
  }

  /** None gives a sign of life: one more takes the new calls. */
  #startSpare(reason: string): void {
    if (this.#state !== 'in place' || this.#spare !== null || this.#isDebugged()) return;
    this.#log(`${reason}. Another worker takes new calls meanwhile.`);
    const spare = this.#open(0);
    this.#spare = spare;
    void exitReason(spare).then((end) => {
      if (this.#spare !== spare) return;
      this.#spare = null;
      if (this.#state === 'in place') this.#log(`a spare worker ended. ${end}`);
    });
  }

  /** One of the others answers again, so that the state of modules can be one again. */
  async #releaseSpare(answering: number): Promise<void> {
    const spare = this.#spare;
    const thread = await spare?.catch(() => null);
    if (!thread || this.#spare !== spare || thread.id === answering) return;
    this.#spare = null;
    this.#engine.drain(this.#settings.number, thread.id);
  }

  /** A debugger may have stopped a thread, which then is not stuck. */
  #isDebugged(): boolean {
    if (inspector.url() === undefined) return false;
    if (!this.#saidDebugged) {
      this.#saidDebugged = true;
      this.#log('a worker gives no sign of life. It is left alone, since the process is open to debuggers.');
    }
    return true;
  }
}

/** Resolves, when a thread has ended or could not be started, to why. */
function exitReason(ready: Promise<WorkerHandle>): Promise<string> {
  return ready.then(
    (thread) => thread.ended,
    (error: unknown) => String(error),
  );
}

function programMismatch(address: string): string {
  return `${address} is not the same program each time it is imported. Has it changed? Then reload it.`;
}
