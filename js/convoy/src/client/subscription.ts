/**
 * Drives one live query over one stream at a time: does what the connection's state (`connection.ts`) says, feeds what
 * happens back into it, and hands results to the sink. Its own are only two timers, the stream in use, and the hash of
 * the last result.
 */
import { CURRENT_COMMENT, type SubscriptionFrame } from '../protocol/frames.js';
import { errorFromPayload } from '../values/errors.js';
import { type Connection, type ConnectionEvent, STARTED, step, viewOf } from './connection.js';
import type { Endpoint } from './endpoint.js';
import { readStream, type StreamEnd, type StreamReader } from './stream.js';
import type { SubscribeRequest, Subscription, SubscriptionSink } from './transport.js';

/**
 * The server sends a comment each 15 s. Two missed and some grace mean that the path is dead, whatever TCP believes.
 * Connecting is held to the same time: a request that a browser keeps queued is no connection either.
 */
export const SILENCE_MS = 40_000;
/** On return to a page, silence longer than one heartbeat is enough: timers slept while the machine did. */
const SILENCE_ON_RETURN_MS = 20_000;

export interface SubscriptionOptions {
  readonly endpoint: Endpoint;
  readonly request: SubscribeRequest;
  readonly sink: SubscriptionSink;
  readonly silenceMs: number;
  readonly random: () => number;
}

export class StreamSubscription implements Subscription {
  readonly #options: SubscriptionOptions;
  #connection: Connection = STARTED;
  #stream: AbortController | null = null;
  #wait: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;
  /** The hash of the result the sink holds, to be sent as `Last-Event-ID`. */
  #held: string | null = null;

  constructor(options: SubscriptionOptions) {
    this.#options = options;
    this.#connect();
  }

  refresh(): void {
    this.#held = null;
    this.#take({ type: 'refresh' });
  }

  /** Someone is looking again: what waits or rests connects at once, and an open stream must not have been silent. */
  wake(): void {
    const silent = this.#connection.phase === 'open' && Date.now() - this.#heardAt > SILENCE_ON_RETURN_MS;
    this.#take({ type: silent ? 'refresh' : 'wake' });
  }

  /** The network came back, perhaps another one: an open stream may be dead without knowing. Costs a hash. */
  reconnect(): void {
    this.#take({ type: 'refresh' });
  }

  rest(): void {
    this.#take({ type: 'rest' });
  }

  close(): void {
    this.#take({ type: 'close' });
  }

  #take(event: ConnectionEvent): void {
    const before = this.#connection;
    const after = step(before, event);
    if (after === before) return;
    this.#connection = after;
    if (after.phase !== 'open') this.#enter(after);
    if (after.phase !== 'closed') this.#options.sink.connection(viewOf(after));
  }

  /** Leaves whatever was under way and does what the state says. */
  #enter(connection: Connection): void {
    this.#stream?.abort();
    this.#stream = null;
    clearTimeout(this.#wait);
    clearTimeout(this.#watchdog);
    if (connection.phase === 'connecting') this.#connect();
    if (connection.phase === 'waiting') {
      this.#wait = setTimeout(() => this.#take({ type: 'elapsed' }), connection.delayMs);
    }
  }

  #connect(): void {
    const { endpoint, request } = this.#options;
    const stream = new AbortController();
    this.#stream = stream;
    this.#heard();
    const attempt = { ...request, lastEventId: this.#held, signal: stream.signal };
    // `readStream` never rejects.
    void readStream(endpoint, attempt, this.#readerOf(stream)).then((end) => {
      if (!stream.signal.aborted) this.#ended(end);
    });
  }

  #ended({ kind, error }: StreamEnd): void {
    this.#take(kind === 'refused' ? { type: 'refused' } : { type: 'lost', random: this.#options.random() });
    if (error.code !== 'UNAVAILABLE') this.#options.sink.failed(error);
  }

  #heard(): void {
    this.#heardAt = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(
      () => this.#take({ type: 'lost', random: this.#options.random() }),
      this.#options.silenceMs,
    );
  }

  #readerOf(stream: AbortController): StreamReader {
    /** What a stream says after it was left behind is about the past. */
    const current =
      <Said extends unknown[]>(act: (...said: Said) => void) =>
      (...said: Said) => {
        if (!stream.signal.aborted) act(...said);
      };
    return {
      accepted: current(() => this.#take({ type: 'accepted' })),
      alive: current(() => this.#heard()),
      retry: current((ms) => this.#take({ type: 'retry', ms })),
      comment: current((text) => {
        if (text !== CURRENT_COMMENT) return;
        this.#take({ type: 'proven' });
        this.#options.sink.same();
      }),
      frame: current((frame, id) => this.#deliver(frame, id)),
    };
  }

  #deliver(frame: SubscriptionFrame, id: string | null): void {
    if (frame.type === 'error' && frame.error.code === 'UNAVAILABLE') {
      // Nothing was learnt about the result: it stays held, and so does its hash.
      this.#take({ type: 'interrupted' });
      return;
    }
    this.#held = id;
    this.#take({ type: 'proven' });
    if (frame.type === 'result') this.#options.sink.result(frame.data, id);
    else this.#options.sink.failed(errorFromPayload(frame.error));
  }
}
