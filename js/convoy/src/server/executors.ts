/** Where functions run: what `createConvoy` needs of it, and the simplest form, the thread that called it. */

import { rethrowAsConvoyError } from './engine-errors.js';
import { Host } from './host.js';
import type { LoadReport, NativeEngine } from './native.js';
import { describeProgram, type ProgramSource, prepareProgram } from './program.js';
import { addressOf, importProgram, isProgramModule, type ProgramModule } from './program-module.js';
import { QueryWatch } from './query-watch.js';

/** What threads are told beside the programs. */
export interface ExecutorOptions {
  /** Whether loading creates missing tables and indexes. */
  readonly sync: boolean;
  readonly dev: boolean;
  /** The largest result. */
  readonly resultBytes: number;
}

export interface Executor {
  /** Swaps a program in. Loads never overlap; one that fails leaves the old program in place. */
  load(source: ProgramSource | ProgramModule): Promise<LoadReport>;
  /** Keeps `context` for calls whose request is the returned text, until `release` is called. */
  registerContext(context: object): { readonly request: string; readonly release: () => void };
  /** After the engine has closed. */
  close(): Promise<void>;
}

/** The tables of a program whose inserts may wait for the next operation. */
export function tablesWithHeldInserts({ tables }: LoadReport): string[] {
  return Object.keys(tables).filter((name) => tables[name]?.holdsInserts);
}

/** This thread. */
export class InlineExecutor implements Executor {
  readonly #engine: NativeEngine;
  readonly #host: Host;
  readonly #sync: boolean;
  readonly #resultBytes: number;
  /** Watches queries in development. */
  readonly #watch: QueryWatch | null;

  constructor(engine: NativeEngine, { sync, dev, resultBytes }: ExecutorOptions) {
    this.#engine = engine;
    this.#host = new Host(engine);
    this.#sync = sync;
    this.#resultBytes = resultBytes;
    this.#watch = dev ? new QueryWatch() : null;
  }

  async load(given: ProgramSource | ProgramModule): Promise<LoadReport> {
    const source = isProgramModule(given) ? await importProgram(addressOf(given)) : given;
    const program = prepareProgram(source, {
      dev: this.#watch !== null,
      watch: this.#watch,
      resultBytes: this.#resultBytes,
    });
    const description = describeProgram(source, { sync: this.#sync });
    const text = await rethrowAsConvoyError(this.#engine.load(description, this.#host.deliverFor(program)));
    const report = JSON.parse(text) as LoadReport;
    program.holdsInserts = new Set(tablesWithHeldInserts(report));
    this.#watch?.reset();
    return report;
  }

  registerContext(context: object): ReturnType<Executor['registerContext']> {
    return this.#host.registerContext(context);
  }

  async close(): Promise<void> {
    this.#watch?.close();
  }
}
