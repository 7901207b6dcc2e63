/** One worker thread, from outside: what it has loaded, and how it ends. */

import { type ResourceLimits, Worker } from 'node:worker_threads';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-messages.js';

export class WorkerHandle {
  /** What the engine knows it by. */
  readonly id: number;
  /** Resolves, when the thread has ended, to why. */
  readonly ended: Promise<string>;
  readonly #worker: Worker;
  /** What it was told to load, by number: promises of what the programs say of themselves. */
  readonly #loads = new Map<number, Load>();
  #why: string | null = null;

  constructor(settings: WorkerSettings, resourceLimits: ResourceLimits) {
    const worker = new Worker(new URL('./worker-thread.js', import.meta.url), { workerData: settings, resourceLimits });
    this.#worker = worker;
    this.id = worker.threadId;
    worker.on('message', (message: FromWorker) => this.#hear(message));
    worker.on('error', (error: unknown) => {
      this.#why ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
    });
    this.ended = new Promise((resolve) => {
      worker.on('exit', (code) => {
        const why = this.#why ?? `its exit code is ${code}; does a function call process.exit?`;
        for (const load of this.#loads.values()) load.reject(new Error(`a worker ended while it was loading: ${why}`));
        resolve(why);
      });
    });
  }

  /** Has it import a program and join its pool, unless it has; resolves to the program's description. */
  load(number: number, address: string): Promise<string> {
    const known = this.#loads.get(number);
    if (known !== undefined) return known.description;
    const load = newLoad();
    this.#loads.set(number, load);
    this.#tell({ type: 'load', number, address });
    return load.description;
  }

  /** The engine has the program. */
  loaded(number: number, holdsInserts: readonly string[]): void {
    for (const older of this.#loads.keys()) if (older < number) this.#loads.delete(older);
    this.#tell({ type: 'loaded', number, holdsInserts });
  }

  /** Ends it, whatever it is doing. */
  async end(why: string): Promise<void> {
    this.#why ??= why;
    await this.#worker.terminate();
  }

  #tell(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromWorker): void {
    const load = this.#loads.get(message.number);
    if (message.type === 'joined') load?.resolve(message.description);
    else load?.reject(Object.assign(new Error(message.message), { stack: message.stack ?? message.message }));
  }
}

interface Load {
  readonly description: Promise<string>;
  readonly resolve: (description: string) => void;
  readonly reject: (error: Error) => void;
}

function newLoad(): Load {
  let resolve: Load['resolve'] = () => {};
  let reject: Load['reject'] = () => {};
  const description = new Promise<string>((...settle) => {
    [resolve, reject] = settle;
  });
  // Whoever waits for it hears of a failure all the same.
  description.catch(() => {});
  return { description, resolve, reject };
}
