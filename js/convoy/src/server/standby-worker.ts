/**
 * A worker thread that waits for its program, so that a program is loaded without the start of a thread. It imports
 * packages ahead, and evaluates code that is not accepted yet. Used in development only.
 */
import type { ResourceLimits } from 'node:worker_threads';
import { WorkerHandle } from './worker-handle.js';
import type { WorkerSettings } from './worker-messages.js';

/** The thread that will run the next program. */
export interface Standby {
  /** Imports a module in it. Errors are left to the program that imports it as well. */
  preload(module: URL): void;
  /**
   * Imports a module in it, calls its default export, which must not throw, and resolves to what that returns. Once for
   * each thread. Rejects if the thread ends.
   */
  evaluate(module: URL, argument: unknown): Promise<unknown>;
  /** Ends the thread, if no program has taken it over: what was evaluated is not loaded after all. */
  discard(): void;
}

interface Waiting {
  readonly thread: WorkerHandle;
  /** A thread keeps the environment of its start. */
  readonly environment: string;
}

export class StandbyWorker {
  readonly #settings: WorkerSettings;
  readonly #resourceLimits: ResourceLimits;
  #waiting: Waiting | null = null;

  constructor(settings: WorkerSettings, resourceLimits: ResourceLimits) {
    this.#settings = settings;
    this.#resourceLimits = resourceLimits;
  }

  /** The waiting thread, which is started if there is none. */
  standby(): Standby {
    const { thread } = this.#current() ?? this.#start();
    return {
      preload: ({ href }) => thread.preload(href),
      evaluate: ({ href }, argument) => thread.evaluate(href, argument),
      discard: () => {
        if (this.#waiting?.thread === thread) void this.end('Its code is not loaded.');
      },
    };
  }

  /** Hands the waiting thread to another owner; `null` if there is none. */
  take(): WorkerHandle | null {
    const waiting = this.#current();
    this.#waiting = null;
    return waiting?.thread ?? null;
  }

  async end(reason: string): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = null;
    await waiting?.thread.end(reason);
  }

  /** The waiting thread, unless the environment has changed. */
  #current(): Waiting | null {
    if (this.#waiting !== null && this.#waiting.environment !== environment()) {
      void this.end('The environment has changed.');
    }
    return this.#waiting;
  }

  #start(): Waiting {
    const thread = new WorkerHandle(this.#settings, this.#resourceLimits);
    const waiting = { thread, environment: environment() };
    this.#waiting = waiting;
    void thread.ended.then(() => {
      if (this.#waiting === waiting) this.#waiting = null;
    });
    return waiting;
  }
}

function environment(): string {
  return JSON.stringify(process.env);
}
