/**
 * A client of `POST /api/live` for tests of the wire: it exposes every message, and fails the test on any violation of
 * the protocol. The package's own client is tested elsewhere.
 */
import { expect } from 'vitest';

/** A query as a session subscribes to it. */
export interface LiveQuery {
  readonly id: number;
  readonly name: string;
  readonly args: object;
  readonly hash?: string;
}

interface Message {
  readonly type: string;
  readonly seq: number;
  readonly id?: number;
  readonly [member: string]: unknown;
}

interface CachedResult {
  readonly hash: string;
  readonly data: unknown;
}

export interface SessionOptions {
  readonly baseUrl: string;
  readonly token: string;
  readonly queries: readonly LiveQuery[];
  /** The results of an earlier session, which `queries` may name by their hashes. */
  readonly cached?: ReadonlyMap<number, CachedResult>;
  /** Called with every result, whole. */
  readonly onResult?: (query: number, data: unknown) => void;
  /** Replaces the global one. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

export class LiveSession {
  /** The latest result of each query, by its id. */
  readonly results: Map<number, CachedResult>;
  /** The messages without a result. */
  readonly otherMessages: Message[] = [];
  id = '';
  ended = false;
  readonly #options: SessionOptions;
  readonly #abort = new AbortController();
  readonly #waiting = new Set<() => void>();
  #reading: Promise<void> = Promise.resolve();
  #nextSeq = 0;

  private constructor(options: SessionOptions) {
    this.#options = options;
    this.results = new Map(options.cached);
  }

  static async open(options: SessionOptions): Promise<LiveSession> {
    const session = new LiveSession(options);
    const response = await session.#post('live', options.token, { protocol: 1, queries: options.queries });
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    session.#reading = session.#read(response).finally(() => {
      session.ended = true;
      session.#wake();
    });
    await session.until(() => session.id !== '');
    return session;
  }

  /** Changes the subscriptions, or with `token` the caller; returns the HTTP status. */
  async change(change: { add?: readonly LiveQuery[]; remove?: readonly number[] }, token?: string): Promise<number> {
    const body = { add: [], remove: [], ...change, ...(token === undefined ? {} : { auth: true }) };
    const response = await this.#post(`live/${this.id}`, token ?? this.#options.token, body);
    await response.arrayBuffer();
    return response.status;
  }

  data(query: number): unknown {
    return this.results.get(query)?.data;
  }

  /** Waits until the received messages make `condition` true. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.ended) {
        await this.#reading;
        throw new Error(`The stream has ended: ${JSON.stringify(this.otherMessages)}`);
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Closes the stream. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#reading;
  }

  #post(path: string, token: string, body: object): Promise<Response> {
    const send = this.#options.fetch ?? fetch;
    return send(`${this.#options.baseUrl}/api/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      ...(path === 'live' ? { signal: this.#abort.signal } : {}),
    });
  }

  async #read(response: Response): Promise<void> {
    const text = new TextDecoder();
    let buffer = '';
    try {
      for await (const bytes of response.body ?? []) {
        buffer += text.decode(bytes, { stream: true });
        const events = buffer.split('\n\n');
        buffer = events.pop() ?? '';
        for (const event of events) this.#onEvent(event);
        this.#wake();
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }

  #onEvent(event: string): void {
    for (const line of event.split('\n')) {
      if (line.startsWith('data:')) this.#onMessage(JSON.parse(line.slice('data:'.length)));
    }
  }

  #onMessage(message: Message): void {
    expect(message.seq).toBe(this.#nextSeq++);
    switch (message.type) {
      case 'session':
        this.id = message.session as string;
        return;
      case 'result':
        this.#store(message, message.data);
        return;
      case 'rows':
        this.#store(message, this.#patched(message));
        return;
      case 'same':
        expect(this.results.get(message.id as number)?.hash).toBe(message.hash);
        this.#options.onResult?.(message.id as number, this.data(message.id as number));
        return;
      default:
        this.otherMessages.push(message);
    }
  }

  #store(message: Message, data: unknown): void {
    this.results.set(message.id as number, { hash: message.hash as string, data });
    this.#options.onResult?.(message.id as number, data);
  }

  #patched(message: Message): unknown {
    const before = this.results.get(message.id as number);
    expect(before?.hash).toBe(message.from);
    const list = before?.data as readonly unknown[];
    const pieces = message.rows as readonly (readonly [number, number] | { readonly row: unknown })[];
    return pieces.flatMap((piece) => ('row' in piece ? [piece.row] : list.slice(piece[0], piece[0] + piece[1])));
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
