/**
 * Functions on threads of their own: each imports one program's module, and the engine gives a call to the one that has
 * the least to do. New code comes on new threads, and is in place once all of them have it; so whatever the old code has
 * left behind in memory ends with its threads.
 */

import { formatPath, sendingProblem } from '../values/json.js';
import { boundedValue, MAX_MESSAGE_BYTES } from './bounded-json.js';
import { rethrowAsConvoyError } from './engine-errors.js';
import { type Executor, type ExecutorOptions, tablesWithHeldInserts } from './executors.js';
import type { LoadReport, NativeEngine } from './native.js';
import type { ProgramSource } from './program.js';
import { addressOf, isProgramModule, type ProgramModule } from './program-module.js';
import { WorkerGroup, type WorkerGroupOptions } from './worker-group.js';

export class WorkerThreads implements Executor {
  readonly #engine: NativeEngine;
  readonly #wanted: WorkerGroupOptions;
  readonly #options: ExecutorOptions;
  /** The engine's number, for threads to attach by. */
  readonly #number: number;
  /** By the number of their program; those of old code until no call runs on it. */
  readonly #groups = new Map<number, WorkerGroup>();
  #inPlace: { readonly number: number; readonly group: WorkerGroup } | null = null;
  #nextNumber = 1;

  constructor(engine: NativeEngine, wanted: WorkerGroupOptions, options: ExecutorOptions) {
    this.#engine = engine;
    this.#wanted = wanted;
    this.#options = options;
    this.#number = engine.share((what, number, worker, reason) => {
      this.#groups.get(number)?.hear(what, worker, reason);
      if (what === 'over') this.#groups.delete(number);
    });
  }

  async load(source: ProgramSource | ProgramModule): Promise<LoadReport> {
    if (!isProgramModule(source)) {
      throw new TypeError(
        'This Convoy runs its functions on workers, which import them: load({ program: <a module> }).',
      );
    }
    const number = this.#nextNumber++;
    this.#engine.openPool(number);
    const settings = { engine: this.#number, number, address: addressOf(source), ...this.#options };
    const group = new WorkerGroup(this.#engine, this.#wanted, settings);
    this.#groups.set(number, group);
    try {
      const description = await group.joined();
      const report = JSON.parse(
        await rethrowAsConvoyError(this.#engine.loadOnWorkers(description, number)),
      ) as LoadReport;
      group.putInPlace(tablesWithHeldInserts(report));
      this.#replaceBy(number, group);
      return report;
    } catch (error) {
      await group.end('Its program could not be loaded.');
      this.#engine.closePool(number);
      throw error;
    }
  }

  registerContext(context: object): ReturnType<Executor['registerContext']> {
    const sent = boundedValue('The context', context, MAX_MESSAGE_BYTES);
    const problem = sendingProblem(context);
    if (problem !== null) {
      const where = formatPath(['context', ...problem.path]);
      throw new TypeError(`\`${where}\` ${problem.reason}. To a worker, a context travels as JSON.`);
    }
    return { request: JSON.stringify({ context: sent }), release: () => {} };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#groups.values()].map((group) => group.end('closed')));
  }

  #replaceBy(number: number, group: WorkerGroup): void {
    const before = this.#inPlace;
    this.#inPlace = { number, group };
    if (before === null) return;
    before.group.replaced({ endSilent: this.#options.dev });
    this.#engine.closePool(before.number);
  }
}
