/**
 * The parent's side of one worker thread: starts it, gives it a program, waits until it has loaded that, and reports why
 * it ended.
 */

import { type ResourceLimits, Worker } from 'node:worker_threads';
import type { FromWorker, ToWorker, WorkerProgram, WorkerSettings } from './worker-messages.js';

export class WorkerHandle {
  /** Its number in the engine. */
  readonly id: number;
  /** Resolves to the description of its program when the thread has joined its pool. */
  readonly joined: Promise<string>;
  /** Resolves to the reason when the thread has ended. */
  readonly ended: Promise<string>;
  readonly #worker: Worker;
  #exitReason: string | null = null;
  #onEvaluated: (value: unknown) => void = () => {};
  /** The function that caused the error which ended the thread, as the start of a message. */
  #failureContext = '';

  constructor(settings: WorkerSettings, resourceLimits: ResourceLimits) {
    const worker = new Worker(new URL('./worker-thread.js', import.meta.url), { workerData: settings, resourceLimits });
    this.#worker = worker;
    this.id = worker.threadId;
    worker.on('error', (error: unknown) => {
      this.#exitReason ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
    });
    this.ended = new Promise((resolve) => {
      // A message of the thread may arrive after `error`, but not after `exit`.
      worker.on('exit', (code) => {
        const reason = this.#exitReason ?? `Its exit code is ${code}; does a function call process.exit?`;
        resolve(this.#failureContext + reason);
      });
    });
    this.joined = new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.type === 'joined') resolve(message.description);
        else if (message.type === 'evaluated') this.#onEvaluated(message.value);
        else if (message.type === 'failing') this.#failureContext ||= describeFailure(message);
        else reject(Object.assign(new Error(message.message), { stack: message.stack ?? message.message }));
      });
      void this.ended.then((reason) => reject(new Error(`A worker ended while it was loading: ${reason}`)));
    });
    // Prevents an unhandled rejection; a caller that awaits `joined` still receives the failure.
    this.joined.catch(() => {});
  }

  /** Gives the thread its program. Called once. */
  run(program: WorkerProgram): void {
    this.#post({ type: 'run', ...program });
  }

  /** Makes the thread import a module ahead of its program. */
  preload(address: string): void {
    this.#post({ type: 'preload', address });
  }

  /** Calls the default export of a module in the thread, ahead of its program. Rejects if the thread ends first. */
  evaluate(address: string, argument: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#onEvaluated = resolve;
      void this.ended.then((reason) => reject(Object.assign(new Error(firstLine(reason)), { stack: reason })));
      this.#post({ type: 'evaluate', address, argument });
    });
  }

  /** Notifies the thread that the engine has loaded the program. */
  loaded(holdsWrites: readonly string[]): void {
    this.#post({ type: 'loaded', holdsWrites });
  }

  /** Terminates the thread at once, even in the middle of a call. */
  async end(reason: string): Promise<void> {
    this.#exitReason ??= reason;
    await this.#worker.terminate();
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}

/** The first line of a stack, without the name of its error. */
function firstLine(reason: string): string {
  return (reason.split('\n', 1)[0] ?? '').replace(/^(\w*Error): /, '');
}

function describeFailure({ fn, origin }: FromWorker & { readonly type: 'failing' }): string {
  return origin === 'unhandledRejection'
    ? `An unhandled rejection of a promise started by ${fn}: `
    : `An uncaught error in a callback started by ${fn}: `;
}
