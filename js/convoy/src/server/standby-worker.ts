/**
 * A worker thread that waits for its program, so that a program is loaded without the start of a thread. It imports
 * modules ahead: packages, and code that is still being checked. Used in development only.
 */
import type { ResourceLimits } from 'node:worker_threads';
import { WorkerHandle } from './worker-handle.js';
import type { WorkerSettings } from './worker-messages.js';

/** Code that was imported ahead of its program. */
export interface Preloaded {
  /** Ends the thread, if no program has taken it over: the code is not loaded after all. */
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

  /** Imports a module on the waiting thread, which is started if there is none. Errors are left to the program. */
  preload(address: string): Preloaded {
    const { thread } = this.#current() ?? this.#start();
    thread.preload(address);
    return {
      discard: () => {
        if (this.#waiting?.thread === thread) void this.end('Its code is not loaded.');
      },
    };
  }

  /** The waiting thread, which then has another owner; `null` if there is none. */
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
