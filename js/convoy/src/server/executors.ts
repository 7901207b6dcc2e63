/** Executors run functions: the interface that `createConvoy` uses, and the one that runs them on the calling thread. */

import { rethrowAsConvoyError } from './engine-errors.js';
import { Host } from './host.js';
import type { LoadReport, NativeEngine } from './native.js';
import { allowHeldWrites, describeProgram, type ProgramSource, prepareProgram } from './program.js';
import { addressOf, importProgram, isProgramModule, type ProgramModule } from './program-module.js';
import { QueryWatch } from './query-watch.js';
import type { Standby } from './standby-worker.js';

/** Options of an executor. */
export interface ExecutorOptions {
  /** Whether loading creates missing tables and indexes. */
  readonly sync: boolean;
  readonly dev: boolean;
  /** Whether stacks name source files. */
  readonly sourceMaps: boolean;
  /** Whether internal functions are described as public, in an engine that does not listen. */
  readonly onlyLocal: boolean;
  /** The maximum size of a result. */
  readonly resultBytes: number;
}

export interface Executor {
  /** Replaces the program. Loads never overlap; if one fails, the old program stays active. */
  load(source: ProgramSource | ProgramModule): Promise<LoadReport>;
  /** The thread that will run the next program; `null` if that is this thread. */
  standby(): Standby | null;
  /** Keeps `context` for calls made with the returned `request`, until `release` is called. */
  registerContext(context: object): { readonly request: string; readonly release: () => void };
  /** Called after the engine has closed. */
  close(): Promise<void>;
}

/** The tables whose inserts may be held until the next operation. */
export function tablesWithHeldWrites({ tables }: LoadReport): string[] {
  return Object.keys(tables).filter((name) => tables[name]?.holdsWrites);
}

/** Runs functions on the calling thread. */
export class InlineExecutor implements Executor {
  readonly #engine: NativeEngine;
  readonly #host: Host;
  readonly #options: ExecutorOptions;
  readonly #watch: QueryWatch;

  constructor(engine: NativeEngine, options: ExecutorOptions) {
    this.#engine = engine;
    this.#host = new Host(engine);
    this.#options = options;
    this.#watch = new QueryWatch(options.dev ? console.warn : null);
  }

  async load(program: ProgramSource | ProgramModule): Promise<LoadReport> {
    this.#watch.open();
    const source = isProgramModule(program) ? await importProgram(addressOf(program)) : program;
    const prepared = prepareProgram(source, {
      dev: this.#options.dev,
      watch: this.#watch,
      resultBytes: this.#options.resultBytes,
    });
    const description = describeProgram(source, this.#options);
    const text = await rethrowAsConvoyError(this.#engine.load(description, this.#host.deliverFor(prepared)));
    const report = JSON.parse(text) as LoadReport;
    allowHeldWrites(prepared, tablesWithHeldWrites(report));
    this.#watch.reset();
    return report;
  }

  standby(): null {
    return null;
  }

  registerContext(context: object): ReturnType<Executor['registerContext']> {
    return this.#host.registerContext(context);
  }

  async close(): Promise<void> {
    this.#watch.close();
  }
}
