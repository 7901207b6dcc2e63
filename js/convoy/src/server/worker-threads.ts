/**
 * Functions on threads of their own: each imports the program's module, and the engine gives a call to the one that has
 * the least to do. A thread that ends, whatever ended it, is replaced; one that the engine calls stuck is ended. New code
 * is in place once all threads have it.
 */

import type { ResourceLimits } from 'node:worker_threads';
import { formatPath, sendingProblem } from '../values/json.js';
import { arriving } from './arrival.js';
import type { LoadReport, NativeEngine } from './native.js';
import type { ProgramSource } from './program.js';
import { addressOf, isProgramModule, type ProgramModule } from './program-module.js';
import { type ThreadOptions, type Threads, tablesThatHold } from './threads.js';
import { WorkerHandle } from './worker-handle.js';
import type { WorkerSettings } from './worker-messages.js';

/** A thread that has run for so long has not ended at once. */
const LASTING_MS = 2_000;

/** How long a place stays empty whose threads keep ending at once: longer each time, up to this. */
const LONGEST_PAUSE_MS = 1_000;

export interface WorkersWanted {
  readonly count: number;
  readonly resourceLimits: ResourceLimits;
}

/** A program that the engine has. */
interface InPlace {
  readonly number: number;
  readonly address: string;
  readonly description: string;
  readonly holdsInserts: readonly string[];
}

/** A thread's place in the pool. */
interface Place {
  /** Its thread, once that runs what is in place. */
  ready: Promise<WorkerHandle>;
  /** How many threads in a row have ended at once. */
  failures: number;
}

export class WorkerThreads implements Threads {
  readonly #engine: NativeEngine;
  readonly #settings: WorkerSettings;
  readonly #resourceLimits: ResourceLimits;
  readonly #places: readonly Place[];
  readonly #running = new Set<WorkerHandle>();
  #inPlace: InPlace | null = null;
  #nextNumber = 1;
  #isClosed = false;

  constructor(engine: NativeEngine, { count, resourceLimits }: WorkersWanted, { sync, dev }: ThreadOptions) {
    this.#engine = engine;
    this.#resourceLimits = resourceLimits;
    const number = engine.share((id) => this.#endStuck(id));
    this.#settings = { engine: number, sync, dev };
    this.#places = Array.from({ length: count }, () => ({ ready: this.#start(0), failures: 0 }));
    for (const place of this.#places) this.#keepFilled(place);
  }

  async load(source: ProgramSource | ProgramModule): Promise<LoadReport> {
    if (!isProgramModule(source)) {
      throw new TypeError(
        'This Convoy runs its functions on workers, which import them: load({ program: <a module> }).',
      );
    }
    const number = this.#nextNumber++;
    const address = addressOf(source);
    this.#engine.openPool(number);
    try {
      const described = await Promise.all(this.#places.map(async ({ ready }) => (await ready).load(number, address)));
      const description = described[0] ?? '';
      for (const each of described) mustBeTheSame(each, description, address);
      const report = JSON.parse(await arriving(this.#engine.loadOnWorkers(description, number))) as LoadReport;
      const before = this.#inPlace;
      this.#inPlace = { number, address, description, holdsInserts: tablesThatHold(report) };
      if (before !== null) this.#engine.closePool(before.number);
      // A thread that was replaced meanwhile may have loaded only what was in place before.
      for (const thread of this.#running) this.#bring(thread).catch((error: unknown) => thread.end(String(error)));
      return report;
    } catch (error) {
      this.#engine.closePool(number);
      throw error;
    }
  }

  remember(context: object): ReturnType<Threads['remember']> {
    const problem = sendingProblem(context);
    if (problem !== null) {
      const where = formatPath(['context', ...problem.path]);
      throw new TypeError(`\`${where}\` ${problem.reason}. To a worker, a context travels as JSON.`);
    }
    return { request: JSON.stringify({ context }), forget: () => {} };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#running].map((thread) => thread.end('closed')));
  }

  /** Starts a thread, and has it load what is in place. */
  async #start(pauseMs: number): Promise<WorkerHandle> {
    if (pauseMs > 0) await pause(pauseMs);
    if (this.#isClosed) throw new Error('This Convoy is closed.');
    const thread = new WorkerHandle(this.#settings, this.#resourceLimits);
    this.#running.add(thread);
    void thread.ended.then(() => this.#running.delete(thread));
    try {
      await this.#bring(thread);
    } catch (error) {
      await thread.end(String(error));
      throw error;
    }
    return thread;
  }

  /** When the thread in a place has ended, or could not be started, starts the next. */
  #keepFilled(place: Place): void {
    const began = performance.now();
    const over = place.ready.then(
      (thread) => thread.ended,
      (error: unknown) => String(error),
    );
    void over.then((why) => {
      if (this.#isClosed) return;
      console.error(`convoy: a worker ended, and another takes its place. ${why}`);
      place.failures = performance.now() - began < LASTING_MS ? place.failures + 1 : 0;
      place.ready = this.#start(place.failures < 3 ? 0 : Math.min(10 * 2 ** place.failures, LONGEST_PAUSE_MS));
      this.#keepFilled(place);
    });
  }

  /** Has a thread load what is in place, and what has come to be meanwhile. */
  async #bring(thread: WorkerHandle): Promise<void> {
    for (let inPlace = this.#inPlace; inPlace !== null; ) {
      const { number, address, description, holdsInserts } = inPlace;
      try {
        mustBeTheSame(await thread.load(number, address), description, address);
        thread.loaded(number, holdsInserts);
      } catch (error) {
        // Its pool is closed once other code is in place.
        if (this.#inPlace === inPlace) throw error;
      }
      inPlace = this.#inPlace === inPlace ? null : this.#inPlace;
    }
  }

  #endStuck(id: number): void {
    for (const thread of this.#running) {
      if (thread.id === id) void thread.end('It did not answer any more after a call had taken too long.');
    }
  }
}

function mustBeTheSame(description: string, other: string, address: string): void {
  if (description === other) return;
  throw new Error(`${address} is not the same program each time it is imported. Has it changed? Then load it anew.`);
}

/** Nobody is kept from ending by it. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
