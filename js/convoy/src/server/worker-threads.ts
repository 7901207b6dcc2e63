/**
 * Runs functions on worker threads. Each thread imports the module of one program, and the engine sends a call to the
 * least busy thread. New code is loaded on new threads and becomes active once all of them have loaded it, so all memory
 * of the old code is freed with its threads.
 */

import { formatPath } from '../values/json.js';
import { resultProblem } from '../values/server-json.js';
import { type Auth, isAuth } from './auth.js';
import { boundedValue, MAX_MESSAGE_BYTES } from './bounded-json.js';
import { rethrowAsConvoyError } from './engine-errors.js';
import { type Executor, type ExecutorOptions, tablesWithHeldWrites } from './executors.js';
import type { LoadReport, NativeEngine } from './native.js';
import type { ProgramSource } from './program.js';
import { addressOf, isProgramModule, type ProgramModule } from './program-module.js';
import { type Standby, StandbyWorker } from './standby-worker.js';
import { WorkerGroup, type WorkerGroupOptions } from './worker-group.js';

export class WorkerThreads implements Executor {
  readonly #engine: NativeEngine;
  readonly #groupOptions: WorkerGroupOptions;
  readonly #standby: StandbyWorker;
  readonly #dev: boolean;
  /** By program number. Groups of old code stay until their last calls have ended. */
  readonly #groups = new Map<number, WorkerGroup>();
  #active: { readonly number: number; readonly group: WorkerGroup } | null = null;
  #nextNumber = 1;

  constructor(engine: NativeEngine, workers: Omit<WorkerGroupOptions, 'settings'>, options: ExecutorOptions) {
    this.#engine = engine;
    this.#dev = options.dev;
    const shared = engine.share((event, number, worker, reason) => {
      this.#groups.get(number)?.onEvent(event, worker, reason);
      if (event === 'retired') this.#groups.delete(number);
    });
    const settings = { engine: shared, ...options };
    this.#groupOptions = { ...workers, settings };
    this.#standby = new StandbyWorker(settings, workers.resourceLimits);
  }

  standby(): Standby {
    return this.#standby.standby();
  }

  async load(source: ProgramSource | ProgramModule): Promise<LoadReport> {
    if (!isProgramModule(source)) {
      throw new TypeError(
        'This Convoy runs functions on worker threads, which import them from a module. Pass the module: ' +
          "load({ program: new URL('./program.js', import.meta.url) }).",
      );
    }
    const number = this.#nextNumber++;
    this.#engine.openPool(number);
    const program = { number, address: addressOf(source) };
    const group = new WorkerGroup(this.#engine, this.#groupOptions, program, this.#standby.take());
    this.#groups.set(number, group);
    const startedAt = performance.now();
    try {
      const description = await group.joined();
      const importMs = performance.now() - startedAt;
      const report = JSON.parse(
        await rethrowAsConvoyError(this.#engine.loadOnWorkers(description, number)),
      ) as LoadReport;
      group.activate(tablesWithHeldWrites(report));
      this.#activate(number, group);
      const swapMs = report.swappedAfterMs ?? performance.now() - startedAt - importMs;
      return { ...report, took: { importMs, swapMs } };
    } catch (error) {
      await group.end('Its program could not be loaded.');
      this.#engine.closePool(number);
      throw error;
    }
  }

  registerContext(given: object): ReturnType<Executor['registerContext']> {
    const { auth, context } = partsOf(given);
    const sent = boundedValue('The context', context, MAX_MESSAGE_BYTES);
    const problem = resultProblem(context);
    if (problem !== null) {
      const where = formatPath(['context', ...problem.path]);
      throw new TypeError(`\`${where}\` ${problem.reason}. A context is sent to a worker as JSON.`);
    }
    return { request: JSON.stringify({ context: sent, auth }), release: () => {} };
  }

  async close(): Promise<void> {
    const groups = [...this.#groups.values()];
    await Promise.all([this.#standby.end('closed'), ...groups.map((group) => group.end('closed'))]);
  }

  #activate(number: number, group: WorkerGroup): void {
    const before = this.#active;
    this.#active = { number, group };
    if (before === null) return;
    before.group.retire({ endUnresponsive: this.#dev });
    this.#engine.closePool(before.number);
  }
}

/** The members of a context, and its `auth`, which is sent as data. */
function partsOf(given: object): { readonly context: object; readonly auth?: Auth } {
  const { auth, ...context } = given as { readonly auth?: unknown };
  return isAuth(auth) ? { context, auth } : { context: given };
}
