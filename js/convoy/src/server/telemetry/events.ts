/**
 * `onEvent`: hands the events of the engine to a function of the user. The engine sends the next batch when the last one
 * was handled, and drops events meanwhile if there are too many. So a handler that is slow or throws loses events, and
 * nothing else.
 */

import type { NativeEngine } from '../native.js';
import { isThenable } from '../observed-promise.js';

/** What has happened; see `ConvoyEvent`. */
export type ConvoyEventType =
  | 'call'
  | 'retry'
  | 'liveRun'
  | 'sessionOpened'
  | 'sessionClosed'
  | 'workerRestarted'
  | 'reloaded'
  | 'healthChanged'
  | 'eventsDropped';

/** An event. It never has arguments, results or messages of errors. */
export interface ConvoyEvent {
  /**
   * `call`: a call has ended. `retry`: a mutation runs again after a conflict. `liveRun`: a live query has run.
   * `sessionOpened`, `sessionClosed`: a live connection. `workerRestarted`: a worker thread has ended, and another takes
   * its place. `reloaded`: code was loaded. `healthChanged`: `/api/health` or `/api/ready` may answer otherwise.
   * `eventsDropped`: `count` events were dropped, because this handler was slow.
   */
  readonly type: ConvoyEventType;
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** The function, of `call`, `retry` and `liveRun`; absent if there is none of the name that was called. */
  readonly function?: string;
  /** The id of the last run of the function, as in lines of `ctx.log`. */
  readonly callId?: number;
  /** The code of an error; of `healthChanged`, `HEALTHY` or `UNHEALTHY`. */
  readonly code?: string;
  /** How long it took, in milliseconds; of `sessionClosed`, how long the connection was open. */
  readonly durationMs?: number;
  /** Of `eventsDropped`, how many. */
  readonly count?: number;
}

/** Called with each event, on the thread that called `createConvoy`. A promise is awaited before the next event. */
export type OnEvent = (event: ConvoyEvent) => unknown;

/** Hands the events of one engine to its handler. */
export class EventDelivery {
  readonly #engine: Pick<NativeEngine, 'readEvents' | 'eventsTaken'>;
  readonly #log: (text: string) => void;
  #handler: OnEvent | null = null;
  #isReading = false;
  #hasFailed = false;

  constructor(engine: Pick<NativeEngine, 'readEvents' | 'eventsTaken'>, log: (text: string) => void) {
    this.#engine = engine;
    this.#log = log;
  }

  /** Sets the handler, in place of the last one. The engine emits nothing before the first. */
  handleBy(handler: OnEvent | undefined): void {
    if (handler !== undefined && typeof handler !== 'function') throw new TypeError('onEvent is not a function.');
    this.#handler = handler ?? null;
    if (this.#handler === null || this.#isReading) return;
    this.#isReading = true;
    this.#engine.readEvents((batch) => void this.#deliver(batch));
  }

  async #deliver(batch: string): Promise<void> {
    for (const event of JSON.parse(batch) as ConvoyEvent[]) {
      try {
        const result = this.#handler?.(event);
        if (isThenable(result)) await result;
      } catch (error) {
        this.#report(error);
      }
    }
    this.#engine.eventsTaken();
  }

  #report(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#log(`onEvent has failed, which has no effect on the server. Further failures are not logged. ${cause}`);
  }
}
