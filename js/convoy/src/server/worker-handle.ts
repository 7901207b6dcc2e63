/** One worker thread, from outside: the program it runs, and how it ends. */

import { type ResourceLimits, Worker } from 'node:worker_threads';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-messages.js';

export class WorkerHandle {
  /** What the engine knows it by. */
  readonly id: number;
  /** Resolves, when it has joined its pool, to what its program says of itself. */
  readonly joined: Promise<string>;
  /** Resolves, when the thread has ended, to reason. */
  readonly ended: Promise<string>;
  readonly #worker: Worker;
  #exitReason: string | null = null;
  /** What it said before it ended by an error. */
  #failureContext = '';

  constructor(settings: WorkerSettings, resourceLimits: ResourceLimits) {
    const worker = new Worker(new URL('./worker-thread.js', import.meta.url), { workerData: settings, resourceLimits });
    this.#worker = worker;
    this.id = worker.threadId;
    worker.on('error', (error: unknown) => {
      this.#exitReason ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
    });
    this.ended = new Promise((resolve) => {
      // What it said before may arrive after the error itself, but not after this.
      worker.on('exit', (code) => {
        const reason = this.#exitReason ?? `Its exit code is ${code}; does a function call process.exit?`;
        resolve(this.#failureContext + reason);
      });
    });
    this.joined = new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'joined') resolve(message.description);
        else if (message.type === 'failing') this.#failureContext ||= describeFailure(message);
        else reject(Object.assign(new Error(message.message), { stack: message.stack ?? message.message }));
      });
      void this.ended.then((reason) => reject(new Error(`a worker ended while it was loading: ${reason}`)));
    });
    // Whoever waits for it hears of a failure all the same.
    this.joined.catch(() => {});
  }

  /** The engine has the program. */
  loaded(holdsInserts: readonly string[]): void {
    this.#worker.postMessage({ holdsInserts } satisfies ToWorker);
  }

  /** Ends it, whatever it is doing. */
  async end(reason: string): Promise<void> {
    this.#exitReason ??= reason;
    await this.#worker.terminate();
  }
}

function describeFailure({ fn, origin }: FromWorker & { readonly type: 'failing' }): string {
  return origin === 'unhandledRejection'
    ? `${fn} has left a promise behind that was rejected, and nobody caught that: `
    : `${fn} has left something behind that threw when it ran, and nobody caught that: `;
}
